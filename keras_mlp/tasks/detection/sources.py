"""Where images with boxes come from, as sources that `keras_mlp.training.data` loads."""

import itertools
import os
import pathlib

import numpy as np

from keras_mlp.extras import need
from keras_mlp.tasks import scenes
from keras_mlp.tasks.detection import coco, voc
from keras_mlp.tasks.detection.annotations import Annotations, Instance, Picture, gathered, run_lengths
from keras_mlp.training.data import folders
from keras_mlp.training.data.catalogue import PREFIX
from keras_mlp.training.data.source import Source, choose_split, sizes
from keras_mlp.walking import readable

VISIBLE = 0.4
"""Share of a digit's pixels that others must not cover; one of less counts as a crowd."""


def find(name, split: str, *, masks: bool = False, skip_broken: bool = False, data_dir=None) -> Source:
    """The source of a data set with boxes; arguments and errors are those of `data.load`."""
    options = dict(masks=masks, skip_broken=skip_broken)
    if isinstance(name, Source):
        if name.truth is None:
            raise ValueError("This source has no boxes: make it with keras_mlp.tasks.detection.sources.of.")
        return name
    if name == "scenes":
        return digits(split, masks=masks)
    from keras_mlp.tasks.detection import catalogue

    if str(name).startswith(PREFIX):
        return catalogue.dataset(str(name).removeprefix(PREFIX), split, data_dir=data_dir, **options)
    path = pathlib.Path(str(name)).expanduser()
    if _is_prepared(path):
        return catalogue.dataset(str(path), split, **options)
    if path.exists():
        return folder(path, split, **options)
    raise ValueError(
        f"There is no folder or file {name}. Data with boxes are a folder, scenes, or {PREFIX}NAME for what "
        "tensorflow-datasets has."
    )


def holds_boxes(path: pathlib.Path) -> bool:
    """Whether a folder is one that `find` takes."""
    return _is_prepared(path) or coco.holds_coco(path) or voc.holds_voc(path)


def _is_prepared(path):
    return (path / "dataset_info.json").is_file()


def folder(path, split: str, *, masks: bool = False, skip_broken: bool = False) -> Source:
    """Images of a folder or file with annotations of COCO's or Pascal VOC's form.

    Raises:
        ValueError: it has neither, or masks are asked for of VOC's XML, which has none.
    """
    path = pathlib.Path(path).expanduser()
    if coco.holds_coco(path):
        annotations, split = coco.read(path, split, masks=masks, skip_broken=skip_broken)
    elif path.is_dir() and voc.holds_voc(path):
        if masks:
            raise ValueError(f"{path} has boxes only, in Pascal VOC's XML: masks are read from COCO's JSON.")
        annotations, split = voc.read(path, split, skip_broken=skip_broken)
    else:
        raise ValueError(
            f"{path} has no boxes: expected annotations/instances_train.json of COCO's form, or Annotations/*.xml of "
            "Pascal VOC's."
        )
    files = [picture.name for picture in annotations.pictures]
    return of(
        annotations,
        folders.dataset_of(files, np.arange(len(files))),
        split,
        masks=masks,
        size=max(1, sum(map(os.path.getsize, files))),
        read=folders.read_file,
        contents=lambda: [*sizes(files, path if path.is_dir() else path.parent), *annotations.lines()],
        reason=lambda number, max_pixels: folders.why_not(files[number], max_pixels),
    )


def digits(split: str, count: int | None = None, side: int = scenes.SIDE, seed: int = 0, masks: bool = False) -> Source:
    """The embedded scenes with a box for each digit, and a mask of what others do not cover.

    Args:
        split: "train", "test" or "evaluation".
        count, side, seed: as in `scenes.draw`.
        masks: whether each digit has its mask.
    """
    split = choose_split(split, list(scenes.SPLITS), "scenes")
    drawn = scenes.draw(split, count, side, seed)
    pictures = []
    for number, (owner, inside) in enumerate(zip(drawn.owners, drawn.digits, strict=True)):
        instances = []
        for i, (digit, pixels) in enumerate(inside):
            shown = owner == i + 1
            if shown.any():
                crowd = shown.sum() < VISIBLE * pixels
                mask = run_lengths(shown, shown.shape) if masks else None
                instances.append(
                    Instance(f"digit {i + 1}", _around(shown), digit, bool(crowd), float(shown.sum()), mask)
                )
        pictures.append(Picture(f"scene {number}", (side, side), instances))
    import tensorflow as tf

    encoded = [image.tobytes() for image in drawn.images]
    return of(
        gathered(pictures, scenes.CLASSES[1:]),
        tf.data.Dataset.from_tensor_slices((encoded, np.arange(len(encoded)))),
        split,
        masks=masks,
        size=drawn.images.nbytes,
        decode=lambda content: tf.reshape(tf.io.decode_raw(content, tf.uint8), (side, side, 3)),
        sound=True,
        contents=lambda: [f"scenes {split} {len(encoded)} {side} {seed}"],
    )


def of(annotations: Annotations, dataset, split: str, *, masks: bool = False, size: int, **options) -> Source:
    """A source of images with boxes.

    Args:
        annotations: what is in the images.
        dataset: `tf.data.Dataset` of `(encoded, number)` in the order of `annotations.pictures`.
        split: its name.
        masks: whether each instance has a mask.
        size: bytes of all encoded images.
        **options: of `Source`.

    Raises:
        ValueError: masks are asked for, and some instance has none.
    """
    if masks and any(annotations.counts()) and not annotations.has_masks:
        raise ValueError("These data have instances without masks: load them with masks=False.")
    return Source(
        dataset,
        options.pop("decode", None),
        annotations.classes,
        len(annotations.pictures),
        split,
        size=size,
        name=lambda number: readable(annotations.pictures[number].name),
        counts=annotations.counts,
        left_out=annotations.left_out,
        targets=_targets(annotations, masks),
        truth=annotations.truth,
        **options,
    )


def most_boxes(source: Source) -> int:
    """Boxes of the image that has most, crowds left out."""
    found = {image["id"]: 0 for image in source.truth()["images"]}
    for row in source.truth()["annotations"]:
        found[row["image_id"]] += not row["iscrowd"]
    return max(found.values())


def _targets(annotations, masks):
    import tensorflow as tf

    learnt = [[instance for instance in picture.instances if not instance.crowd] for picture in annotations.pictures]
    starts = tf.constant(np.cumsum([0, *map(len, learnt)]), tf.int64)
    flat = list(itertools.chain(*learnt))
    boxes = tf.constant([instance.box for instance in flat] or np.zeros((0, 4)), tf.float32)
    labels = tf.constant([instance.label for instance in flat], tf.int32)
    whole = tf.constant([picture.size for picture in annotations.pictures], tf.int32)

    def decoded(number):
        """The masks of an image and an empty one behind them, since no image has no channel."""
        coco_masks = need("faster_coco_eval", extra="train").mask
        height, width = annotations.pictures[number].size if number >= 0 else (1, 1)
        lengths = [instance.mask for instance in learnt[number]] if number >= 0 else []
        found = coco_masks.decode(lengths) if lengths else np.zeros((height, width, 0), "uint8")
        return np.concatenate([found, np.zeros((height, width, 1), "uint8")], -1)

    def targets(number, encoded):
        known = tf.maximum(number, 0)
        first, last = starts[known], tf.where(number >= 0, starts[known + 1], starts[known])
        found = {
            "boxes": boxes[first:last],
            "labels": labels[first:last],
            "number": tf.cast(number, tf.int64),
            "annotated_size": tf.where(number >= 0, whole[known], 1),
        }
        if masks:
            shown = tf.numpy_function(decoded, [number], tf.uint8)
            found["masks"] = tf.ensure_shape(shown, (None, None, None))
        return found

    return targets


def _around(shown):
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
