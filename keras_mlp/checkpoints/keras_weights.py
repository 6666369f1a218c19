"""Keras' own `.weights.h5`: from its keys, made of classes and counters, to our names of a model's variables."""

import re

from keras.src.saving import saving_lib  # the rules of Keras' keys are nowhere public

from keras_mlp import names

LAYOUT = "Keras weights"
_STATE = re.compile(r"optimizer/.*|(.*/)?(seed_generator|random_generator)(_\d+)?/.*|(.*/)?_?metrics?(_\w+)?/.*")
"""What Keras keeps in the file beside weights."""
_VARIABLES = {"0": "kernel", "1": "bias"}
_DENSE = re.compile(r"(layers/dense(?:_\d+)?)/vars/([01])")


class _Record(saving_lib.H5IOStore):
    """Takes down what Keras would write, and where, and writes nothing."""

    def __init__(self):
        self.values = {}

    def __bool__(self):
        return True

    def make(self, path, metadata=None):
        self.place = f"{path}/vars" if path else "vars"
        return self

    def __setitem__(self, key, value):
        self.values[f"{self.place}/{key}"] = value


def keys(model, named: dict) -> dict[str, str | None]:
    """Where Keras keeps the variables of `model` in a file.

    Args:
        model: any Keras model.
        named: its variables by our names, as `naming.named_variables` gives them.

    Returns:
        `{key in the file: our name of the variable}`; `None` for what is no weight, such as the state of an optimizer.
    """
    record = _Record()
    saving_lib._save_state(model, record, None, "", set())
    ours = {id(variable): name for name, (_, variable) in named.items()}
    return {key: ours.get(id(value)) for key, value in record.values.items()}


def convert(model, named: dict, tensors: dict, layers: dict[str, str]) -> tuple[dict, list[str]]:
    """The tensors of a `.weights.h5` file by our names.

    Args:
        model: the model that they are for.
        named: its variables by our names.
        tensors: `{key in the file: array}`.
        layers: names of the layers by the groups that hold their weights, as far as the file has them.

    Returns:
        `{our name: array}`, and the keys that the model has no variable for. Those of a classifier that the model has
        not are among the former, as "head/kernel" and "head/bias".
    """
    known = keys(model, named)
    ours, unknown = {}, []
    for key, array in tensors.items():
        place = key.replace("_layer_checkpoint_dependencies", "layers")  # as Keras 2.13 called them
        if place not in known:
            unknown.append(key)
        elif known[place]:
            ours[known[place]] = array
    unknown = [key for key in unknown if not _STATE.fullmatch(key)]
    # Files of older versions do not name their layers: there the classifier is the one dense layer that is left over.
    dense = [_DENSE.fullmatch(key) for key in unknown]
    unnamed = not layers and all(dense) and len({match[1] for match in dense}) == 1
    for key in list(unknown):
        group, _, number = key.rpartition("/")
        layer = "head" if unnamed else names.local(layers.get(group, ""))
        place = names.parse(layer)
        name = f"{layer}/{_VARIABLES.get(number, number)}"
        if place is not None and place.part == "head" and name not in ours:
            ours[name] = tensors[key]
            unknown.remove(key)
    return ours, unknown
