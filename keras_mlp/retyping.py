"""Copies of models that compute in one floating type, whatever dtype policies they were built under."""

import keras

from keras_mlp.copying import Copier

FLOATS = ("bfloat16", "float16", "float32", "float64")


class Retyper(Copier):
    """Copies a model so that all of it computes in one floating type.

    Call it within `layers.precision.policy(dtype)`: layers inside layers take the global policy where their parent's
    configuration does not name one.

    Args:
        dtype: "float32" or another of `FLOATS`.
        adapters: see `Copier`.
    """

    def __init__(self, dtype: str, adapters: bool = True):
        super().__init__(adapters)
        self._dtype = dtype

    def config(self, layer, config):
        return _retyped(super().config(layer, config), self._dtype)

    def dtype(self, dtype):
        return self._dtype if dtype in FLOATS else dtype

    def copy(self, layer, arguments=(), options=None):
        copy = super().copy(layer, arguments, options)
        if not isinstance(copy, keras.layers.Layer) and getattr(copy, "dtype", None) in FLOATS:
            copy.dtype = self._dtype  # of a cast
        return copy


def _retyped(config, dtype):
    """`config` with `dtype` in place of every floating dtype policy, at any depth."""
    if isinstance(config, dict):
        if isinstance(config.get("config"), dict) and str(config.get("class_name")).endswith("DTypePolicy"):
            return dtype
        return {
            key: dtype
            if key == "dtype" and value in (*FLOATS, *(f"mixed_{f}" for f in FLOATS))
            else _retyped(value, dtype)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(_retyped(value, dtype) for value in config)
    return config
