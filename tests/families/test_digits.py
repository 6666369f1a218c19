"""Every family learns: a small configuration of each reads the embedded handwritten digits, trained by its `fit`."""

import dataclasses
import functools
import types

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp import export
from keras_mlp.training import data, recipes
from keras_mlp.training.train import evaluate, fit
from keras_mlp.zoo import FAMILIES

GOAL = 0.95
FEW = ("wave_mlp",)
"""The family that is trained before a change lands."""
SIZE = 16
SMALL = {name: config for found in golden.REFERENCES.values() for name, config in found.DIGITS.items()}


def still(data, frames):
    """The images as videos in which nothing moves."""
    videos = data.dataset.map(lambda images, labels: (tf.repeat(images[:, tf.newaxis], frames, axis=1), labels))
    return dataclasses.replace(data, dataset=videos)


def arrays(data):
    """All images, and all labels."""
    batches = [(images.numpy(), labels.numpy()) for images, labels in data.dataset]
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train a family's small model in a precision, once: the model, plain data, the share of the test it reads."""
    folder = tmp_path_factory.mktemp("digits")

    @functools.cache
    def trained(family, precision):
        recipe = dataclasses.replace(recipes.digits(), epochs=35, precision=precision)
        options = dict(image_size=SIZE, batch_size=recipe.batch_size, seed=0, data_dir=folder)
        train = data.load("digits", "train", recipe=recipe, **options)
        plain, test = (data.load("digits", split, **options) for split in ("train", "test"))
        shape = (SIZE, SIZE, 3)
        if FAMILIES[family].input == "video":
            shape = (4, *shape)
            train, plain, test = (still(images, 4) for images in (train, plain, test))
        keras.utils.set_random_seed(0)
        builder = FAMILIES[family].builders[family]
        model = builder(**SMALL[family], input_shape=shape, classes=10, dtype=precision)
        # On many CPUs TensorFlow's own float16 products take a hundred times as long as XLA's.
        xla = precision == "mixed_float16" or "auto"
        fit(model, train, None, recipe, folder / f"{family}_{precision}", jit_compile=xla, verbose=0)
        found = evaluate(model, test, verbose=0)["top1"]
        print(f"{family}, {precision}: {found:.2%} of the test images, {model.count_params():,} parameters")
        return types.SimpleNamespace(model=model, plain=arrays(plain), test=arrays(test), accuracy=found)

    return trained


@pytest.mark.slow
@pytest.mark.parametrize("family", golden.chosen(sorted(FAMILIES), FEW, pytest.mark.huge))
def test_every_family_learns_the_digits(family, trained):
    """One recipe for all, in float32 at 16 x 16 pixels."""
    assert trained(family, "float32").accuracy >= GOAL


@pytest.mark.parametrize("family", golden.chosen(sorted(FAMILIES), (), *golden.HUGE))
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_the_bits_read_them_as_well(family, precision, trained):
    """To within one point: what lower precision loses, not what another order of sums changes."""
    assert trained(family, precision).accuracy >= trained(family, "float32").accuracy - 0.01


@pytest.mark.slow
@pytest.mark.parametrize("family", golden.chosen(sorted(FAMILIES), FEW, pytest.mark.huge))
def test_a_quarter_of_the_bits_reads_them_as_well_on_a_phone(family, trained, tmp_path):
    """The int8 file, whose ranges were measured on a hundred training images, loses at most one point.

    BiMLP's numbers range too far for that: some of its layers have to stay in float32.
    """
    digits = trained(family, "float32")
    given = dict(representative=digits.plain[0][:100], verify_with=digits.test)
    if family == "bimlp":
        given["max_accuracy_drop"] = 0.01
    exported = export.to_tflite(digits.model, tmp_path / "digits.tflite", "int8", **given)
    found = exported.verification
    print(
        f"{family}, int8: {found.tflite_accuracy:.2%} of {found.images}, float32 {found.keras_accuracy:.2%}; "
        f"kept in float32: {', '.join(exported.float_layers) or 'none'}"
    )
    assert found.tflite_accuracy >= found.keras_accuracy - 0.01
