"""RandAugment in tf.data: a few random operations on each image, all of one strength.

Written here because the kept ones are slow, and their randomness is no function of a seed: `benchmarks.augmentation`.
"""

import functools
import math

import numpy as np
import tensorflow as tf

from keras_mlp.training.data.geometry import Geometry, Move, Steps


def rand_augment(image, seed, operations: int, magnitude: float, probability: float = 0.5, noise: float = 0.5):
    """Apply random operations one after the other.

    They are the fifteen of timm's "increasing" set, with its rules: each is drawn anew and skipped with a probability,
    its magnitude has Gaussian noise and is kept within 0–10, and the greater it is the stronger is the change. Source:
    Cubuk et al., RandAugment, 2020, section 3; timm, `rand-m9-mstd0.5-inc1`, with which DeiT is trained.

    Args:
        image: float pixels `(height, width, channels)`, 0–255, 1 or 3 channels; the size is known.
        seed: two integers.
        operations: how many of them.
        magnitude: their strength, 10 is full.
        probability: with which each of them is applied.
        noise: standard deviation of the magnitude.

    Returns:
        Pixels 0–255 of the same shape.
    """
    return drawn(seed, image.shape[:2], operations, magnitude, probability, noise).image(image)


def drawn(seed, size, operations: int, magnitude: float, probability: float = 0.5, noise: float = 0.5) -> Geometry:
    """Draw the operations of `rand_augment`, whose other arguments these are.

    Args:
        size: height and width of the image.
    """
    uniform, normal = tf.unstack(tf.random.split(seed, 2))
    draws = tf.unstack(tf.random.stateless_uniform((operations, 3), uniform))
    levels = tf.unstack((magnitude + noise * tf.random.stateless_normal((operations,), normal)) / 10)
    steps = []
    for draw, level in zip(draws, levels, strict=True):
        which, applied, sign = tf.unstack(draw)
        level = tf.clip_by_value(level, 0.0, 1.0)
        which = tf.where(applied < probability, tf.cast(which * len(OPERATIONS), tf.int32), len(OPERATIONS))
        steps.append(Operation(which, level, tf.where(sign < 0.5, -level, level), size))
    return Steps(*steps)


class Operation(Geometry):
    """One of `OPERATIONS`, or nothing.

    Args:
        which: its place there; nothing comes after them.
        level: in 0–1.
        signed: the same with a random sign.
        size: height and width of the image.
    """

    def __init__(self, which, level, signed, size):
        self.which = which
        self.level = level
        self.signed = signed
        self.size = size

    def image(self, image):
        if image.shape.rank > 3:  # what some of them change depends on the brightness of the whole image
            return tf.ensure_shape(tf.map_fn(self.image, image), image.shape)
        branches = [functools.partial(change, image, self.level, self.signed) for change in (*OPERATIONS, _nothing)]
        return tf.ensure_shape(tf.switch_case(self.which, branches), image.shape)

    def mask(self, mask):
        return self._move().mask(mask)

    def boxes(self, boxes):
        return self._move().boxes(boxes)

    def _move(self) -> Geometry:
        """Where the pixels come from; most operations leave them where they are."""
        stay = 1.0, 0.0, 0.0, 0.0, 1.0, 0.0
        maps = [getattr(change, "coefficients", lambda size, signed: stay) for change in (*OPERATIONS, _nothing)]
        branches = [lambda place=place: tf.stack([*map(_number, place(self.size, self.signed))]) for place in maps]
        return Move(self.size, tf.unstack(tf.switch_case(self.which, branches), 6))


def _number(value):
    return tf.convert_to_tensor(value, tf.float32)


# Each takes the image, a level in 0–1 and the same with a random sign, and gives an image.


def _nothing(image, level, signed):
    return tf.identity(image)


def _auto_contrast(image, level, signed):
    low, high = (reduce(image, (0, 1)) for reduce in (tf.reduce_min, tf.reduce_max))
    return tf.where(high > low, (image - low) / tf.maximum(high - low, 1e-3) * 255, image)


def _equalize(image, level, signed):
    channels = image.shape[-1]
    pixels = tf.cast(image, tf.int32) + 256 * tf.range(channels)
    counts = tf.math.bincount(pixels, minlength=256 * channels, maxlength=256 * channels, dtype=tf.float32)
    counts = tf.reshape(counts, (channels, 256))
    below = tf.cumsum(counts, axis=-1, exclusive=True)
    last = tf.reduce_max(tf.where(counts > 0, tf.range(256), 0), -1, keepdims=True)
    step = tf.floor((tf.reduce_sum(counts, -1, keepdims=True) - tf.gather(counts, last, batch_dims=1)) / 255)
    table = tf.clip_by_value(tf.floor((below + tf.floor(step / 2)) / tf.maximum(step, 1)), 0, 255)
    return tf.where(tf.squeeze(step, -1) > 0, tf.gather(tf.reshape(table, [-1]), pixels), image)


def _invert(image, level, signed):
    return 255 - image


def _posterize(image, level, signed):
    width = 2 ** (8 - tf.maximum(4 - tf.floor(4 * level), 0))  # of the steps that are left: four bits at least go
    return tf.floor(image / width) * width


def _solarize(image, level, signed):
    return tf.where(image < 256 - tf.floor(256 * level), image, 255 - image)


def _solarize_add(image, level, signed):
    return tf.where(image < 128, tf.minimum(image + tf.floor(110 * level), 255), image)


def _colour(image, level, signed):
    return _blend(without_colour(image), image, signed)


def _contrast(image, level, signed):
    return _blend(tf.reduce_mean(without_colour(image)), image, signed)


def _brightness(image, level, signed):
    return _blend(0.0, image, signed)


def _sharpness(image, level, signed):
    kernel = np.tile(np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], "float32")[..., None, None] / 13, (image.shape[-1], 1))
    inner = tf.squeeze(tf.nn.depthwise_conv2d(tf.expand_dims(image, 0), kernel, (1, 1, 1, 1), "VALID"), 0)
    inside = np.pad(np.ones(inner.shape[:2], bool), 1)[..., None]
    smooth = tf.where(inside, tf.pad(inner, ((1, 1), (1, 1), (0, 0))), image)
    return _blend(smooth, image, signed)


def _blend(plain, image, signed):
    """Go from the image towards something plain, or away from it, by up to nine tenths."""
    return tf.clip_by_value(plain + (1 + 0.9 * signed) * (image - plain), 0, 255)


def without_colour(image):
    """Luminance `(height, width, 1)` of pixels of 1 or 3 channels."""
    return image if image.shape[-1] == 1 else tf.image.rgb_to_grayscale(image)


def _moving(coefficients):
    """An operation of the coefficients, by the image's size and the signed level, that `Move` takes."""

    @functools.wraps(coefficients)
    def operation(image, level, signed):
        return Move(image.shape[:2], coefficients(image.shape[:2], signed)).image(image)

    operation.coefficients = coefficients
    return operation


@_moving
def _rotate(size, signed):
    angle = signed * math.radians(30)
    (y, x), cos, sin = ((side - 1) / 2 for side in size), tf.cos(angle), tf.sin(angle)
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


@_moving
def _shear_x(size, signed):
    return 1.0, 0.3 * signed, 0.0, 0.0, 1.0, 0.0


@_moving
def _shear_y(size, signed):
    return 1.0, 0.0, 0.0, 0.3 * signed, 1.0, 0.0


@_moving
def _translate_x(size, signed):
    return 1.0, 0.0, 0.45 * size[1] * signed, 0.0, 1.0, 0.0


@_moving
def _translate_y(size, signed):
    return 1.0, 0.0, 0.0, 0.0, 1.0, 0.45 * size[0] * signed


OPERATIONS = (
    *(_auto_contrast, _equalize, _invert, _posterize, _solarize, _solarize_add),
    *(_colour, _contrast, _brightness, _sharpness),
    *(_rotate, _shear_x, _shear_y, _translate_x, _translate_y),
)
