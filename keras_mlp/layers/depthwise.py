"""Depthwise convolution whose training step is fast on processors."""

import keras

from keras_mlp.layers import fusing, products
from keras_mlp.layers.configs import registered

_PIECE = 64
_LARGEST = 2**15
_ALIGNED = 256


@fusing.as_base
@registered
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D`; on processors TensorFlow's gradient of large kernels is computed in pieces.

    For windows of 5 x 5 or more, oneDNN's gradient of the kernel takes up to four times as long where the kernel has
    more than 32,768 numbers, or where the number of channels is a multiple of 256 (docs/speed.md). There it is computed
    for 64 channels at a time. The numbers are the same up to rounding.

    Args:
        kernel_size, …: of `keras.layers.DepthwiseConv2D`.

    Input shape: `(batch, height, width, channels)`. Output shape: that of `keras.layers.DepthwiseConv2D`.
    """

    def call(self, inputs, training=None):
        if not (training and self._is_slow_whole(inputs) and products.on_processors()):
            return super().call(inputs)
        y = _in_pieces(inputs, self.kernel, self.strides, self.padding)
        y = y + self.bias if self.use_bias else y
        return self.activation(y)

    def _is_slow_whole(self, x) -> bool:
        """Whether the gradient of the kernel is slow in one piece, and is one that `_in_pieces` can compute."""
        if self.depth_multiplier != 1 or set(self.dilation_rate) != {1} or self.data_format != "channels_last":
            return False
        (height, width), channels = self.kernel_size, x.shape[-1]
        large = height * width * channels > _LARGEST
        return min(height, width) >= 5 and (large or channels % _ALIGNED == 0)


def _in_pieces(x, kernel, strides, padding):
    """A depthwise convolution with the gradient of its kernel in pieces of channels."""
    import tensorflow as tf

    given = {"strides": (1, *strides, 1), "padding": padding.upper()}

    @tf.custom_gradient
    def convolved(x, kernel):
        def gradient(upstream):
            of_input = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(x), filter=kernel, out_backprop=upstream, **given
            )
            whole, rest = divmod(x.shape[-1], _PIECE)
            counts = [_PIECE] * whole + [rest] * (rest > 0)
            pieces = [
                tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                    input=inputs, filter_sizes=(*kernel.shape[:2], count, 1), out_backprop=outputs, **given
                )
                for count, inputs, outputs in zip(
                    counts, tf.split(x, counts, -1), tf.split(upstream, counts, -1), strict=True
                )
            ]
            return of_input, tf.concat(pieces, axis=2)

        return tf.nn.depthwise_conv2d(x, kernel, **given), gradient

    return convolved(x, tf.convert_to_tensor(kernel))
