"""What the output of a classifier means: which classes exclude each other, and what was done to the logits.

Whatever reads the output of a classifier asks here: prediction, evaluation, losses, metrics, distillation, export.
"""

import dataclasses
import functools
import json
import zipfile

import keras
import numpy as np
from keras import ops

EXCLUSIVE, BINARY, MULTI_LABEL = KINDS = ("exclusive", "binary", "multi_label")
ACTIVATIONS = ("softmax", "sigmoid", "linear")


@dataclasses.dataclass(frozen=True)
class Output:
    """What the numbers `(n, units)` that a classifier gives for `n` images mean.

    Args:
        kind: "exclusive": every image is of one of the classes; "binary": of one of two, and a single unit tells of the
            second; "multi_label": each class is true of an image or not, whatever the others are.
        activation: what was applied to the logits: "softmax", "sigmoid", "linear" for nothing, or another one's name.
        units: how many numbers there are for an image.

    Raises:
        ValueError: the three do not go together.
    """

    kind: str
    activation: str
    units: int

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"`kind` should be one of {', '.join(KINDS)}. Received: kind={self.kind!r}")
        if (self.kind == BINARY) != (self.units == 1):
            raise ValueError(f'A "binary" output has one unit, any other more. Received: {self}')
        if self.activation == "softmax" and self.kind == BINARY:
            raise ValueError(
                "A softmax over one unit is 1 whatever the image. Build the model with classes=2, or with "
                'classes=1 and classifier_activation="sigmoid".'
            )
        if self.activation == "softmax" and self.kind == MULTI_LABEL:
            raise ValueError(
                "The model's output has the activation softmax: its classes exclude each other, and it is no "
                'multi-label classifier. Build it with classifier_activation="sigmoid" or None.'
            )

    @classmethod
    def of(cls, model, kind: str | None = None, from_logits: bool | None = None, loss=None, outputs=None) -> "Output":
        """What a model's output means.

        Asked are, one after the other: the arguments; the layers that end the model, behind reshapes, dropout, casts,
        averages and models within models; the loss it was compiled with; the numbers themselves (values in [0, 1] that
        sum to 1 are those of a softmax, others in [0, 1] those of sigmoids, all others logits). Where nothing tells the
        kind, classes exclude each other; one unit is always binary.

        Args:
            model: a Keras model with one output `(batch, units)`.
            kind: see `Output`; one unit is "binary" whatever is asked for.
            from_logits: whether it gives logits.
            loss: the loss it was trained with, as for `compile`; by default the one it is compiled with.
            outputs: what it gave for some inputs, `(n, units)`; by default it is tried on noise where need be.

        Raises:
            ValueError: the model gives something else, or what is known of it does not go together.
        """
        shape = getattr(model, "output_shape", None) if outputs is None else np.shape(outputs)
        if not isinstance(shape, tuple) or len(shape) != 2 or not shape[-1]:
            raise ValueError(f"A classifier's output is (batch, classes). {model.name} gives {shape}.")
        units = shape[-1]
        loss = getattr(model, "loss", None) if loss is None else loss
        labels, logits = _told_by_loss(loss)
        activation = _last_activation(model, units)
        if units == 1 and activation == "linear" and loss and labels is logits is kind is from_logits is None:
            raise ValueError(
                f"{model.name} gives one number without an activation and was trained with the loss {loss}: nothing "
                "tells that it is a classifier. If it is, say it: Output.of(model, from_logits=True)."
            )
        if from_logits is None and activation is None:
            from_logits = logits
        if units == 1:
            kind = BINARY
        elif kind is None:
            kind = EXCLUSIVE if activation == "softmax" else labels
        if from_logits:
            activation = "linear"
        elif from_logits is not None and activation not in ("softmax", "sigmoid"):
            activation = "sigmoid" if kind in (BINARY, MULTI_LABEL) else "softmax"
        elif activation is None:
            activation = recognised(_on_noise(model) if outputs is None else outputs)
        return cls(kind or (MULTI_LABEL if activation == "sigmoid" else EXCLUSIVE), activation, units)

    @classmethod
    def of_numbers(cls, outputs, kind: str | None = None, step: float = 0.0) -> "Output":
        """What outputs mean, told by their values alone, where nothing else is known, as for an exported file.

        Args:
            outputs: `(n, units)`.
            kind: see `Output`.
            step: how far apart neighbouring values are, where they were quantised.
        """
        units, activation = np.shape(outputs)[-1], recognised(outputs, step)
        if units == 1:
            kind = BINARY
        return cls(kind or (MULTI_LABEL if activation == "sigmoid" else EXCLUSIVE), activation, units)

    @classmethod
    def perhaps(cls, model, outputs=None) -> "Output | None":
        """What a model's output means, or `None` where nothing tells that it is a classifier's.

        That is so of maps, and of one number without an activation, unless the loss tells. Features `(batch, units)`
        cannot be told from logits.

        Args:
            model, outputs: see `of`.
        """
        if len(model.output_shape) != 2:
            return None
        if model.output_shape[-1] == 1 and _last_activation(model, 1) == "linear":
            kind, from_logits = _told_by_loss(getattr(model, "loss", None))
            if kind is from_logits is None:
                return None
        return cls.of(model, outputs=outputs)

    @property
    def classes(self) -> int:
        """How many classes are told apart."""
        return 2 if self.kind == BINARY else self.units

    @property
    def exclusive(self) -> bool:
        """Whether probabilities of an image sum to 1: a softmax over the classes, or one unit for two of them."""
        return self.kind != MULTI_LABEL

    def logits(self, outputs):
        """Logits, a float32 tensor: of a softmax up to a constant an image.

        Raises:
            ValueError: the model's last activation is another than those in `ACTIVATIONS`.
        """
        outputs = ops.cast(outputs, "float32")
        if self.activation == "linear":
            return outputs
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                "A classifier should end in softmax, sigmoid or logits. This one's last activation is "
                f"{self.activation}."
            )
        found = ops.log(ops.maximum(outputs, 1e-37))  # the least that float32 divides one by
        return found if self.activation == "softmax" else found - ops.log(ops.maximum(1 - outputs, 1e-7))

    def probabilities(self, outputs) -> np.ndarray:
        """Probabilities, a float64 array `(n, classes)`.

        Those of exclusive and binary classes sum to 1 for each image; each of a multi-label classifier is one of its
        own. What a softmax or sigmoids gave is left as it is.

        Raises:
            ValueError: see `logits`.
        """
        if self.activation == ("softmax" if self.kind == EXCLUSIVE else "sigmoid"):
            found = np.asarray(outputs, np.float64)
        else:
            logits = np.asarray(ops.convert_to_numpy(self.logits(outputs)), np.float64)
            found = _softmax(logits) if self.kind == EXCLUSIVE else 1 / (1 + np.exp(-logits))
        return np.concatenate([1 - found, found], -1) if self.kind == BINARY else found

    def decisions(self, outputs, threshold: float = 0.5) -> np.ndarray:
        """What is decided: integers `(n,)`, the class of each image; of multi-label classifiers 0 or 1 `(n, classes)`.

        Args:
            outputs: `(n, units)`.
            threshold: probability above which a class, or of two the second, is taken to be true; in (0, 1).
        """
        outputs = np.asarray(outputs)
        if self.kind == EXCLUSIVE:
            return outputs.argmax(-1)
        least = threshold if self.activation == "sigmoid" else np.log(threshold / (1 - threshold))
        found = (outputs > least).astype(int)
        return found[:, 0] if self.kind == BINARY else found

    def labels(self, labels, count: int) -> np.ndarray:
        """Labels in the form of `decisions`.

        Args:
            labels: integers `(count,)` or `(count, 1)`, or one-hot `(count, classes)`; of multi-label classifiers 0 or
                1 `(count, classes)`. Of any dtype.
            count: how many images there are.

        Raises:
            ValueError: they are none of the classes.
        """
        if self.kind == MULTI_LABEL:
            wanted = f"0 or 1 of the shape ({count}, {self.units}), one for each image and class"
            shapes, allowed = [(count, self.units)], (0, 1)
        else:
            wanted = (
                f"integers 0–{self.classes - 1} of the shape ({count},), or one-hot ({count}, {self.classes}), one for "
                "each image"
            )
            shapes, allowed = [(count,), (count, 1), (count, self.classes)], np.arange(self.classes)

        def refuse(what):
            raise ValueError(f"`labels` must be {wanted}. Received: {what}")

        try:
            given = np.asarray(labels)
            if np.iscomplexobj(given):
                raise TypeError
            numbers = given.astype("float64")
        except (TypeError, ValueError):  # words, objects, complex numbers, rows of different length
            refuse(f"labels={str(labels)[:80]}")
        described = f"shape={given.shape}, dtype={given.dtype}"
        if numbers.shape not in shapes:
            refuse(described)
        if self.kind != MULTI_LABEL and numbers.shape == (count, self.classes):
            if not (np.isin(numbers, (0, 1)).all() and (numbers.sum(-1) == 1).all()):
                refuse(f"{described}, where not every row is zeros and one 1")
            numbers = numbers.argmax(-1)
        if len(wrong := numbers[~np.isin(numbers, allowed)]):
            refuse(f"{described}, with {wrong[0]:g} among them")
        return (numbers if self.kind == MULTI_LABEL else numbers.reshape(count)).astype("int64")

    def joint(self, probabilities) -> np.ndarray:
        """Probabilities `(classes,)` of several views `(views, classes)` of one image: as if logits were averaged."""
        if len(probabilities) == 1:
            return probabilities[0]
        if self.kind == MULTI_LABEL:
            probabilities = np.stack([1 - probabilities, probabilities], -1)
        joint = _softmax(np.log(np.maximum(probabilities, 1e-30)).mean(axis=0))
        return joint[..., 1] if self.kind == MULTI_LABEL else joint


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


def _told_by_loss(loss) -> tuple[str | None, bool | None]:
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


def _last_activation(model, units) -> str | None:
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


def _on_noise(model):
    """What a model gives for a few images of noise: strong and weak, for at strong ones sigmoids may all be 0 or 1."""
    if len(getattr(model, "inputs", None) or ()) != 1:
        raise ValueError(
            f"What {model.name} gives cannot be told from its layers. Say it: Output.of(model, kind=…, from_logits=…)."
        )
    shape = [side or 224 for side in model.inputs[0].shape[1:]]
    noise = np.random.default_rng(0).uniform(-0.2, 1, (8, *shape)).astype("float32")
    noise *= np.reshape([255, 255, 10, 10, 1, 1, 0.1, 0.01], (-1, *[1] * len(shape)))
    return ops.convert_to_numpy(ops.cast(model(noise, training=False), "float32"))


def _softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
