"""Images with boxes, for training and evaluation."""

import functools

from keras_mlp.cards import Preprocessing, Recipe
from keras_mlp.tasks.detection import sources
from keras_mlp.training import data

MULTIPLE = 32
"""Pixels by which a coarse map of a pyramid steps: the sides of what a detector sees are multiples of them."""
MOST_BOXES = 100
CROP, CROP_AT = (384.0, 600.0), (400.0, 500.0, 600.0)
"""Sides of DETR's crop and the short sides at which it is cut, in pixels."""


def load(
    name,
    split: str = "train",
    *,
    image_size,
    batch_size: int,
    recipe: Recipe | None = None,
    short_side: int | None = None,
    masks: bool = False,
    max_boxes: int | None = None,
    skip_broken: bool = False,
    data_dir=None,
    **options,
) -> data.Data:
    """Load images and the boxes in them.

    An image is resized so that it fits in `image_size`, its ratio kept, and is padded below and on the right.

    Args:
        name: "scenes" for handwritten digits on textured ground, which need no network; a folder or file with COCO's
            JSON (`coco.read`), or a folder with Pascal VOC's XML (`voc.read`); "tfds:voc/2007" or "tfds:coco/2017" for
            a data set of tensorflow-datasets (`catalogue.dataset`); or a `keras_mlp.training.data.source.Source` that
            `sources.of` made.
        split: which part, "train", "test" or "evaluation".
        image_size: height and width in which the images fit, in pixels, or one number for both. The network sees the
            next multiples of 32.
        batch_size: images of a batch.
        recipe: makes training data; `None` gives evaluation data.
        short_side: pixels that the shorter side has at most. `image_size=1333, short_side=800` is what most detectors
            are published with.
        masks: whether each box has a mask.
        max_boxes: boxes of an image to learn from, the first ones; by default as many as the data have, at most 100.
        skip_broken: whether reversed, empty or outside boxes are left out and counted.
        data_dir: where tensorflow-datasets keeps what it has prepared.
        **options: further arguments of `keras_mlp.training.data.load`, such as `seed`.

    Returns:
        Data whose targets are, all of one size: "boxes" float32 `(batch, n, 4)`, left, top, right and bottom in pixels
        of the network's input; "labels" int32 `(batch, n)`, -1 behind the last box; "masks" uint8 `(batch, n, height,
        width)`; and "image_size" float32 `(batch, 2)`, height and width of the image inside the padding. What is too
        small to be seen, and crowds, are left out. Evaluation data have beside them "number" of the example,
        "original_size" and "scale" by which height and width were multiplied; `Data.truth` gives all annotations,
        crowds included, in the images' own pixels.

    Raises:
        ValueError: an argument is wrong, there is no such data set or split, or an annotation is broken; the message
            names image and annotation.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"`image_size` should be one or two positive numbers of pixels. Received: {image_size}")
    for argument, value in (("short_side", short_side), ("max_boxes", max_boxes)):
        if value is not None and value < 1:
            raise ValueError(f"`{argument}` should be positive or None. Received: {argument}={value!r}")
    source = sources.find(name, split, masks=masks, skip_broken=skip_broken, data_dir=data_dir)
    most = max_boxes or min(MOST_BOXES, max(1, sources.most_boxes(source)))
    fit = dict(fit=size, short_side=short_side, most=most)
    return data.load(
        source,
        split,
        image_size=padded(size),
        batch_size=batch_size,
        recipe=recipe,
        preprocessing=Preprocessing(squash=True, crop_pct=1.0, interpolation="bilinear"),
        augmentation=functools.partial(augmented, **fit),
        shown=functools.partial(shown, **fit),
        **options,
    )


def padded(size) -> tuple[int, int]:
    """Height and width of what the network sees, where the images fit in `size`: the next multiples of 32."""
    return tuple(-(-side // MULTIPLE) * MULTIPLE for side in size)


def fitting(whole, fit, short_side: int | None = None, factor=1.0):
    """Height and width of an image resized so that it fits, in tf.data.

    They are those of mmcv's `imrescale`, which rounds halves up.

    Args:
        whole: height and width of the image.
        fit: height and width that it has at most.
        short_side: pixels that its shorter side has at most, or `None`.
        factor: of the size that fits.
    """
    import tensorflow as tf

    sides = tf.cast(whole, tf.float64)
    scale = tf.reduce_min(tf.constant(fit, tf.float64) / sides)
    if short_side is not None:
        scale = tf.minimum(scale, short_side / tf.reduce_min(sides))
    resized = tf.floor(sides * scale * tf.cast(factor, tf.float64) + 0.5)
    return tf.maximum(tf.cast(resized, tf.int32), 1)


def shown(image, size, preprocessing, targets, *, fit, short_side, most: int):
    """An image and its targets as they are evaluated; see `load`.

    Args:
        image: float pixels `(height, width, channels)`.
        size: height and width of what the network sees.
        preprocessing: its interpolation counts.
        targets: what `sources.of` gives.
        fit: height and width in which the image fits.
        short_side: see `fitting`.
        most: boxes that are kept.
    """
    import tensorflow as tf

    from keras_mlp.training.data import geometry

    whole = tf.shape(image)[:2]
    resized = fitting(whole, fit, short_side)
    steps = geometry.Steps(geometry.Resize(whole, resized, preprocessing.interpolation), geometry.Pad(resized, size))
    scale = tf.cast(resized, tf.float32) / tf.cast(whole, tf.float32)
    image, found = moved(image, targets, steps, size, resized, tf.reduce_prod(scale), most)
    original = {"number": targets["number"], "original_size": tf.cast(whole, tf.float32), "scale": scale}
    return image, found | original


def augmented(image, seed, size, recipe: Recipe, interpolation: str, targets, *, fit, short_side, most: int):
    """An image and its targets as a recipe wants them: another scale, a part, mirrored.

    Source: mmdetection's `RandomChoiceResize`, `RandomCrop(absolute_range)` and `RandomFlip`; Carion et al. 2020
    (DETR), https://arxiv.org/abs/2005.12872, appendix A.4.

    Args:
        image, size, targets, fit, short_side, most: see `shown`.
        seed: two integers.
        recipe: the recipe.
        interpolation: "bilinear" or "bicubic".
    """
    import tensorflow as tf

    from keras_mlp.training.data import augment, geometry

    scale, first, flip, last = tf.unstack(tf.random.split(seed, 4))
    before = whole = tf.shape(image)[:2]
    steps = []
    if recipe.random_crop:
        before = _cropped(whole, first)
        steps.append(geometry.Cut(_begin(whole - before, tf.random.fold_in(first, 1)), before))
    low, high = recipe.random_scale or (1.0, 1.0)
    resized = fitting(before, fit, short_side, tf.random.stateless_uniform((), scale, low, high))
    steps.append(geometry.Resize(before, resized, interpolation))
    if recipe.horizontal_flip:
        steps.append(augment.random_mirror(flip, tf.cast(resized[1], tf.float32)))
    seen = tf.minimum(resized, size)
    steps += [geometry.Cut(_begin(resized - seen, last), seen), geometry.Pad(seen, size)]
    area = tf.reduce_prod(tf.cast(resized, tf.float32) / tf.cast(before, tf.float32))
    return moved(image, targets, geometry.Steps(*steps), size, seen, area, most)


def moved(image, targets, geometry, size, seen, area, most: int):
    """An image and its targets after a change.

    Where a crop cuts an instance with a mask, its box becomes the bounds of the rest of that mask, as in Detectron2.

    Args:
        image: float pixels `(height, width, channels)`.
        targets: what `sources.of` gives.
        geometry: the change.
        size: height and width afterwards.
        seen: height and width of what is no padding.
        area: by how much the areas of whole instances grew.
        most: boxes that are kept.

    Returns:
        The image and the targets that `load` tells of.
    """
    import tensorflow as tf

    after = geometry.targets({name: targets[name] for name in ("boxes", "masks") if name in targets})
    image = tf.ensure_shape(geometry.image(image), (*size, image.shape[-1]))
    boxes, masks = after["boxes"], after.get("masks")
    if masks is not None:
        masks = tf.transpose(tf.cast(masks[..., :-1] == 1, tf.uint8), (2, 0, 1))
        boxes = tf.where(_cut(targets["boxes"], boxes, area), bounds(masks), boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    visible = tf.reduce_all(sides >= 1.0, -1)
    if masks is not None:
        visible &= tf.reduce_any(masks > 0, (1, 2))
    kept = tf.where(visible)[:most, 0]
    missing = most - tf.shape(kept)[0]

    def padded(rows, value):
        rows = tf.gather(rows, kept)
        paddings = [[0, missing]] + [[0, 0]] * (len(rows.shape) - 1)
        return tf.pad(rows, paddings, constant_values=tf.cast(value, rows.dtype))

    found = {
        "boxes": tf.ensure_shape(padded(boxes, 0), (most, 4)),
        "labels": tf.ensure_shape(padded(targets["labels"], -1), (most,)),
        "image_size": tf.ensure_shape(tf.cast(seen, tf.float32), (2,)),
    }
    if masks is not None:
        found["masks"] = tf.ensure_shape(padded(masks, 0), (most, *size))
    return image, found


def bounds(masks):
    """Boxes around what masks `(n, height, width)` show, float32 `(n, 4)`; zeros for those that show nothing."""
    import tensorflow as tf

    def ends(shown):
        shown = tf.cast(shown, tf.int32)
        length = tf.shape(shown)[1] * tf.reduce_max(shown, 1)
        begin = tf.argmax(shown, 1, tf.int32)
        return begin, length - tf.argmax(shown[:, ::-1], 1, tf.int32)

    (top, bottom), (left, right) = (ends(tf.reduce_any(masks > 0, axis)) for axis in (2, 1))
    return tf.cast(tf.stack([left, top, right, bottom], -1), tf.float32)


def _cut(before, after, area):
    """Which boxes lost a part, `(n, 1)`, where `area` is by how much the areas of whole ones grew."""
    import tensorflow as tf

    old, new = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (before, after))
    return (new < (1 - 1e-4) * tf.cast(area, tf.float32) * old)[:, tf.newaxis]


def _cropped(whole, seed):
    """Height and width of DETR's crop of half of the images; of the others those of the whole image."""
    import tensorflow as tf

    draws = tf.random.stateless_uniform((4,), seed)
    short = tf.gather(CROP_AT, tf.cast(draws[0] * len(CROP_AT), tf.int32))
    sides = (CROP[0] + draws[1:3] * (CROP[1] - CROP[0])) / short
    cropped = tf.cast(tf.round(sides * tf.cast(tf.reduce_min(whole), tf.float32)), tf.int32)
    return tf.where(draws[3] < 0.5, tf.clip_by_value(cropped, 1, whole), whole)


def _begin(spare, seed):
    """Top and left of a part of an image that is larger by `spare`."""
    import tensorflow as tf

    draws = tf.random.stateless_uniform((2,), seed)
    return tf.minimum(tf.cast(draws * tf.cast(spare + 1, tf.float32), tf.int32), spare)
