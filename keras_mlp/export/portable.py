"""A model rewritten for converters: float32 throughout, static shapes, fused."""

import warnings

import keras

from keras_mlp import fusion
from keras_mlp.layers.precision import policy
from keras_mlp.retyping import Retyper


def portable(model: keras.Model, batch_shape: tuple[int | None, ...], dtype: str = "float32") -> keras.Model:
    """Copy a model for conversion: same weights and outputs, whatever dtype policy it was built under.

    Args:
        model: functional or sequential model with one input. Neither it nor the global dtype policy is changed.
        batch_shape: shape of the copy's input, batch included; the copy's shapes are static where this is.
        dtype: what the copy computes in.

    Returns:
        A model in that dtype; it takes float32.
    """
    image = keras.Input(batch_shape=batch_shape, dtype="float32", name=model.inputs[0].name)
    with policy(dtype):
        return Retyper(dtype, adapters=False)(model, image)


def fused(model: keras.Model) -> keras.Model:
    """`keras_mlp.fuse`, for what is for inference alone: no word on `model` being compiled, which it may stay."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Model .* is compiled")
        return fusion.fuse(model)


def is_float32(model: keras.Model) -> bool:
    """Whether every layer of `model` computes in float32."""
    return all(
        is_float32(layer) if isinstance(layer, keras.Model) else layer.compute_dtype == "float32"
        for layer in model.layers
    )
