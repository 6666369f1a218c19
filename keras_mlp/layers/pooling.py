"""Pooling as PyTorch pads it."""

import keras
from keras import ops

from keras_mlp.layers.configs import registered


@registered
class PaddedMaxPooling(keras.layers.Layer):
    """The maximum of square windows around every `stride`-th position.

    Windows reach over the border, and positions outside of the map do not count. PyTorch pads with minus infinity on
    all four sides. Keras' "same" places the windows elsewhere on maps of even size. Here the map is padded with
    positions that the window holds already, which changes no maximum and works for integers, too.

    Args:
        size: side of a window in positions, odd.
        stride: distance of the windows.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: `(batch, ceil(height / stride), ceil(width / stride), channels)`.

    Raises:
        ValueError: `size` is even or not positive.
    """

    def __init__(self, size=3, stride=2, **kwargs):
        super().__init__(**kwargs)
        if size < 1 or size % 2 == 0:
            raise ValueError(f"`size` of padded windows must be a positive odd number. Received: size={size}")
        self.size, self.stride = size, stride

    def padded(self, x):
        """The map with the positions around it that windows reach."""
        around = (self.size // 2, self.size // 2)
        if self.size == 1:  # PyTorch refuses to pad by nothing
            return x
        return ops.pad(x, ((0, 0), around, around, (0, 0)), mode="symmetric")

    def call(self, x):
        return ops.max_pool(self.padded(x), self.size, self.stride, padding="valid", data_format="channels_last")

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        return (batch, *(side and -(-side // self.stride) for side in sides), channels)
