"""What tells the meaning of an output: the layers that end the model, the loss it was trained with, its numbers."""

import functools
import json
import zipfile

import keras
import numpy as np
from keras import ops

from keras_mlp.classifiers.kinds import EXCLUSIVE, MULTI_LABEL


def recognised(outputs, step: float = 0.0) -> str:
    """Name of the activation whose values these are: "softmax", "sigmoid" or "linear".

    Args:
        outputs: `(n, units)`.
        step: how far apart neighbouring values are, where they were quantised.
    """
    outputs = np.asarray(outputs, np.float64)
    if not (outputs.min() >= 0 and 0 < outputs.max() <= 1.01):
        return "linear"
    units = outputs.shape[-1]
    if units > 1 and np.allclose(outputs.sum(-1), 1, atol=0.02 + units * step / 2):
        return "softmax"
    return "sigmoid"


def saved_loss(path):
    """The loss that the model in a `.keras` file was compiled with; `None` without any, or if it is not Keras' own."""
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json")).get("compile_config") or {}
        loss = config.get("loss")
        if isinstance(loss, dict) and "class_name" not in loss:  # by the output's name
            loss = list(loss.values())
        return [keras.losses.get(one) for one in loss] if isinstance(loss, list) else keras.losses.get(loss)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, zipfile.BadZipFile):
        return None


# Losses by which classes their labels allow.
_LOSSES = {
    keras.losses.categorical_crossentropy: EXCLUSIVE,
    keras.losses.categorical_focal_crossentropy: EXCLUSIVE,
    keras.losses.sparse_categorical_crossentropy: EXCLUSIVE,
    keras.losses.kl_divergence: EXCLUSIVE,
    keras.losses.binary_crossentropy: MULTI_LABEL,
    keras.losses.binary_focal_crossentropy: MULTI_LABEL,
}


def told_by_loss(loss) -> tuple[str | None, bool | None]:
    """Kind of the classes and whether there are logits, as far as a loss tells."""
    losses = [one for one in keras.tree.flatten(loss) if one is not None]
    if len(losses) != 1:
        return None, None
    (loss,) = losses
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return None, None
    if isinstance(loss, functools.partial):
        function, given = loss.func, loss.keywords.get("from_logits")
    else:
        function, given = getattr(loss, "fn", loss), getattr(loss, "from_logits", None)
    kind = _LOSSES.get(function, getattr(loss, "classes", None))
    return kind, False if kind and given is None else given


# Activations that are as good as another one.
_ALIKE = {
    keras.activations.softmax: "softmax",
    keras.activations.sparsemax: "softmax",
    keras.activations.sigmoid: "sigmoid",
    keras.activations.hard_sigmoid: "sigmoid",
    keras.activations.linear: "linear",
    keras.activations.log_softmax: "linear",  # logits, less a constant
}
# Layers whose output is what their activation gives.
_HEADS = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)
# Layers behind which numbers mean what they meant before.
_TRANSPARENT = (
    keras.layers.Reshape,
    keras.layers.Flatten,
    keras.layers.Permute,
    keras.layers.Identity,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.ActivityRegularization,
)
# Layers whose output means what all of their inputs mean: an average of probabilities is one.
_MIXTURES = (
    keras.layers.Average,
    keras.layers.Concatenate,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
)


@functools.cache
def _operations() -> dict:
    """Keras' operations in a graph: what they apply, or "" where numbers mean what they meant before."""
    example = keras.KerasTensor((None, 1, 3))
    made = {
        "softmax": [ops.softmax(example)],
        "sigmoid": [ops.sigmoid(example), ops.hard_sigmoid(example)],
        "linear": [ops.log_softmax(example)],
        "": [
            ops.reshape(example, (-1, 3)),
            ops.squeeze(example, 1),
            ops.expand_dims(example, -1),
            ops.transpose(example, (0, 2, 1)),
            ops.cast(example, "float16"),
            ops.stop_gradient(example),
        ],
    }
    return {type(tensor._keras_history.operation): name for name, tensors in made.items() for tensor in tensors}


def last_activation(model, units) -> str | None:
    """Name of the activation that a model's graph ends with; `None` where the graph does not tell."""
    outputs = getattr(model, "outputs", None)
    return _applied(outputs[0], {}, units) if outputs and len(outputs) == 1 else None


def _applied(tensor, given, units) -> str | None:
    """Name of what was applied last to the numbers in a tensor.

    Args:
        tensor: a symbolic tensor.
        given: of the inputs of a model within a model, by id, the tensor that it was called with and what that one's
            inputs were given.
        units: of the whole model: a softmax over another number of them is none over its classes.
    """
    if id(tensor) in given:
        return _applied(*given[id(tensor)], units)
    operation, node, index = tensor._keras_history
    sources = operation._inbound_nodes[node].input_tensors
    if not sources:  # an input
        return None
    layer = operation.layer if isinstance(operation, keras.layers.Wrapper) else operation
    if isinstance(layer, keras.Model):
        if not getattr(layer, "outputs", None):
            return None
        inside = {id(own): (source, given) for own, source in zip(layer.inputs, sources, strict=False)}
        return _applied(layer.outputs[index], inside, units)
    if isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.linear:
        return _applied(sources[0], given, units)
    if isinstance(layer, _TRANSPARENT):
        return _applied(sources[0], given, units)
    if isinstance(layer, _MIXTURES):
        found = {_applied(source, given, units) for source in sources}
        return found.pop() if len(found) == 1 else None
    if isinstance(layer, (*_HEADS, keras.layers.Activation)):
        name = _name(layer.activation)
    elif isinstance(layer, keras.layers.Softmax):
        name = "softmax" if layer.axis in (-1, len(tensor.shape) - 1) else None
    else:
        name = _operations().get(type(operation))
        if name == "":
            return _applied(sources[0], given, units)
        if name == "softmax" and operation.axis not in (-1, len(tensor.shape) - 1):
            return None
    return None if name == "softmax" and tensor.shape[-1] != units else name


def _name(activation) -> str | None:
    """Name of one of Keras' activations; `None` for another function, which may do anything."""
    if activation in _ALIKE:
        return _ALIKE[activation]
    name = getattr(activation, "__name__", "")
    return name if getattr(keras.activations, name, None) is activation else None


def on_noise(model):
    """What a model gives for a few images of noise: strong and weak, for at strong ones sigmoids may all be 0 or 1."""
    if len(getattr(model, "inputs", None) or ()) != 1:
        raise ValueError(
            f"What {model.name} gives cannot be told from its layers. Say it: Output.of(model, kind=…, from_logits=…)."
        )
    shape = [side or 224 for side in model.inputs[0].shape[1:]]
    noise = np.random.default_rng(0).uniform(-0.2, 1, (8, *shape)).astype("float32")
    noise *= np.reshape([255, 255, 10, 10, 1, 1, 0.1, 0.01], (-1, *[1] * len(shape)))
    return ops.convert_to_numpy(ops.cast(model(noise, training=False), "float32"))
