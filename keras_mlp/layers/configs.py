"""Configs of layers: what a layer is made with is what its config holds."""

import inspect

import keras

_SERIALIZERS = {
    "activation": keras.activations.serialize,
    "constraint": keras.constraints.serialize,
    "initializer": keras.initializers.serialize,
}
"""How arguments are written whose names end so."""


def with_config(kind):
    """Class decorator: `get_config` adds the arguments of the class's own constructor to what its base writes.

    An argument is read from the attribute of its name. Arguments taken as `**kwargs` are the base's business. A class
    that defines `get_config` itself, or no constructor, stays as it is.
    """
    if "get_config" in vars(kind) or "__init__" not in vars(kind):
        return kind
    _, *parameters = inspect.signature(kind.__init__).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]

    def get_config(self):
        return super(kind, self).get_config() | {name: _written(name, getattr(self, name)) for name in names}

    kind.get_config = get_config
    return kind


def registered(kind):
    """Class decorator: Keras finds the class by the name "keras_mlp>NAME", and its config is that of `with_config`."""
    return keras.saving.register_keras_serializable(package="keras_mlp")(with_config(kind))


def _written(name, value):
    """The value of an argument as JSON can hold it."""
    serialize = _SERIALIZERS.get(name.rpartition("_")[2])
    return serialize(value) if serialize else value
