"""Folders of images and masks, as a source."""

import os
import pathlib

import numpy as np

from keras_mlp.training.data import split_names
from keras_mlp.training.data.folders import dataset_of, is_image, read_file, why_not
from keras_mlp.training.data.source import Source, choose_split, sizes
from keras_mlp.training.data.splits import held_out
from keras_mlp.walking import readable, subfolders, walk

IMAGES, MASKS = ("images", "image", "leftImg8bit"), ("masks", "annotations", "labels", "gtFine")


def folder(path, split: str) -> Source:
    """Find the images of one split of a folder, each with its mask.

    Args:
        path: a folder with `images/`, `masks/` (or `annotations/`) and `classes.txt`. A mask has the name of its image
            and the suffix ".png": `images/a/1.jpg` and `masks/a/1.png`. Both folders may have split folders:
            `images/train/1.jpg` and `masks/train/1.png`. Without split folders every fifth image, drawn once and for
            all, is the test split. `classes.txt` names the classes, one in each line.
        split: a split folder's name or another one for the same ("train" for "training"); without split folders
            "train", "test" or "all"; or "evaluation".

    Returns:
        The source. A mask's pixels are numbers of classes, 255 is void.

    Raises:
        ValueError: there are no such folders, an image has no mask, there is no such split, or no `classes.txt`.
    """
    path = pathlib.Path(path).expanduser()
    images, masks = (_named(path, names) for names in (IMAGES, MASKS))
    names = path / "classes.txt"
    if not names.is_file():
        raise ValueError(f"{path} needs a file classes.txt, with the name of a class in each line, that of 0 first.")
    classes = [line.strip() for line in names.read_text(encoding="utf-8").splitlines() if line.strip()]
    parts = split_names.parts(subfolders(images))
    left_out = {}
    if parts:
        split = _chosen(split, parts, images)
        images, masks = images / split, masks / split
    (found,) = walk(images, left_out=left_out)
    files = sorted(str(file) for file in found if is_image(str(file)))
    if not files:
        raise ValueError(f"There are no images in {readable(images)}.")
    pairs = [_mask_of(file, images, masks) for file in files]
    if missing := [readable(file) for file, mask in zip(files, pairs, strict=True) if mask is None]:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise ValueError(f"These images have no mask in {readable(masks)}: {shown}. A mask is called as its image.")
    files, pairs = np.array(files), np.array(pairs)
    if not parts:
        split = choose_split(split, ["train", "test", "all"], path)
        if split != "all":
            chosen = held_out(np.zeros(len(files), int)) == (split == "test")
            files, pairs = files[chosen], pairs[chosen]
    size = int(sum(map(os.path.getsize, files)))
    return Source(
        dataset_of(files, np.arange(len(files))),
        None,
        classes,
        len(files),
        split,
        size=max(1, size),
        name=lambda number: readable(files[number]),
        counts=lambda: counts(pairs, len(classes)),
        read=read_file,
        contents=lambda: [*sizes(files, path), *sizes(pairs, path)],
        left_out=left_out,
        reason=lambda number, max_pixels: why_not(files[number], max_pixels),
        targets=_targets(pairs, len(classes)),
    )


def read_mask(file, classes: int) -> np.ndarray:
    """A mask as integers.

    Args:
        file: path of a PNG, plain or with a palette, of which the numbers of the colours count.
        classes: number of classes.

    Returns:
        uint8 `(height, width)`.

    Raises:
        ValueError: it has several channels, or a label that is neither a class nor 255.
    """
    from PIL import Image

    with Image.open(file) as opened:
        if opened.mode not in ("L", "P", "1", "I;16", "I"):
            raise ValueError(
                f"A mask has one number a pixel, that of its class. {readable(str(file))} has the mode {opened.mode}."
            )
        mask = np.asarray(opened).astype("int64")
    if (wrong := mask[(mask >= classes) & (mask != 255)]).size:
        raise ValueError(
            f"{readable(str(file))} has the label {wrong[0]}. There are {classes} classes, 0–{classes - 1}, and 255 "
            "for void."
        )
    return mask.astype("uint8")


def counts(masks, classes: int) -> list[int]:
    """In how many masks each class is."""
    found = np.zeros(classes, int)
    for file in masks:
        present = np.unique(read_mask(file, classes))
        found[present[present < classes]] += 1
    return found.tolist()


def _targets(masks, classes):
    import tensorflow as tf

    names = tf.constant([os.fsencode(file) for file in masks], tf.string)

    def load(name):
        return read_mask(os.fsdecode(name.numpy()), classes)[..., None]

    def targets(label):
        mask = tf.cond(
            label >= 0,
            lambda: tf.py_function(load, [names[tf.maximum(label, 0)]], tf.uint8),
            lambda: tf.zeros((1, 1, 1), tf.uint8),
        )
        return {"masks": tf.ensure_shape(mask, (None, None, 1))}

    return targets


def _named(path, names):
    found = [path / name for name in names if (path / name).is_dir()]
    if not found:
        raise ValueError(
            f"There is no folder {' or '.join(names[:2])} in {path}: expected {path}/images and {path}/masks, with a "
            "mask for each image."
        )
    return found[0]


def _chosen(split, parts, images):
    if split in parts:
        return split
    wanted = ["validation", "test"] if split == "evaluation" else [split_names.part(split)]
    for part in wanted:
        if part and (found := [name for name, one in parts.items() if one == part]):
            return found[0]
    raise ValueError(f"{images} has no split {split!r}. It has: {', '.join(sorted(parts))}.")


def _mask_of(file, images, masks):
    """The mask of an image, or `None`."""
    inside = pathlib.Path(file).relative_to(images)
    plain = masks / inside.with_suffix(".png")
    return str(plain) if plain.is_file() else None
