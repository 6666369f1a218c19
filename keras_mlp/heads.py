"""Heads: from what a trunk gives to the scores of the classes.

A trunk gives a map `(batch, height, width, channels)`, or a dictionary with the map as "map" and whatever else its
family's head reads, such as a class token. A head is a function `(features, classes, activation, *, options…) ->
outputs`; builders of its family take its keyword-only arguments as options, beside those of the trunk.
"""

from collections.abc import Callable

import keras
import numpy as np

from keras_mlp import copying, names
from keras_mlp.checkpoints import load
from keras_mlp.layers import Dense, precision
from keras_mlp.layers.normalization import at_least_float32

_POOLS = {"avg": "Average", "max": "Max"}
FIRST, SECOND = load.HEAD, f"{load.HEAD}_dist"
"""Names of the classifier, and of a second classifier that learns from a teacher."""


def map_of(features):
    """The map in what a trunk gives."""
    return features["map"] if isinstance(features, dict) else features


def pooled(x, pooling: str, dtype):
    """The average ("avg") or maximum ("max") of a map over its positions, computed in a precision."""
    pool = getattr(keras.layers, f"Global{_POOLS[pooling]}Pooling{len(x.shape) - 2}D")
    return pool(dtype=dtype, name=f"{pooling}_pool")(x)


def classify(x, classes: int, activation, dropout_rate: float = 0.0, name: str = load.HEAD):
    """One dense layer that starts from zero and computes at least in float32.

    Args:
        x: vectors `(batch, channels)`.
        classes: number of classes.
        activation: of the layer.
        dropout_rate: of the vectors.
        name: of the layer.

    Returns:
        A tensor `(batch, classes)`.
    """
    dtype = precise()
    if dropout_rate:
        x = keras.layers.Dropout(dropout_rate, dtype=dtype, name=f"{name}_drop")(x)
    dense = Dense(classes, activation=activation, kernel_initializer="zeros", dtype=dtype, name=name)
    return dense(x)


def average_and_classify(features, classes: int, activation, norm: Callable | None = None, dropout_rate: float = 0.0):
    """The head of most families: the average over the positions, and one dense layer from zero, at least in float32.

    Args:
        features: what the trunk gives; its map is averaged.
        classes: number of classes.
        activation: of the dense layer.
        norm: what makes the norm between both of its name, where there is one; its name is "head_norm".
        dropout_rate: of what the dense layer takes.

    Returns:
        A tensor `(batch, classes)`.
    """
    x = pooled(map_of(features), "avg", precise())
    if norm:
        with precision.policy(precise()):
            x = norm(names.HEAD_NORM)(x)
    return classify(x, classes, activation, dropout_rate)


def average_norm_and_classify(norm: Callable) -> Callable:
    """`average_and_classify` with the norm that `norm` makes of its name."""
    return lambda features, classes, activation: average_and_classify(features, classes, activation, norm)


def classify_token(features, classes: int, activation):
    """The head of a trunk with a class token, `features["class_token"]` of `(batch, channels)`: one dense layer."""
    return classify(features["class_token"], classes, activation)


def classify_twice(
    x, second, classes: int, activation, heads_apart: bool = False, dropout_rate: float = 0.0
) -> keras.KerasTensor | dict[str, keras.KerasTensor]:
    """Two dense layers from zero: one learns from labels, one from a teacher; the output is the mean of their logits.

    Source: Touvron et al. 2020 (DeiT), https://arxiv.org/abs/2012.12877.

    Args:
        x: vectors `(batch, channels)` for the layer that learns from labels, "head".
        second: vectors for the other one, "head_dist"; they may be the same.
        classes: number of classes.
        activation: of what the model gives.
        heads_apart: whether it gives `{"head": …, "head_dist": …}`, for a loss of each, in place of the mean. Layers
            and weights are the same.
        dropout_rate: of the vectors.

    Returns:
        A tensor `(batch, classes)`, or a dictionary of two.
    """
    inside = activation if heads_apart else None
    logits = {
        name: classify(vectors, classes, inside, dropout_rate, name) for name, vectors in ((FIRST, x), (SECOND, second))
    }
    if heads_apart:
        return logits
    mean = keras.layers.Average(dtype=precise(), name=f"{load.HEAD}_average")(list(logits.values()))
    if keras.activations.get(activation) is keras.activations.linear:
        return mean
    return keras.layers.Activation(activation, dtype=precise(), name=f"{load.HEAD}_activation")(mean)


def replace_head(model: keras.Model, classes: int) -> keras.Model:
    """A model with a fresh classifier of another number of classes in place of its own, for any data of yours.

    The classifier begins at zero and has the activation of the old one. Models with two classifiers get two.

    Args:
        model: a model of this package with its top, or a functional or sequential model that calls one, such as behind
            augmentations. It is not changed.
        classes: number of classes, at least 1.

    Returns:
        A functional model of the same input and name, not compiled. It shares all other layers and weights with
        `model`.

    Raises:
        ValueError: `classes` is no positive integer, or the model has no classifier of this package's.

    Example:
        model = keras_mlp.replace_head(keras.models.load_model("mixer.keras"), classes=10)
    """
    if isinstance(classes, bool) or not isinstance(classes, int | np.integer) or classes < 1:
        raise ValueError(f"`classes` must be a positive integer. Received: classes={classes!r}")
    found, anew = False, {}  # {id of a tensor: what is in its place}

    def in_place(tensor):
        return anew.get(id(tensor), tensor)

    for call in copying.calls(model) if copying.is_graph(model) else ():
        old = call.operation
        if _is_classifier(old):
            new, found = copying.anew(old, units=int(classes), kernel_initializer="zeros"), True
        elif copying.is_graph(old) and any(map(_is_classifier, old._flatten_layers())):
            new, found = replace_head(old, classes), True
        elif any(id(tensor) in anew for tensor in call.input_tensors):
            new = copying.anew(old)  # what has no weights, such as the mean of two classifiers
        else:
            continue
        given = keras.tree.map_structure(in_place, (call.arguments.args, call.arguments.kwargs))
        outputs = keras.tree.flatten(new(*given[0], **given[1]))
        anew.update({id(before): after for before, after in zip(call.outputs, outputs, strict=True)})
    if not found:
        raise ValueError(
            f"`model` must have the classifier that builders of this package give it, a layer {FIRST!r}. "
            f"{model.name!r} has none: build it with `include_top=True`, or put a layer on what it gives."
        )
    whole = copying.graph(model)
    return keras.Model(whole.input, keras.tree.map_structure(in_place, whole.output), name=model.name)


def _is_classifier(layer) -> bool:
    """Whether it is a dense layer called as classifiers are."""
    return isinstance(layer, keras.layers.Dense) and names.local(layer.name) in (FIRST, SECOND)


def apart(model: keras.Model) -> keras.Model | None:
    """A model that gives the logits of each of two heads, `{"head": …, "head_dist": …}`, and no mean of them.

    Args:
        model: a functional model with the mean of both as its output; it shares all layers and weights.

    Returns:
        The model; `None` if `model` has not two heads and one output.
    """
    if not isinstance(getattr(model, "output", None), keras.KerasTensor):
        return None
    found = {names.local(layer.name): layer for layer in model.layers if _is_classifier(layer)}
    both = {name: found[name].output for name in (FIRST, SECOND) if name in found}
    return keras.Model(model.inputs[0], both) if len(both) == 2 and len(model.inputs) == 1 else None


def precise() -> str:
    """The precision in which heads compute: that of the layers, and at least float32."""
    return at_least_float32(keras.config.dtype_policy().compute_dtype)
