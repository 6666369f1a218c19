"""A model rewritten for converters: float32 throughout, static shapes."""

import keras

from keras_mlp.copying import Copier

FLOATS = ("bfloat16", "float16", "float32", "float64")


def portable(model: keras.Model, batch_shape: tuple[int, ...]) -> keras.Model:
    """Copy a model for conversion: same weights and outputs, whatever dtype policy it was built under.

    Args:
        model: functional or sequential model with one input. Neither it nor the global dtype policy is changed.
        batch_shape: shape of the copy's input, batch included; the copy's shapes are static where this is.

    Returns:
        A model in float32.
    """
    image = keras.Input(batch_shape=batch_shape, dtype="float32", name=model.inputs[0].name)
    policy = keras.config.dtype_policy()
    # Layers inside layers take the global policy where their parent's configuration does not name one.
    keras.config.set_dtype_policy("float32")
    try:
        return _Portable(adapters=False)(model, image)
    finally:
        keras.config.set_dtype_policy(policy)


class _Portable(Copier):
    def config(self, layer, config):
        return _in_float32(super().config(layer, config))

    def dtype(self, dtype):
        return "float32" if dtype in FLOATS else dtype

    def copy(self, layer, arguments=(), options=None):
        copy = super().copy(layer, arguments, options)
        if not isinstance(copy, keras.layers.Layer) and getattr(copy, "dtype", None) in FLOATS:
            copy.dtype = "float32"  # of a cast
        return copy


def is_float32(model: keras.Model) -> bool:
    """Whether every layer of `model` computes in float32."""
    return all(
        is_float32(layer) if isinstance(layer, keras.Model) else layer.compute_dtype == "float32"
        for layer in model.layers
    )


def _in_float32(config):
    """`config` with "float32" in place of every floating dtype policy, at any depth."""
    if isinstance(config, dict):
        if isinstance(config.get("config"), dict) and str(config.get("class_name")).endswith("DTypePolicy"):
            return "float32"
        return {
            key: "float32"
            if key == "dtype" and value in (*FLOATS, *(f"mixed_{f}" for f in FLOATS))
            else _in_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(_in_float32(value) for value in config)
    return config
