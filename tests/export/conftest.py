"""What the tests of exports share: a small Mixer, and images for it."""

import numpy as np
import pytest

import keras_mlp


@pytest.fixture(scope="session")
def mixer():
    """Make the Mixer."""

    def make(**arguments):
        """A small Mixer of which every weight matters (fresh heads are zero, and zeros agree with anything)."""
        arguments = dict(patch_size=8, dim=32, depth=2, input_shape=(32, 32, 3), classes=10, weights=None) | arguments
        model = keras_mlp.MLPMixer(**arguments)
        random = np.random.default_rng(0)
        for weight in model.weights:
            fan_in = np.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 100
            offset = 1.0 if weight.name == "gamma" else 0.0
            weight.assign(offset + random.normal(size=weight.shape) / np.sqrt(fan_in))
        return model

    return make


@pytest.fixture(scope="session")
def model(mixer):
    return mixer()


@pytest.fixture(scope="session")
def images():
    """Blobs of colour, as pixels: pure noise would make all images alike to a Mixer."""
    random = np.random.default_rng(1)
    return random.integers(0, 256, (64, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2).astype("uint8")
