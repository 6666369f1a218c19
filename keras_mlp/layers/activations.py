"""Activations: the two forms of GELU, which checkpoints differ in."""

import math

import keras
from keras import ops

from keras_mlp.layers.configs import registered
from keras_mlp.layers.gradients import with_slope

GELU_FORMS = ("gelu", "gelu_tanh")


@keras.saving.register_keras_serializable(package="keras_mlp")
def gelu(x):
    """GELU in its exact form, `0.5 x (1 + erf(x / sqrt(2)))`.

    Keras' own goes by `erfc` in TensorFlow, which XLA expands at length and ONNX does not know; this spelling is one
    operator in TFLite and is fused into the matrix product before it in TensorFlow's graphs.

    Source: Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415, section 2.
    """
    return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))


@keras.saving.register_keras_serializable(package="keras_mlp")
def gelu_tanh(x):
    """GELU in its tanh form, `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`: the default of Flax and JAX.

    Source: Hendrycks & Gimpel 2016, section 2.
    """
    return ops.gelu(x, approximate=True)


_TANH_1, _TANH_3 = math.sqrt(2 / math.pi), math.sqrt(2 / math.pi) * 0.044715

# In training, where TensorFlow fuses no GELU, with as few arrays between input and output as there can be, and with as
# much as possible in common with the slope: TensorFlow computes once what a graph says twice.


def _distribution(x):
    """`Phi`, the normal distribution; `phi` below is its density."""
    return 0.5 + 0.5 * ops.erf(math.sqrt(0.5) * x)


def _gelu_slope(x):
    """`Phi(x) + x phi(x)`."""
    return _distribution(x) + x * ops.exp(-0.5 * math.log(2 * math.pi) - ops.square(math.sqrt(0.5) * x))


def _tanh_distribution(x):
    """What stands for `Phi` in the tanh form."""
    return 0.5 + 0.5 * ops.tanh(x * (_TANH_1 + _TANH_3 * x * x))


def _gelu_tanh_slope(x):
    """`h + x h'`, where `h' = 2 h (1 - h) u'` of `h = 0.5 (1 + tanh(u))`."""
    h = _tanh_distribution(x)
    return h + x * (h * (1.0 - h) * (2 * _TANH_1 + 6 * (_TANH_3 * x * x)))


_IN_TRAINING = {
    gelu: with_slope(lambda x: x * _distribution(x), _gelu_slope),
    gelu_tanh: with_slope(lambda x: x * _tanh_distribution(x), _gelu_tanh_slope),
}


def applied(activation, x, training):
    """`activation(x)`; in training a GELU keeps its input for the gradient, and not the three or more arrays between.

    (In a graph, TensorFlow finds that the slope begins as the output does, and may keep one more.)

    Outside of training it stays as it is, which TensorFlow knows to fuse, and converters to read.
    """
    return (_IN_TRAINING.get(activation, activation) if training else activation)(x)


@registered
class Activation(keras.layers.Activation):
    """`keras.layers.Activation` that takes less memory for GELU in training; see `applied`.

    Args:
        activation: name or function, e.g. "relu" or "gelu" (exact).
        **kwargs: of `keras.layers.Activation`.

    Input shape: any. Output shape: the same.
    """

    def __init__(self, activation, **kwargs):
        super().__init__(get(activation), **kwargs)

    def call(self, inputs, training=None):
        return applied(self.activation, inputs, training)


@registered
class GatedLinearUnit(keras.layers.Layer):
    """One half of the channels, gated by the activation of the other half.

        u, v = the two halves of x;    y = u * activation(v)

    Source: Dauphin et al. 2017, https://arxiv.org/abs/1612.08083, equation 1; Shazeer 2020,
    https://arxiv.org/abs/2002.05202, for activations other than the sigmoid.

    Args:
        activation: name or function, e.g. "sigmoid", "gelu" (exact) or "silu".

    Input shape: `(..., channels)`, `channels` even.
    Output shape: `(..., channels / 2)`.

    Raises:
        ValueError: the number of channels is odd.
    """

    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self.activation = get(activation)

    def build(self, input_shape):
        if input_shape[-1] % 2:
            raise ValueError(f"The number of channels must be even to be halved. Received: {input_shape[-1]} channels")
        super().build(input_shape)

    def call(self, x, training=None):
        u, v = ops.split(x, 2, axis=-1)
        return u * applied(self.activation, v, training)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // 2)


def get(identifier):
    """An activation function by name: "gelu" (exact), "gelu_tanh", or whatever else `keras.activations.get` knows.

    Raises:
        ValueError: there is no activation of that name.
    """
    if identifier in GELU_FORMS:
        return {"gelu": gelu, "gelu_tanh": gelu_tanh}[identifier]
    return keras.activations.get(identifier)


def gelu_form(activation) -> str | None:
    """Which form of GELU `activation` is: "gelu", "gelu_tanh", or `None` for any other function."""
    return {gelu: "gelu", gelu_tanh: "gelu_tanh"}.get(activation)
