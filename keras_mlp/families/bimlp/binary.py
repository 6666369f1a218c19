"""Binary layers: weights of one bit, activations of two or three levels, and what lets gradients through both."""

import keras
import numpy as np
from keras import ops

from keras_mlp.layers import initializers, showing
from keras_mlp.layers.configs import registered, with_config
from keras_mlp.layers.dense import leading
from keras_mlp.layers.gradients import passed_on, with_slope
from keras_mlp.layers.products import BINARY_PRODUCT, short_sum
from keras_mlp.layers.sizes import check_side

# Both have their thresholds where the nearest level changes; zero is a level of the ternary ones.
_ROUND = {
    "ternary": lambda x: ops.round(ops.clip(x, -1.0, 1.0)),
    "binary": lambda x: ops.cast(x >= 0, x.dtype) * 2 - 1,
}
_SLOPE = {
    "straight_through": lambda x: ops.cast(ops.abs(x) <= 1, x.dtype),
    "bireal": lambda x: ops.relu(2 - 2 * ops.abs(x)),
}
ACTIVATION_LEVELS = (*_ROUND, None)
WEIGHT_LEVELS = ("binary", None)
GRADIENTS = tuple(_SLOPE)


def quantize(x, levels="ternary", gradient="straight_through"):
    """Round activations to a few levels; the gradient is that of a function with slopes.

        ternary:  q = round(clip(x, -1, 1)), half to even: -1, 0 or 1
        binary:   q = 1 where x >= 0, else -1

        straight_through:  dq/dx = 1 where |x| <= 1, else 0
        bireal:            dq/dx = max(2 - 2 |x|, 0)

    Source: Hubara et al. 2016, https://arxiv.org/abs/1602.02830, section 1.3 (straight through); Liu et al. 2018
    (Bi-Real Net), https://arxiv.org/abs/1808.00278, section 3.3. The ternary levels are those of BiMLP's released code.

    Args:
        x: any tensor.
        levels: "ternary", "binary", or `None` to leave `x` as it is.
        gradient: "straight_through" or "bireal".

    Returns:
        A tensor of the same shape.
    """
    return x if levels is None else with_slope(_ROUND[levels], _SLOPE[gradient])(x)


def scale_of(kernel, axis):
    """The mean magnitude along `axis`, which stays in the shape as 1.

    Where all magnitudes are equal the mean is exactly that one, which the mean of rounded sums is not: so a kernel of
    signs times scales keeps both for ever, see `keras_mlp.binary`.
    """
    magnitudes = ops.abs(kernel)
    largest = ops.max(magnitudes, axis=axis, keepdims=True)
    return largest + ops.mean(magnitudes - largest, axis=axis, keepdims=True)


@ops.custom_gradient
def _signs(kernel, scale):
    """1 where `kernel >= 0`, else -1; the gradient of these signs times `scale` passes to `kernel` unchanged."""

    def backward(*arguments, upstream=None):
        # All weights of a scale may be zero.
        return ops.divide_no_nan(passed_on(arguments, upstream), scale), ops.zeros_like(scale)

    return _ROUND["binary"](kernel), backward


@registered
class ClipWeights(keras.constraints.Constraint):
    """Keep each weight between `-limit` and `limit`.

    A weight whose sign alone counts would else drift so far that no later gradient can turn it.

    Source: Courbariaux et al. 2015 (BinaryConnect), https://arxiv.org/abs/1511.00363, section 2.4.
    """

    def __init__(self, limit=1.0):
        self.limit = limit

    def __call__(self, w):
        return ops.clip(w, -self.limit, self.limit)


@with_config
class BinaryLayer(keras.layers.Layer):
    """Base of the layers with quantised products.

    Args:
        activation_levels: "ternary", "binary", or `None` for real numbers.
        weight_levels: "binary", or `None` for real numbers.
        gradient: what stands in for the rounding's gradient, "straight_through" or "bireal"; see `quantize`.
        kernel_initializer: of the real numbers whose signs the binary weights are.
        kernel_constraint: of the same numbers.

    Raises:
        ValueError: levels or gradient of another name.
    """

    scale_axis: int
    """Axis of the kernel along which weights share one scale."""

    def __init__(
        self,
        activation_levels="ternary",
        weight_levels="binary",
        gradient="straight_through",
        kernel_initializer="glorot_uniform",
        kernel_constraint=None,
        **kwargs,
    ):
        check_levels(activation_levels, weight_levels, gradient)
        super().__init__(**kwargs)
        self.activation_levels, self.weight_levels, self.gradient = activation_levels, weight_levels, gradient
        self.kernel_initializer = initializers.own(kernel_initializer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)

    def _scope(self):
        """The name scope of the product: few levels on both sides could be multiplied by bit operations."""
        both = None not in (self.activation_levels, self.weight_levels)
        return keras.name_scope(BINARY_PRODUCT if both else "product")

    def _add_kernel(self, shape):
        return self.add_weight(
            name="kernel", shape=shape, initializer=self.kernel_initializer, constraint=self.kernel_constraint
        )

    def _quantized(self, x):
        return quantize(x, self.activation_levels, self.gradient)

    def signs_and_scale(self):
        """The weights: signs in the kernel's shape, and scales, 1 long in the axis along which one is shared.

        Without weight levels the kernel itself, and `None`.
        """
        if self.weight_levels is None:
            return self.kernel, None
        kernel = ops.reshape(self.kernel, self.kernel.shape)  # custom gradients take tensors, no variables
        scale = ops.stop_gradient(scale_of(kernel, self.scale_axis))
        return _signs(kernel, scale), scale


def check_levels(activation_levels, weight_levels, gradient):
    """Raise a `ValueError` that lists what is allowed, if one of them is not."""
    for what, value, allowed in (
        ("activation_levels", activation_levels, ACTIVATION_LEVELS),
        ("weight_levels", weight_levels, WEIGHT_LEVELS),
        ("gradient", gradient, GRADIENTS),
    ):
        if value not in allowed:
            raise ValueError(f"`{what}` must be one of {', '.join(map(repr, allowed))}. Received: {what}={value!r}")


@registered
class BinaryDense(BinaryLayer):
    """A linear layer of binary weights on quantised activations, without bias.

        y_o = s_o * (sum over i of sign(W_io) q(x_i)),   s_o = mean over i of |W_io|

    A weight of exactly 0 counts as positive, so that one bit holds it; BiMLP's released code leaves it out of the sum.
    The sum is one of whole numbers, and so is exact: it is the same in any order, on any machine.

    Source: Rastegari et al. 2016 (XNOR-Net), https://arxiv.org/abs/1603.05279, equations 5 and 6; Xu et al. 2022
    (BiMLP), section 3.

    Args:
        units: width of the output.
        **kwargs: of `BinaryLayer`.

    Input shape: `(..., channels)`. Output shape: `(..., units)`.
    """

    scale_axis = 0

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.kernel = self._add_kernel((input_shape[-1], self.units))
        super().build(input_shape)

    def call(self, x):
        flat = self._quantized(ops.reshape(x, (-1, x.shape[-1])))
        signs, scale = self.signs_and_scale()
        with self._scope():
            y = ops.matmul(flat, signs)
        y = y if scale is None else y * scale
        return ops.reshape(y, (*leading(x), self.units))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)


@registered
class BinaryAggregation(BinaryLayer):
    """Neighbours along an axis, quantised and summed with binary weights; each output sees a few channels of its own.

        y_o[i] = sum over k and j of w_oj[k] q(x_(n o + j))[i + k],   j = 0 … n - 1,   zeros outside
        w_oj[k] = sign(W_oj[k]) mean over j of |W_oj[k]|

    One scale for each output and offset k: with one channel an output (n = 1) it is the weight's own magnitude, and the
    weights are real numbers in effect.

    Source: the authors' code of BiMLP (`tfc_h`, `tfc_w` of two channels, `sfc_h`, `sfc_w` of one).

    Args:
        side: "height" or "width".
        size: number of positions that are summed, odd.
        inputs: number n of channels for each output.
        **kwargs: of `BinaryLayer`.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: `(batch, height, width, channels / inputs)`.

    Raises:
        ValueError: `side` is neither, or `inputs` does not divide the channels.
    """

    scale_axis = -1

    def __init__(self, side, size=7, inputs=1, **kwargs):
        check_side(side)
        super().__init__(**kwargs)
        self.side, self.size, self.inputs = side, size, inputs

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.inputs:
            raise ValueError(f"`inputs` must divide the {channels} channels. Received: inputs={self.inputs}")
        window = (self.size, 1) if self.side == "height" else (1, self.size)
        self.kernel = self._add_kernel((*window, channels // self.inputs, self.inputs))
        super().build(input_shape)

    def call(self, x):
        kernel = ops.expand_dims(self._windows(), -1)
        x = self._quantized(x)
        with self._scope():
            y = ops.depthwise_conv(x, kernel, padding="same", data_format="channels_last")
        if self.inputs == 1:
            return y
        return short_sum(ops.reshape(y, (*ops.shape(x)[:-1], x.shape[-1] // self.inputs, self.inputs)))

    def _windows(self):
        """The weights of each channel of the input, `(height, width, channels)` of a window."""
        signs, scale = self.signs_and_scale()
        kernel = signs if scale is None else signs * scale
        return ops.reshape(kernel, (*kernel.shape[:2], -1))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // self.inputs)


@showing.weights.answer(BinaryAggregation)
def _windows(layer):
    return showing.largest_first("the window of one channel", np.moveaxis(showing.array(layer._windows()), -1, 0))


@registered
class ChannelBias(keras.layers.Layer):
    """`x + bias`, channel by channel: moves the thresholds at which what follows is rounded. Starts at zero.

    Source: Liu et al. 2020 (ReActNet), https://arxiv.org/abs/2003.03488, section 4.2.

    Input shape: `(..., channels)`. Output shape: the same.
    """

    def build(self, input_shape):
        self.bias = self.add_weight(name="bias", shape=input_shape[-1:], initializer="zeros")
        super().build(input_shape)

    def call(self, x):
        return x + self.bias

    def compute_output_shape(self, input_shape):
        return input_shape


@registered
class RPReLU(keras.layers.Layer):
    """`prelu(x + b1) + b2`, with a slope for negative numbers and two biases a channel.

    Source: Liu et al. 2020 (ReActNet), equation 6. The slopes start at 0.25, the biases at 0.

    Input shape: `(..., channels)`. Output shape: the same.
    """

    def build(self, input_shape):
        channels = input_shape[-1:]
        self.bias1 = self.add_weight(name="bias1", shape=channels, initializer="zeros")
        self.slope = self.add_weight(name="slope", shape=channels, initializer=keras.initializers.Constant(0.25))
        self.bias2 = self.add_weight(name="bias2", shape=channels, initializer="zeros")
        super().build(input_shape)

    def call(self, x):
        x = x + self.bias1
        return ops.maximum(x, 0) + self.slope * ops.minimum(x, 0) + self.bias2

    def compute_output_shape(self, input_shape):
        return input_shape
