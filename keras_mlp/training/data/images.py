"""What is done to one image, in tf.data: to the model's channels and size."""

import math

import tensorflow as tf

from keras_mlp.cards import Preprocessing


def with_channels(image, channels: int):
    """Bring pixels `(height, width, any)` to float32 pixels of `channels` channels (1 or 3).

    Grey becomes colour by repetition, colour grey by luminance; an alpha channel is dropped.
    """
    image = tf.cast(image, tf.float32)
    if image.shape[-1] in (2, 4):
        image = image[..., :-1]
    if image.shape[-1] == channels:
        return image
    if channels == 3:
        return tf.image.grayscale_to_rgb(image)
    return tf.image.rgb_to_grayscale(image)


def resize(image, size: tuple[int, int], interpolation: str):
    """Resize pixels to `(height, width)` with antialiasing; they stay in 0–255 where cubic weights overshoot."""
    return tf.clip_by_value(tf.image.resize(image, size, method=interpolation, antialias=True), 0.0, 255.0)


def for_evaluation(image, size: tuple[int, int], preprocessing: Preprocessing, place: float = 0.5):
    """Resize and crop as a checkpoint wants it.

    Args:
        image: float pixels `(height, width, channels)`.
        size: height and width of the result.
        preprocessing: which part of the image is seen, and the interpolation.
        place: where the crop is on the longer side, from 0 (top or left) to 1; on the other it is the centre.

    Returns:
        Pixels `(*size, channels)`: the whole image squashed; or its short side resized to `size / crop_pct` and the
        centre, or what is at `place`, cropped.
    """
    resized, (top, left) = view(tf.shape(image)[:2], size, preprocessing, place)
    return resize(image, resized, preprocessing.interpolation)[top : top + size[0], left : left + size[1]]


def view(whole, size: tuple[int, int], preprocessing: Preprocessing, place: float = 0.5):
    """Return which part of an image `for_evaluation` sees.

    Args:
        whole: height and width of the image.
        size: height and width of the result.
        preprocessing: see `for_evaluation`.
        place: see there.

    Returns:
        Height and width to which the image is resized, and top and left of the part of it that is seen.
    """
    if preprocessing.squash:
        return size, (0, 0)
    enlarged = [math.floor(side / preprocessing.crop_pct) for side in size]
    scale = tf.reduce_max(tf.constant(enlarged) / whole)
    resized = tf.maximum(tf.cast(tf.round(tf.cast(whole, scale.dtype) * scale), tf.int32), size)
    spare = resized - size
    places = tf.where(spare == tf.reduce_max(spare), place, 0.5)
    return resized, tf.unstack(tf.cast(tf.cast(spare, tf.float32) * places, tf.int32))
