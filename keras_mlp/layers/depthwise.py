"""Depthwise convolution whose training step is fast on processors."""

import keras

from keras_mlp.layers import fusing, products
from keras_mlp.layers.configs import registered

_PIECE = 64
_ALIASING = 256
"""Positions whose channels are a multiple of this many are a multiple of 1 KiB apart in float32."""


@fusing.as_base
@registered
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D`; on processors TensorFlow's gradient of large kernels is computed in pieces.

    The positions under a window of 5 x 5 or more share few lines of the first cache where the number of channels is a
    multiple of 256, so that oneDNN's gradient of the kernel takes up to four times as long as beside it. So it is
    computed for 64 channels at a time there. The numbers are the same up to rounding.

    Args:
        kernel_size, …: of `keras.layers.DepthwiseConv2D`.

    Input shape: `(batch, height, width, channels)`. Output shape: that of `keras.layers.DepthwiseConv2D`.
    """

    def call(self, inputs, training=None):
        if not (training and self._aliases(inputs) and products.on_processors()):
            return super().call(inputs)
        y = _in_pieces(inputs, self.kernel, self.strides, self.padding)
        y = y + self.bias if self.use_bias else y
        return self.activation(y)

    def _aliases(self, x) -> bool:
        """Whether the gradient of the kernel is slow in one piece, and is one that `_in_pieces` can compute."""
        plain = self.depth_multiplier == 1 and set(self.dilation_rate) == {1}
        plain = plain and self.data_format == "channels_last"
        return plain and min(self.kernel_size) >= 5 and x.shape[-1] % _ALIASING == 0


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
            count = x.shape[-1] // _PIECE
            sizes = (*kernel.shape[:2], _PIECE, 1)
            pieces = [
                tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                    input=inputs, filter_sizes=sizes, out_backprop=outputs, **given
                )
                for inputs, outputs in zip(tf.split(x, count, -1), tf.split(upstream, count, -1), strict=True)
            ]
            return of_input, tf.concat(pieces, axis=2)

        return tf.nn.depthwise_conv2d(x, kernel, **given), gradient

    return convolved(x, tf.convert_to_tensor(kernel))
