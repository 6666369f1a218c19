"""Stable names for the variables of a model: the layer's name and the path inside the layer."""

import itertools

import keras

from keras_mlp import adapters, names


def weighted_layers(model: keras.Model):
    """Every layer of `model` that holds weights, nested models opened, in order."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from weighted_layers(layer)
        elif layer.weights:
            yield layer


def path_in_layer(layer: keras.layers.Layer, variable) -> str:
    """Path of `variable` inside `layer`, such as "kernel" or "fc1/kernel", whatever model the layer was built in."""
    if layer.path and variable.path.startswith(f"{layer.path}/"):
        return variable.path[len(layer.path) + 1 :]
    path = f"/{variable.path}".rpartition(f"/{layer.name}/")[2]  # built before what it is in now
    return path.lstrip("/")  # or even before the layer itself, as what wrappers read from their configuration is


def named_variables(model: keras.Model) -> dict:
    """`{our name: (layer, variable)}` of all weights of `model`, such as "blocks_0_token_mixing/fc1/kernel".

    A `layer_prefix` that all layers have is left out. The factors of adapters (LoRA) are not among the names: they are
    part of what they adapt.

    Raises:
        ValueError: two layers have one name (possible in nested models).
    """
    named, layers = {}, list(weighted_layers(model))
    one_prefix = len({names.prefix(layer.name) for layer in layers}) == 1
    for layer in layers:
        layer_name = names.local(layer.name) if one_prefix else layer.name
        for variable in itertools.filterfalse(adapters.is_factor, layer.weights):
            name = f"{layer_name}/{path_in_layer(layer, variable)}"
            if name in named and named[name][1] is not variable:  # a layer may be in several nested models
                raise ValueError(f"Two variables of the model are called {name!r}; give its layers different names.")
            named[name] = (layer, variable)
    return named
