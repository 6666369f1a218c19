"""A convolution of maps of several sizes."""

import keras
import numpy as np
from keras import ops

from keras_mlp.layers import fusing, products
from keras_mlp.layers.configs import registered
from keras_mlp.layers.resizing import interpolation_matrix, resized


@registered
class JoinedConv2D(keras.layers.Conv2D):
    """A convolution of several maps: the others are resized to the size of the first, bilinearly, and all are joined.

    Resizing and convolving are both linear, so their order can be turned round. Each tap of the kernel is applied to a
    small map at its own size, and what it gives is enlarged and moved by the tap's place, along one axis after the
    other. A map of half the height and width then needs a quarter of the products. The result is the same up to
    rounding.

    Args:
        filters, kernel_size, …: of `keras.layers.Conv2D`. Strides and dilation must be 1, `padding` "same", there are
            no groups, and the sides of the kernel are odd.

    Input shape: list of maps `(batch, height, width, channels)`, of sizes and channels of their own. Sizes may be
        unknown: then the maps are resized first.
    Output shape: `(batch, height, width, filters)`, of the first map's size.

    Raises:
        ValueError: the settings are none of those.
    """

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        self.input_spec = None  # Keras' is of one map

    def build(self, input_shape):
        plain = (*self.strides, *self.dilation_rate, self.groups) == (1,) * 5 and all(n % 2 for n in self.kernel_size)
        if not plain or self.padding != "same" or self.data_format != "channels_last":
            raise ValueError(
                f'{self.name} must have padding="same", data_format="channels_last", an odd kernel, and no strides, '
                "dilation or groups."
            )
        super().build((*input_shape[0][:3], sum(shape[-1] for shape in input_shape)))
        self.input_spec = None

    def call(self, inputs):
        first, *others = inputs
        size = ops.shape(first)[1:3]
        if products.is_for_litert() or not all(_pays(x, first) for x in others):
            return super().call(ops.concatenate([first, *(resized(x, size) for x in others)], axis=-1))
        channels = np.cumsum([x.shape[-1] for x in inputs])
        kernel = ops.convert_to_tensor(self.kernel)
        y = ops.conv(first, kernel[:, :, : channels[0]], padding="same", data_format="channels_last")
        for x, start, end in zip(others, channels, channels[1:], strict=False):
            y = y + _taps_first(x, kernel[:, :, start:end], size)
        y = y + self.bias if self.use_bias else y
        return self.activation(y)

    def compute_output_shape(self, input_shape):
        first = input_shape[0] if isinstance(input_shape[0], tuple | list) else input_shape  # Keras asks as it builds
        return (*first[:3], self.filters)


@fusing.writes.answer(JoinedConv2D)
def _convolution(layer):
    linear = fusing.Linear("kernel", "hwigo", "gi", "go", groups=1, switch="use_bias")
    return linear if fusing.ends_linear(layer) else None


def _pays(x, like) -> bool:
    """Whether it is faster to convolve a map before it is resized: it has half of the positions at most."""
    sides = (*x.shape[1:3], *like.shape[1:3])
    return None not in sides and 2 * sides[0] * sides[1] <= sides[2] * sides[3]


def _taps_first(x, kernel, size):
    """A map resized and convolved, in the turned order.

    Args:
        x: `(batch, height, width, channels)`, of known size.
        kernel: `(rows, columns, channels, filters)`.
        size: height and width of the result.

    Returns:
        `(batch, *size, filters)`.
    """
    (height, width, channels), (rows, columns, _, filters) = x.shape[1:], kernel.shape
    taps = ops.reshape(ops.transpose(kernel, (2, 1, 0, 3)), (channels, columns * rows * filters))
    y = ops.matmul(ops.reshape(x, (-1, channels)), taps)
    y = ops.reshape(y, (-1, width * columns, rows * filters))
    y = ops.matmul(_moved_and_resized(width, size[1], columns, y.dtype), y)
    y = ops.transpose(ops.reshape(y, (-1, height, size[1], rows, filters)), (0, 1, 3, 2, 4))
    y = ops.reshape(y, (-1, height * rows, size[1] * filters))
    y = ops.matmul(_moved_and_resized(height, size[0], rows, y.dtype), y)
    return ops.reshape(y, (-1, *size, filters))


def _moved_and_resized(source, target, taps, dtype):
    """Matrix `(target, source * taps)`: what each tap at each old position gives to each new one; zeros come in."""
    matrix = np.pad(interpolation_matrix(source, target), ((taps // 2, taps // 2), (0, 0)))
    moved = np.stack([matrix[tap : tap + target] for tap in range(taps)], axis=-1)
    return ops.cast(moved.reshape(target, source * taps), dtype)
