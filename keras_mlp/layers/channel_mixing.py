"""Channel mixing: the MLP that each position goes through by itself."""

import keras

from keras_mlp.layers import activations
from keras_mlp.layers.dense import Dense


def channel_mlp(x, hidden_dim, activation, name, dropout_rate=0.0, **dense):
    """`fc2(activation(fc1(x)))` along the last axis, as the layers NAME_fc1 and NAME_fc2.

    Args:
        x: tensor `(..., channels)`.
        hidden_dim: width of the hidden layer.
        activation: its activation, e.g. "gelu" (exact) or "gelu_tanh".
        name: prefix of the layers' names.
        dropout_rate: dropout after the activation and after the second linear layer.
        **dense: further arguments of both layers, such as initialisers.

    Returns:
        A tensor of the same shape.
    """
    dim = x.shape[-1]
    x = Dense(hidden_dim, activation=activations.get(activation), name=f"{name}_fc1", **dense)(x)
    if dropout_rate:
        x = keras.layers.Dropout(dropout_rate, name=f"{name}_drop1")(x)
    x = Dense(dim, name=f"{name}_fc2", **dense)(x)
    if dropout_rate:
        x = keras.layers.Dropout(dropout_rate, name=f"{name}_drop2")(x)
    return x
