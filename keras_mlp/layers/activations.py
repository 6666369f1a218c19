"""Activations: the two forms of GELU, which checkpoints differ in."""

import keras
from keras import ops

GELU_FORMS = ("gelu", "gelu_tanh")


@keras.saving.register_keras_serializable(package="keras_mlp")
def gelu_tanh(x):
    """GELU in its tanh form, `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`: the default of Flax and JAX.

    Source: Hendrycks & Gimpel 2016, section 2.
    """
    return ops.gelu(x, approximate=True)


def get(identifier):
    """An activation function by name: "gelu_tanh" or whatever `keras.activations.get` knows ("gelu" is the exact form).

    Raises:
        ValueError: there is no activation of that name.
    """
    return gelu_tanh if identifier == "gelu_tanh" else keras.activations.get(identifier)


def gelu_form(activation) -> str | None:
    """Which form of GELU `activation` is: "gelu", "gelu_tanh", or `None` for any other function."""
    return {keras.activations.gelu: "gelu", gelu_tanh: "gelu_tanh"}.get(activation)
