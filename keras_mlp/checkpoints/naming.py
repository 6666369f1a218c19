"""Stable names for the variables of a model: the layer's name and the path inside the layer."""

import keras


def weighted_layers(model: keras.Model):
    """Every layer of `model` that holds weights, nested models opened, in order."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from weighted_layers(layer)
        elif layer.weights:
            yield layer


def path_in_layer(layer: keras.layers.Layer, variable) -> str:
    """Path of `variable` inside `layer`, such as "kernel" or "fc1/kernel", whatever model the layer was built in."""
    return f"/{variable.path}".rpartition(f"/{layer.name}/")[2]


def named_variables(model: keras.Model) -> dict:
    """`{our name: (layer, variable)}` of all weights of `model`, such as "blocks_0_token_mixing/fc1/kernel".

    Raises:
        ValueError: two layers have one name (possible in nested models).
    """
    named = {}
    for layer in weighted_layers(model):
        for variable in layer.weights:
            name = f"{layer.name}/{path_in_layer(layer, variable)}"
            if name in named:
                raise ValueError(f"Two variables of the model are called {name!r}; give its layers different names.")
            named[name] = (layer, variable)
    return named
