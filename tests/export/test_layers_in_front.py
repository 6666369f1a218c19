"""Layers of Keras in front of a model, in every format: augmentations do nothing there, adapted layers stay adapted."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_mlp import export

ARGUMENTS = {
    "CenterCrop": dict(height=16, width=16),
    "MaxNumBoundingBoxes": dict(max_number=3),
    "RandomBrightness": dict(factor=0.5),
    "RandomColorDegeneration": dict(factor=0.5),
    "RandomColorJitter": dict(brightness_factor=0.5),
    "RandomContrast": dict(factor=0.5),
    "RandomCrop": dict(height=16, width=16),
    "RandomHue": dict(factor=0.5),
    "RandomPosterization": dict(factor=4),
    "RandomRotation": dict(factor=0.3),
    "RandomSaturation": dict(factor=0.5),
    "RandomSharpness": dict(factor=0.5),
    "RandomShear": dict(x_factor=(0.0, 0.3)),  # of a single number Keras' own configuration cannot be read again
    "RandomTranslation": dict(height_factor=0.2, width_factor=0.2),
    "RandomZoom": dict(height_factor=0.2),
    "Resizing": dict(height=16, width=16),
}


def augmentations():
    """All layers of Keras that prepare images, except one that no functional model of Keras can have."""
    base = layers.RandomFlip.__mro__[1]
    kinds = [kind for kind in vars(layers).values() if inspect.isclass(kind) and base in kind.__mro__[1:]]
    return [kind for kind in kinds if kind is not layers.Equalization]


FEW = [layers.RandomFlip, layers.RandomRotation, layers.RandomZoom]


@pytest.mark.parametrize("kinds", [FEW, pytest.param(augmentations(), marks=pytest.mark.slow)], ids=["few", "all"])
def test_every_export_of_a_model_with_layers_in_front_computes_as_it_predicts(kinds, tmp_path):
    """Also of one that is nested."""
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype("float32")
    adapted = layers.Normalization()
    adapted.adapt(images)
    x = image = keras.Input((16, 16, 3))
    for kind in kinds:
        x = kind(**ARGUMENTS.get(kind.__name__, {}))(layers.Rescaling(1.0)(x))
    noisy = layers.GaussianNoise(1.0)(layers.Dropout(0.9)(layers.Conv2D(4, 4, 4)(adapted(x))))
    inner = keras.Model(image, layers.Dense(5)(layers.Flatten()(noisy)))
    outer = keras.Input((16, 16, 3))
    model = keras.Model(outer, inner(outer))
    expected = model.predict(images, verbose=0)
    export.to_saved_model(model, tmp_path / "saved")
    found = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"](tf.constant(images))["outputs"]
    assert np.abs(found - expected).max() < 1e-4 * expected.std()
    assert export.to_onnx(model, tmp_path / "model.onnx", verify_with=images) < 1e-4
    exported = export.to_tflite(model, tmp_path / "model.tflite", verify_with=images)
    assert exported.verification.max_difference < 1e-4
