"""Random changes to training images, in tf.data.

Every function takes the seed of its randomness (two integers) and keeps no state, so that the same seed gives the same
image however many threads work at it, in whichever step a run is resumed. The augmentation layers of Keras and keras-cv
keep theirs in a variable: under a parallel `map` they differ from run to run. They are not faster either
(`python -m benchmarks.augmentation`).
"""

import numpy as np
import tensorflow as tf

from keras_mlp.training.data.geometry import Cut, Geometry, Mirror, Resize, Steps


def random_resized_crop(image, seed, size: tuple[int, int], area: tuple[float, float], interpolation: str):
    """Cut a random box out of an image and resize it.

    An image smaller than the result is enlarged first, so that the box moves by less than its pixels.

    Args:
        image: float pixels `(height, width, channels)`.
        seed: two integers.
        size: height and width of the result.
        area: smallest and largest share of the image's area that the box has; its aspect ratio is in 3/4–4/3.
        interpolation: "bilinear" or "bicubic".

    Returns:
        Pixels `(*size, channels)`.
    """
    return random_crop(tf.shape(image)[:2], seed, size, area, interpolation).image(image)


def random_crop(whole, seed, size: tuple[int, int], area: tuple[float, float], interpolation: str) -> Geometry:
    """Draw the box of `random_resized_crop`, whose other arguments these are.

    Args:
        whole: height and width of the image.
    """
    small = tf.reduce_any(whole < size)
    enlarged = tf.where(small, size, whole)
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([enlarged, [3]], 0),
        tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=area,
        max_attempts=10,
    )
    begin, extent = begin[:2], extent[:2]
    return Steps(
        Resize(whole, size, interpolation, wanted=small), Cut(begin, extent), Resize(extent, size, interpolation)
    )


def random_mirror(seed, width: int) -> Geometry:
    """Draw whether an image of this width is mirrored: half of them are, as by TensorFlow's own function."""
    return Mirror(width, tf.random.stateless_uniform((), seed) < 0.5)


def random_erasing(image, seed, probability: float, area=(0.02, 1 / 3)):
    """Fill a random box with Gaussian noise around mid-grey, as random erasing does "by pixel".

    Args:
        image: float pixels `(height, width, channels)`, or frames of a clip, in which the box is the same.
        seed: two integers.
        probability: of erasing at all.
        area: smallest and largest share of the image that is erased; the aspect ratio is in 0.3–3.3.

    Returns:
        Pixels of the same shape.
    """
    chance, place, noise = tf.unstack(tf.random.split(seed, 3))

    def erased():
        draw = tf.random.stateless_uniform((4,), place)
        aspect = tf.exp((2 * draw[1] - 1) * tf.math.log(10 / 3))
        target = area[0] + draw[0] * (area[1] - area[0])
        mask = _box(image.shape[-3:-1], draw[2:], tf.sqrt(target * aspect), tf.sqrt(target / aspect))
        filling = tf.clip_by_value(127.5 + 58 * tf.random.stateless_normal(image.shape, noise), 0, 255)
        return tf.where(mask[..., tf.newaxis] > 0, filling, image)

    return tf.cond(tf.random.stateless_uniform((), chance) < probability, erased, lambda: image)


def mixup(images, labels, seed, alpha: float, rows=None):
    """Blend each image, and its label, with that half a batch away; one weight a pair, from Beta(alpha, alpha).

    Args:
        images: float pixels `(batch, height, width, channels)`, or clips with frames before the height.
        labels: probabilities `(batch, classes)`.
        seed: two integers.
        alpha: of the Beta distribution, > 0.
        rows: where these are the part of a larger batch that one of several workers makes: a boolean for each image of
            that batch. The draws are then those of the whole batch; each image must be here with its partner.

    Returns:
        Images and labels of the same shapes.
    """
    whole = tf.shape(images if rows is None else rows)[0]
    weight = _own(_beta((whole, 1), seed, alpha), rows)
    pixel_weight = tf.reshape(weight, (-1, *[1] * (images.shape.rank - 1)))
    return (
        # From the partner towards the image: two rounded weights need not sum to one, and white would not stay white.
        _partners(images) + pixel_weight * (images - _partners(images)),
        weight * labels + (1 - weight) * _partners(labels),
    )


def cutmix(images, labels, seed, alpha: float, rows=None):
    """Paste a box of another image of the batch into each image; labels are mixed by the area.

    Arguments and result are those of `mixup`.
    """
    weight, place = tf.unstack(tf.random.split(seed, 2))
    whole = tf.shape(images if rows is None else rows)[0]
    side = tf.sqrt(1 - _own(_beta((whole,), weight, alpha), rows))
    centre = tf.transpose(_own(tf.random.stateless_uniform((whole, 2), place), rows))
    mask = _box(images.shape[-3:-1], centre, side, side)
    pasted = tf.reshape(mask, (-1, *[1] * (images.shape.rank - 4), *mask.shape[1:], 1)) > 0
    share = tf.reduce_mean(mask, (-2, -1))[:, tf.newaxis]
    return (
        tf.where(pasted, _partners(images), images),
        labels + share * (_partners(labels) - labels),
    )


def mixup_or_cutmix(images, labels, seed, mixup_alpha: float, cutmix_alpha: float, rows=None):
    """Apply the one of `mixup` and `cutmix` whose alpha is not zero; of both, one by the toss of a coin per batch."""
    coin, seed = tf.unstack(tf.random.split(seed, 2))
    if mixup_alpha and cutmix_alpha:
        return tf.cond(
            tf.random.stateless_uniform((), coin) < 0.5,
            lambda: mixup(images, labels, seed, mixup_alpha, rows),
            lambda: cutmix(images, labels, seed, cutmix_alpha, rows),
        )
    if mixup_alpha:
        return mixup(images, labels, seed, mixup_alpha, rows)
    if cutmix_alpha:
        return cutmix(images, labels, seed, cutmix_alpha, rows)
    return images, labels


def _partners(batch):
    """What each element is mixed with: under repeated augmentation the next one would be the same image again."""
    return tf.roll(batch, tf.shape(batch)[0] // 2, 0)


def _own(draws, rows):
    """Of what is drawn for a whole batch, what is for the images that are here."""
    return draws if rows is None else tf.gather(draws, np.flatnonzero(rows))


def _beta(shape, seed, alpha):
    """Draw from Beta(alpha, alpha)."""
    first, second = tf.unstack(tf.random.stateless_gamma((2, *shape), seed, alpha))
    return first / tf.maximum(first + second, 1e-30)


def _box(size, centre, height, width):
    """Return masks `(..., *size)`, 1 within boxes cut off at the edges; all arguments but `size` are shares `(...)`."""

    def inside(length, middle, extent):
        position = (tf.range(length, dtype=tf.float32) + 0.5) / length
        return tf.abs(position - middle[..., tf.newaxis]) <= extent[..., tf.newaxis] / 2

    rows, columns = inside(size[0], centre[0], height), inside(size[1], centre[1], width)
    return tf.cast(rows[..., :, tf.newaxis] & columns[..., tf.newaxis, :], tf.float32)
