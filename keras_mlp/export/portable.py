"""A model rewritten for converters: float32 throughout, static shapes."""

import keras

from keras_mlp.layers.precision import policy
from keras_mlp.retyping import Retyper


def portable(model: keras.Model, batch_shape: tuple[int, ...]) -> keras.Model:
    """Copy a model for conversion: same weights and outputs, whatever dtype policy it was built under.

    Args:
        model: functional or sequential model with one input. Neither it nor the global dtype policy is changed.
        batch_shape: shape of the copy's input, batch included; the copy's shapes are static where this is.

    Returns:
        A model in float32.
    """
    image = keras.Input(batch_shape=batch_shape, dtype="float32", name=model.inputs[0].name)
    with policy("float32"):
        return Retyper("float32", adapters=False)(model, image)


def is_float32(model: keras.Model) -> bool:
    """Whether every layer of `model` computes in float32."""
    return all(
        is_float32(layer) if isinstance(layer, keras.Model) else layer.compute_dtype == "float32"
        for layer in model.layers
    )
