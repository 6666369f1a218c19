"""Less memory in training, for more time."""

import keras

from keras_mlp import names
from keras_mlp.layers import Dense


def rematerialize(model):
    """Let a model's MLPs compute their hidden layers anew in the backward pass.

    Of each linear layer with an activation only the input is kept, and product, bias and activation are computed once
    more when the gradient is due. `python -m benchmarks.memory` measures what this saves and costs. Keras' own
    `RematScope` saves nothing here: its mode "activations" recomputes what our GELU does not keep in the first place,
    and its mode "full" fails in TensorFlow's graphs.

    Args:
        model: a model of the zoo, or one that contains such a model. The setting holds from the next time on that a
            training step is traced, so call this before `compile`; it is not saved with the model.

    Returns:
        The model.

    Raises:
        ValueError: the model has no such layer.
    """
    mlps = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, Dense) and layer.activation not in (None, keras.activations.linear)
        if not ((place := names.parse(layer.name)) and place.part == "head")
    ]
    if not mlps:
        raise ValueError(f"`model` must have linear layers with activations, to compute anew. Received: {model.name}")
    for layer in mlps:
        layer.rematerialize = True
    return model
