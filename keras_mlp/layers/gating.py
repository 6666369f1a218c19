"""Gating: one half of the channels multiplied by the other, after that has been mixed."""

import keras
from keras import ops

from keras_mlp.layers.configs import registered
from keras_mlp.layers.grid import GridLayer
from keras_mlp.layers.normalization import LayerNormalization
from keras_mlp.layers.token_mixing import TokenDense


@registered
class SpatialGatingUnit(GridLayer):
    """Half of the channels, gated by the other half after layer norm and a linear layer across the tokens.

        u, v = the two halves of x;    y = u * (W norm(v) + b)

    Source: Liu et al. 2021 (gMLP), equation 4 and section 2.1.

    Args:
        epsilon: of the layer norm.
        kernel_initializer, bias_initializer: of the linear layer. The defaults begin near `y = u`.

    Input shape: `(batch, height, width, channels)`, all but the batch known, `channels` even.
    Output shape: `(batch, height, width, channels / 2)`.

    Raises:
        ValueError: the number of channels is odd.
    """

    grid_axes = {f"proj/{path}": axes for path, axes in TokenDense.grid_axes.items()}

    def __init__(self, epsilon, kernel_initializer=None, bias_initializer="ones", **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer or keras.initializers.RandomNormal(0, 1e-6))
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape):
        super().build(input_shape)
        if input_shape[-1] % 2:
            raise ValueError(f"The number of channels must be even to be halved. Received: {input_shape[-1]} channels")
        half = self.compute_output_shape(input_shape)
        self.norm = self.sublayer(LayerNormalization, epsilon=self.epsilon, name="norm", input_shape=half)
        initializers = self.kernel_initializer, self.bias_initializer
        self.proj = self.sublayer(TokenDense, *initializers, name="proj", input_shape=half)

    def call(self, x):
        u, v = ops.split(x, 2, axis=-1)
        return u * self.proj(self.norm(v))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // 2)
