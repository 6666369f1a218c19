"""What networks without a published reference have in common, in NumPy and float64."""

import math

import numpy as np

_erf = np.vectorize(math.erf)


def gelu(x):
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


class Network:
    """A network of patches, image by image.

    Args:
        state: its weights by our names.
        config: its builder's arguments.
    """

    epsilon = 1e-6
    """Of layer norm."""

    def __init__(self, state, config):
        self.state = {name: np.asarray(value, "float64") for name, value in state.items()}
        self.config = config

    def __call__(self, images):
        return np.stack([self.classify(np.asarray(image, "float64")) for image in images])

    def patches(self, image):
        """The tokens that the stem makes, `(tokens, channels)`."""
        height, width, channels = image.shape
        p = self.config["patch_size"]
        patches = image.reshape(height // p, p, width // p, p, channels).swapaxes(1, 2)
        kernel = self.state["stem/kernel"]
        return patches.reshape(-1, p * p * channels) @ kernel.reshape(-1, kernel.shape[-1]) + self.state["stem/bias"]

    def linear(self, x, name):
        return x @ self.state[f"{name}/kernel"] + self.state[f"{name}/bias"]

    def mlp(self, x, name):
        """`name` has a place for the number of the layer."""
        return self.linear(gelu(self.linear(x, name.format(1))), name.format(2))

    def norm(self, x, name):
        d = x - x.mean(axis=-1, keepdims=True)
        scale = self.state[f"{name}/gamma"] / np.sqrt((d * d).mean(axis=-1, keepdims=True) + self.epsilon)
        return d * scale + self.state[f"{name}/beta"]


def interpolated(vectors, count):
    """PyTorch's linear interpolation along the first axis."""
    at = (np.arange(count) + 0.5) * len(vectors) / count - 0.5
    return np.stack([np.interp(at, np.arange(len(vectors)), channel) for channel in vectors.T], axis=1)
