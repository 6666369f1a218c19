"""Activations: the two forms of GELU, which checkpoints differ in."""

import keras
from keras import ops

GELU_FORMS = ("gelu", "gelu_tanh")


@keras.saving.register_keras_serializable(package="keras_mlp")
def gelu(x):
    """GELU in its exact form, `0.5 x (1 + erf(x / sqrt(2)))`.

    Keras' own goes by `erfc` in TensorFlow, which XLA expands at length and ONNX does not know; this spelling is one
    operator in TFLite and is fused into the matrix product before it in TensorFlow's graphs.

    Source: Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415, section 2.
    """
    return 0.5 * x * (1.0 + ops.erf(x * 0.7071067811865476))


@keras.saving.register_keras_serializable(package="keras_mlp")
def gelu_tanh(x):
    """GELU in its tanh form, `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`: the default of Flax and JAX.

    Source: Hendrycks & Gimpel 2016, section 2.
    """
    return ops.gelu(x, approximate=True)


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
