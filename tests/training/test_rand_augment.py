"""RandAugment against Pillow, of whose operations timm's are made."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from keras_mlp.training.data import rand_augment

SIZE = 64
RAMP = np.tile(np.linspace(0, 255, SIZE), (SIZE, 1))
PICTURE = (20 + 0.8 * np.stack([RAMP, RAMP.T, np.abs(RAMP - RAMP.T)], -1)).astype(np.uint8)
PILLOW = Image.fromarray(PICTURE)
GREY = (128, 128, 128)


def enhanced(kind):
    return lambda level, signed: getattr(ImageEnhance, kind)(PILLOW).enhance(1 + 0.9 * signed)


def moved(coefficients):
    affine, bilinear = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return lambda level, signed: PILLOW.transform(PILLOW.size, affine, coefficients(signed), bilinear, fillcolor=GREY)


EXPECTED = {
    "_auto_contrast": lambda level, signed: ImageOps.autocontrast(PILLOW),
    "_equalize": lambda level, signed: ImageOps.equalize(PILLOW),
    "_invert": lambda level, signed: ImageOps.invert(PILLOW),
    "_posterize": lambda level, signed: ImageOps.posterize(PILLOW, 4 - int(4 * level)),
    "_solarize": lambda level, signed: ImageOps.solarize(PILLOW, 256 - int(256 * level)),
    "_solarize_add": lambda level, signed: np.where(
        PICTURE < 128, np.minimum(PICTURE + int(110 * level), 255), PICTURE
    ),
    "_colour": enhanced("Color"),
    "_contrast": enhanced("Contrast"),
    "_brightness": enhanced("Brightness"),
    "_sharpness": enhanced("Sharpness"),
    "_rotate": lambda level, signed: PILLOW.rotate(30 * signed, Image.Resampling.BILINEAR, fillcolor=GREY),
    "_shear_x": moved(lambda signed: (1, 0.3 * signed, 0, 0, 1, 0)),
    "_shear_y": moved(lambda signed: (1, 0, 0, 0.3 * signed, 1, 0)),
    "_translate_x": moved(lambda signed: (1, 0, 0.45 * SIZE * signed, 0, 1, 0)),
    "_translate_y": moved(lambda signed: (1, 0, 0, 0, 1, 0.45 * SIZE * signed)),
}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize(("level", "signed"), [(0.9, 0.9), (0.7, -0.7)])
def test_an_operation_has_the_arithmetic_of_pillow(name, level, signed):
    """Pillow rounds to whole pixels and counts them from their middles, so edges differ."""
    assert {operation.__name__ for operation in rand_augment.OPERATIONS} == set(EXPECTED)
    (operation,) = (operation for operation in rand_augment.OPERATIONS if operation.__name__ == name)
    found = operation(tf.cast(PICTURE, tf.float32), level, signed)
    difference = np.abs(found - np.asarray(EXPECTED[name](level, signed), np.float32))
    assert np.quantile(difference, 0.9) < 3 and np.median(difference) < 1.5


def test_operations_are_drawn_anew_and_half_of_them_skipped():
    picture = tf.cast(PICTURE, tf.float32)
    found = [rand_augment.rand_augment(picture, (seed, 0), 1, 9).numpy() for seed in range(100)]
    assert all(x.min() >= 0 and x.max() <= 255 for x in found)
    assert 30 < sum(np.array_equal(x, picture) for x in found) < 70
    assert len({bytes(x) for x in found}) > 25
    assert np.array_equal(found[7], rand_augment.rand_augment(picture, (7, 0), 1, 9))


def test_grey_images_are_augmented_too():
    grey = tf.cast(PICTURE[..., :1], tf.float32)
    for seed in range(30):
        assert rand_augment.rand_augment(grey, (seed, 0), 2, 9, probability=1.0).shape == grey.shape
