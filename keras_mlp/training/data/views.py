"""Two views of an image, as MoCo v3 learns from them.

Source: the settings of facebookresearch/moco-v3; colour jitter as in torchvision.
"""

import tensorflow as tf

from keras_mlp.training.data.augment import random_resized_crop
from keras_mlp.training.data.rand_augment import without_colour

JITTER = 0.8, (0.4, 0.4, 0.2, 0.1)  # probability; most change of brightness, contrast, saturation and hue
GREY = 0.2
BLUR = 0.1, 2.0  # least and largest standard deviation, in pixels of an image of 224
SOLARISED_FROM = 128


def two_views(image, seed, size: tuple[int, int], recipe, interpolation: str):
    """Return two views of an image: the first is always blurred, the second seldom, but it may be solarised.

    Args:
        image: float pixels `(height, width, channels)`, 0–255, 1 or 3 channels.
        seed: two integers.
        size: height and width of the views.
        recipe: says which share of the area a crop has, and whether half of the views are mirrored.
        interpolation: "bilinear" or "bicubic".

    Returns:
        Two images, `(*size, channels)`.
    """
    first, second = tf.unstack(tf.random.split(seed, 2))
    return (
        _view(image, first, size, recipe, interpolation, blurred=1.0, solarised=0.0),
        _view(image, second, size, recipe, interpolation, blurred=0.1, solarised=0.2),
    )


def _view(image, seed, size, recipe, interpolation, blurred, solarised):
    crop, colour, grey, blur, solar, flip = tf.unstack(tf.random.split(seed, 6))
    image = random_resized_crop(image, crop, size, recipe.random_resized_crop or (1.0, 1.0), interpolation)
    probability, changes = JITTER
    image = _perhaps(colour, probability, image, lambda seed: colour_jitter(image, seed, *changes))
    image = _perhaps(grey, GREY, image, lambda seed: tf.broadcast_to(without_colour(image), image.shape))
    image = _perhaps(blur, blurred, image, lambda seed: gaussian_blur(image, seed, *BLUR))
    image = _perhaps(solar, solarised, image, lambda seed: tf.where(image < SOLARISED_FROM, image, 255 - image))
    return tf.image.stateless_random_flip_left_right(image, flip) if recipe.horizontal_flip else image


def _perhaps(seed, probability, image, change):
    """What `change` makes of the image, given a seed of its own, or the image."""
    chance, seed = tf.unstack(tf.random.split(seed, 2))
    return tf.cond(tf.random.stateless_uniform((), chance) < probability, lambda: change(seed), lambda: image)


def colour_jitter(image, seed, brightness: float, contrast: float, saturation: float, hue: float):
    """Change brightness, contrast, saturation and hue by random factors, in random order.

    Args:
        image: float pixels `(height, width, channels)`, 0–255. Where there is 1 channel, the latter two stay.
        seed: two integers.
        brightness, contrast, saturation: factors are in 1 ∓ this.
        hue: is turned by up to this share of the circle, either way.

    Returns:
        Pixels 0–255 of the same shape.
    """
    order, draw = tf.unstack(tf.random.split(seed, 2))
    draws = tf.unstack(tf.random.stateless_uniform((4,), draw, -1.0, 1.0))

    def blend(plain, image, factor):
        return tf.clip_by_value(plain + factor * (image - plain), 0, 255)

    changes = [
        lambda image: blend(0.0, image, 1 + brightness * draws[0]),
        lambda image: blend(tf.reduce_mean(without_colour(image)), image, 1 + contrast * draws[1]),
    ]
    if image.shape[-1] == 3:
        changes += [
            lambda image: blend(without_colour(image), image, 1 + saturation * draws[2]),
            lambda image: tf.clip_by_value(tf.image.adjust_hue(image, hue * draws[3]), 0, 255),
        ]
    for which in tf.unstack(tf.random.experimental.stateless_shuffle(tf.range(len(changes)), order)):
        branches = [lambda change=change, image=image: change(image) for change in changes]
        image = tf.ensure_shape(tf.switch_case(which, branches), image.shape)
    return image


def gaussian_blur(image, seed, least: float, largest: float):
    """Blur by a Gaussian of random width.

    Args:
        image: float pixels `(height, width, channels)`; the size is known.
        seed: two integers.
        least, largest: standard deviation, in pixels of an image whose shorter side is 224: of smaller ones a smaller
            blur hides as much.

    Returns:
        Pixels of the same shape.
    """
    height, width, channels = image.shape
    scale = min(height, width) / 224
    deviation = scale * tf.random.stateless_uniform((), seed, least, largest)
    reach = max(1, round(3 * scale * largest))
    places = tf.range(-reach, reach + 1, dtype=tf.float32)
    weights = tf.exp(-tf.square(places / deviation) / 2)
    weights = tf.tile((weights / tf.reduce_sum(weights))[:, tf.newaxis], (1, channels))
    image = tf.pad(image, ((reach, reach), (reach, reach), (0, 0)), "SYMMETRIC")[tf.newaxis]
    for kernel in (weights[:, tf.newaxis, :, tf.newaxis], weights[tf.newaxis, :, :, tf.newaxis]):
        image = tf.nn.depthwise_conv2d(image, kernel, (1, 1, 1, 1), "VALID")
    return tf.ensure_shape(tf.clip_by_value(image[0], 0, 255), (height, width, channels))  # the weights are rounded
