"""Images with masks, for training and evaluation."""

import os
from collections.abc import Callable

from keras_mlp.cards import Preprocessing, Recipe
from keras_mlp.tasks import scenes
from keras_mlp.training import data
from keras_mlp.training.data.source import Source

WHOLE = Preprocessing(squash=True, crop_pct=1.0, interpolation="bilinear")
"""Evaluation shows the whole image at the model's size."""
LARGEST_SHARE = 0.75
"""Of one class in a crop to train on, where another crop can be had."""
_TRIES = 10


def load(
    name,
    split: str = "train",
    *,
    image_size,
    batch_size: int,
    recipe: Recipe | None = None,
    augmentation: Callable | None = None,
    data_dir=None,
    **options,
) -> data.Data:
    """Load images and their masks.

    Args:
        name: "scenes" for handwritten digits on textured ground, which need no network; a folder (see
            `keras_mlp.tasks.segmentation.folders.folder`), such as that of ADE20K or Cityscapes; "tfds:NAME" for a data
            set of tensorflow-datasets (see `keras_mlp.tasks.segmentation.catalogue.dataset`), or a folder in which it
            has prepared one; or a `keras_mlp.training.data.source.Source` with masks.
        split: which part, "train", "test" or "evaluation".
        image_size: height and width of the images, in pixels, or one number for both. Evaluation shows the whole image.
            `None` evaluates on images of their own sizes, one a batch.
        batch_size: images of a batch.
        recipe: makes training data; `None` gives evaluation data.
        augmentation: as `keras_mlp.training.data.load` takes it; by default `augmented`.
        data_dir: where tensorflow-datasets keeps what it has prepared; by default its own folder.
        **options: further arguments of `keras_mlp.training.data.load`, such as `seed`.

    Returns:
        Data whose targets are `{"masks": labels (batch, height, width, 1)}`, 255 for void.

    Raises:
        ValueError: an argument is wrong, or there is no such data set or split.
        ConnectionError: the data set has to be downloaded and cannot be.
    """
    if image_size is None:
        if recipe or batch_size != 1:
            raise ValueError(
                "Images of their own sizes are for evaluation, one a batch: give `image_size`, or no recipe and "
                f"batch_size=1. Received: batch_size={batch_size}"
            )
        image_size, options["shown"] = 1, _as_it_is
    return data.load(
        find(name, split, data_dir),
        split,
        image_size=image_size,
        batch_size=batch_size,
        recipe=recipe,
        preprocessing=WHOLE,
        augmentation=augmentation or augmented,
        **options,
    )


def find(name, split: str, data_dir=None) -> Source:
    """The source of a data set with masks; see `load`."""
    from keras_mlp.tasks.segmentation import catalogue, folders
    from keras_mlp.training.data.catalogue import PREFIX

    if isinstance(name, Source):
        return name
    if name == "scenes":
        return scenes.source(split)
    if str(name).startswith(PREFIX):
        return catalogue.dataset(str(name).removeprefix(PREFIX), split, data_dir)
    if os.path.isfile(os.path.join(os.path.expanduser(name), "dataset_info.json")):
        return catalogue.dataset(os.path.expanduser(name), split)
    return folders.folder(name, split)


def _as_it_is(image, size, preprocessing, targets):
    import tensorflow as tf

    return tf.cast(image, tf.float32), targets


def augmented(image, seed, size, recipe: Recipe, interpolation: str, targets):
    """An image and its mask as a recipe wants them: another scale, a crop, mirrored, other colours.

    The scale is drawn from `recipe.random_scale`, relative to the size at which the whole image fits into
    `recipe.resize`, or without that into the crop. A crop is drawn anew, up to ten times, while one class has more than
    three quarters of it. What lies beyond the image is black and void.

    Source: mmsegmentation's `RandomResize`, `RandomCrop(cat_max_ratio=0.75)`, `RandomFlip`, `PhotoMetricDistortion`.

    Args:
        image: float pixels `(height, width, channels)`.
        seed: two integers.
        size: height and width of the result.
        recipe: the recipe.
        interpolation: "bilinear" or "bicubic".
        targets: `{"masks": (height, width, 1)}`.
    """
    import tensorflow as tf

    from keras_mlp.training.data import augment, geometry

    scale, crop, flip, colours = tf.unstack(tf.random.split(seed, 4))
    low, high = recipe.random_scale or (1.0, 1.0)
    factor = tf.random.stateless_uniform((), scale, low, high)
    whole = tf.shape(image)[:2]
    sides = tf.cast(whole, tf.float32)
    if recipe.resize:  # its longer side goes with the longer one of the image
        sides, within = tf.sort(sides, direction="DESCENDING"), sorted(recipe.resize, reverse=True)
    else:
        within = size
    fitting = tf.reduce_min(tf.constant(within, tf.float32) / sides)
    resized = tf.maximum(tf.cast(tf.round(tf.cast(whole, tf.float32) * fitting * factor), tf.int32), 1)
    steps = [geometry.Resize(whole, resized, interpolation), geometry.Pad(resized, size)]
    larger = tf.maximum(resized, size)
    mask = geometry.Steps(*steps).mask(targets["masks"])
    spare = larger - size

    def draw(i):
        draws = tf.random.stateless_uniform((2,), tf.random.fold_in(crop, i))
        return tf.cast(draws * tf.cast(spare + 1, tf.float32), tf.int32)

    def crowded(i):
        top, left = tf.unstack(draw(i))
        part = tf.reshape(mask[top : top + size[0], left : left + size[1]], (-1,))
        part = tf.cast(tf.boolean_mask(part, part != geometry.VOID), tf.int32)
        counts = tf.math.bincount(part)
        share = tf.reduce_max(tf.concat([counts, [0]], 0)) / tf.maximum(tf.size(part), 1)
        return (tf.math.count_nonzero(counts) < 2) | (share > LARGEST_SHARE)

    chosen = tf.while_loop(lambda i: (i < _TRIES - 1) & crowded(i), lambda i: i + 1, [tf.constant(0)])[0]
    steps.append(geometry.Cut(draw(chosen), size))
    if recipe.horizontal_flip:
        steps.append(augment.random_mirror(flip, size[1]))
    moved = geometry.Steps(*steps)
    image = moved.image(image)
    if recipe.photometric_distortion:
        image = photometric_distortion(image, colours)
    return image, moved.targets(targets)


def photometric_distortion(image, seed):
    """Another brightness, contrast, saturation and hue, each with a probability of one half.

    Brightness is shifted by up to 32, contrast and saturation are multiplied by 0.5 to 1.5, the hue is turned by up to
    18 degrees; the contrast comes before or after the colours.

    Source: mmsegmentation's `PhotoMetricDistortion`; Liu et al. 2016 (SSD), https://arxiv.org/abs/1512.02325.

    Args:
        image: float pixels 0–255 `(height, width, 1 or 3)`; of grey ones only brightness and contrast change.
        seed: two integers.
    """
    import tensorflow as tf

    wanted, values = tf.unstack(tf.random.split(seed, 2))
    wanted = tf.random.stateless_uniform((5,), wanted) < 0.5
    values = tf.random.stateless_uniform((4,), values, -1.0, 1.0)
    image = tf.where(wanted[0], image + 32 * values[0], image)
    contrast = tf.where(wanted[1], 1 + 0.5 * values[1], 1.0)
    image = tf.clip_by_value(tf.where(wanted[4], image * contrast, image), 0, 255)
    if image.shape[-1] == 3:
        hsv = tf.image.rgb_to_hsv(image / 255)
        hue = tf.where(wanted[3], hsv[..., 0] + values[3] * (18 / 360), hsv[..., 0]) % 1.0
        saturation = tf.where(wanted[2], hsv[..., 1] * (1 + 0.5 * values[2]), hsv[..., 1])
        colours = tf.stack([hue, tf.clip_by_value(saturation, 0, 1), hsv[..., 2]], -1)
        image = 255 * tf.image.hsv_to_rgb(colours)
    return tf.clip_by_value(tf.where(wanted[4], image, image * contrast), 0, 255)
