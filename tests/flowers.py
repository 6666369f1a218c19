"""A small classifier whose scores differ from picture to picture, for tests of what tools make of exported files."""

import keras
import numpy as np

import keras_mlp

CLASSES = ["rose", "tulip", "daisy", "großer Löwenzahn"]


def model():
    """A model of pictures of 32×32 pixels and of `CLASSES`."""
    keras.utils.set_random_seed(0)
    found = keras_mlp.MLPMixer(patch_size=8, dim=16, depth=1, input_shape=(32, 32, 3), classes=len(CLASSES))
    random = np.random.default_rng(0)
    found.get_layer("head").set_weights([random.normal(size=(16, 4)), random.normal(size=4)])
    return found
