"""Channel mixing: the MLP that each position goes through by itself."""

import keras

from keras_mlp.layers import activations, initializers
from keras_mlp.layers.dense import Dense


def channel_mlp(x, hidden_dim, activation, name, dropout_rate=0.0, gated=False, dim=None, **dense):
    """`fc2(activation(fc1(x)))` along the last axis, as the layers NAME_fc1 and NAME_fc2.

    Gated, the activation of one half of the hidden layer multiplies the other half, as the layer NAME_gate.

    Args:
        x: tensor `(..., channels)`.
        hidden_dim: width of the hidden layer; if gated, before it is halved.
        activation: its activation, e.g. "gelu" (exact) or "gelu_tanh".
        name: prefix of the layers' names.
        dropout_rate: dropout after the activation and after the second linear layer.
        gated: whether the hidden layer is a gated linear unit.
        dim: width of the output; `None` for that of the input.
        **dense: further arguments of both layers, such as initialisers.

    Returns:
        A tensor `(..., dim)`.
    """
    dim = dim or x.shape[-1]
    if gated:
        kernel, bias = initializers.gated(dense.get("kernel_initializer", "glorot_uniform"))
        first = dense | dict(kernel_initializer=kernel, bias_initializer=bias)
        x = Dense(hidden_dim, name=f"{name}_fc1", **first)(x)
        x = activations.GatedLinearUnit(activation, name=f"{name}_gate")(x)
    else:
        x = Dense(hidden_dim, activation=activations.get(activation), name=f"{name}_fc1", **dense)(x)
    if dropout_rate:
        x = keras.layers.Dropout(dropout_rate, name=f"{name}_drop1")(x)
    x = Dense(dim, name=f"{name}_fc2", **dense)(x)
    if dropout_rate:
        x = keras.layers.Dropout(dropout_rate, name=f"{name}_drop2")(x)
    return x
