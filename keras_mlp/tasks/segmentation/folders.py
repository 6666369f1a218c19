"""Folders of images and masks, as a source."""

import os

import numpy as np

from keras_mlp.tasks.segmentation import masks, places
from keras_mlp.training.data import split_names
from keras_mlp.training.data.folders import dataset_of, is_image, read_file, why_not
from keras_mlp.training.data.source import Source, choose_split, sizes
from keras_mlp.training.data.splits import held_out
from keras_mlp.walking import readable, subfolders, walk


def folder(path, split: str) -> Source:
    """Find the images of one split of a folder, each with its mask.

    Args:
        path: a folder with `images/`, `masks/` (or `annotations/`) and `classes.txt`. A mask has the name of its image
            and the suffix ".png": `images/a/1.jpg` and `masks/a/1.png`. Both folders may have split folders:
            `images/train/1.jpg` and `masks/train/1.png`. Without split folders every fifth image, drawn once and for
            all, is the test split. `classes.txt` names the classes, one in each line.
            Or the folder of ADE20K (`ADEChallengeData2016`, or what it is in), or that of Cityscapes (`leftImg8bit` and
            `gtFine`, with the masks "labelTrainIds" or else "labelIds"), as they are published; "ade20k:PATH" and
            "cityscapes:PATH" say what a folder holds whose names do not tell.
        split: a split folder's name or another one for the same ("train" for "training"); without split folders
            "train", "test" or "all"; or "evaluation".

    Returns:
        The source. Its masks have numbers of classes, and 255 for void.

    Raises:
        ValueError: there are no such folders, an image has no mask, there is no such split, or no `classes.txt`.
    """
    place = places.find(path)
    parts, left_out = split_names.parts(subfolders(place.images)), {}
    within = _chosen(split, parts, place.images) if parts else None
    (found,) = walk(place.images / (within or ""), left_out=left_out)
    files = sorted(str(file) for file in found if is_image(str(file)))
    if not files:
        raise ValueError(f"There are no images in {readable(place.images / (within or ''))}.")
    pairs, numbers = place.pairs(files, within)
    if missing := [readable(file) for file, mask in zip(files, pairs, strict=True) if mask is None]:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        there = readable(place.masks / (within or ""))
        raise ValueError(f"These images have no mask in {there}: {shown}. A mask is called as its image.")
    files, pairs = np.array(files), np.array(pairs)
    if not parts:
        split = choose_split(split, ["train", "test", "all"], path)
        if split != "all":
            chosen = held_out(np.zeros(len(files), int)) == (split == "test")
            files, pairs = files[chosen], pairs[chosen]
    size, root = int(sum(map(os.path.getsize, files))), place.images.parent
    return Source(
        dataset_of(files, np.arange(len(files))),
        None,
        list(numbers.classes),
        len(files),
        within or split,
        size=max(1, size),
        name=lambda number: readable(files[number]),
        counts=lambda: counts(pairs, numbers),
        read=read_file,
        contents=lambda: [*sizes(files, root), *sizes(pairs, root)],
        left_out=left_out,
        reason=lambda number, max_pixels: why_not(files[number], max_pixels),
        targets=_targets(pairs, numbers),
    )


def counts(files, numbers: masks.Numbers) -> list[int]:
    """In how many masks each class is."""
    found = np.zeros(len(numbers.classes), int)
    for file in files:
        present = np.unique(masks.read(file, numbers, readable(file)))
        found[present[present < len(found)]] += 1
    return found.tolist()


def _targets(pairs, numbers):
    import tensorflow as tf

    names = tf.constant([os.fsencode(file) for file in pairs], tf.string)

    def load(name):
        file = os.fsdecode(np.asarray(name).item())
        return masks.read(file, numbers, readable(file))

    def targets(label, encoded):
        def mask():
            return tf.numpy_function(load, [names[tf.maximum(label, 0)]], tf.uint8)[..., tf.newaxis]

        mask = tf.cond(label >= 0, mask, lambda: tf.zeros((1, 1, 1), tf.uint8))
        return {"masks": tf.ensure_shape(mask, (None, None, 1))}

    return targets


def _chosen(split, parts, images):
    if split in parts:
        return split
    wanted = ["validation", "test"] if split == "evaluation" else [split_names.part(split)]
    for part in wanted:
        if part and (found := [name for name, one in parts.items() if one == part]):
            return found[0]
    raise ValueError(f"{images} has no split {split!r}. It has: {', '.join(sorted(parts))}.")
