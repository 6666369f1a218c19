"""Layers that hold layers."""

import keras

_STATE = ("trainable", "dtype", "quantization_config", "lora_rank", "lora_alpha", "own_kernel", "sublayers")
"""What can be changed in a layer inside another after both were built, as its config names it."""


class Composite(keras.layers.Layer):
    """Base of the layers that hold layers, which it makes when it is built, by `sublayer`.

    A layer inside begins as this one is: as trainable, of the same dtype policy. Where it was changed later by itself
    (frozen, quantised, given low-rank adapters), the config of this layer says so, and what is made of the config is
    the same again.

    Args:
        sublayers: how layers inside differ from this one: `{name: part of its config}`, as `get_config` writes it.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, *, sublayers=None, **kwargs):
        super().__init__(**kwargs)
        self._sublayers = sublayers or {}

    def sublayer(self, kind, *arguments, name, input_shape=None, **options):
        """A layer for the inside, to be kept as an attribute.

        Args:
            kind: its class.
            *arguments: of the class.
            name: its name, unique inside this layer.
            input_shape: what it is built for; `None` for a layer without weights.
            **options: of the class; `trainable` and `dtype` are this layer's own.
        """
        options |= {"trainable": self.trainable, "dtype": self.dtype_policy}
        for key, value in self._sublayers.get(name, {}).items():
            # A composite reads by itself what is about the layers inside it.
            options[key] = value if key == "sublayers" else keras.saving.deserialize_keras_object(value)
        layer = kind(*arguments, name=name, **options)
        if input_shape is not None:
            layer.build(input_shape)
        return layer

    def get_config(self):
        config = super().get_config()
        changed = self._sublayers if not self.built else {}
        for layer in self._flatten_layers(include_self=False, recursive=False) if self.built else ():
            theirs = layer.get_config()
            # A setting that is off is as one that a layer does not have.
            if state := {key: theirs[key] for key in _STATE if (theirs.get(key) or None) != (config.get(key) or None)}:
                changed[layer.name] = state
        return config | {"sublayers": changed} if changed else config
