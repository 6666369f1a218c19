"""What the numbers that a classifier gives mean, and what is decided by them."""

import dataclasses

import numpy as np
from keras import ops

from keras_mlp.classifiers import evidence
from keras_mlp.classifiers.kinds import ACTIVATIONS, BINARY, EXCLUSIVE, KINDS, MULTI_LABEL


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
        labels, logits = evidence.told_by_loss(loss)
        activation = evidence.last_activation(model, units)
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
            activation = evidence.recognised(evidence.on_noise(model) if outputs is None else outputs)
        return cls(kind or (MULTI_LABEL if activation == "sigmoid" else EXCLUSIVE), activation, units)

    @classmethod
    def of_numbers(cls, outputs, kind: str | None = None, step: float = 0.0) -> "Output":
        """What outputs mean, told by their values alone, where nothing else is known, as for an exported file.

        Args:
            outputs: `(n, units)`.
            kind: see `Output`.
            step: how far apart neighbouring values are, where they were quantised.
        """
        units, activation = np.shape(outputs)[-1], evidence.recognised(outputs, step)
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
        if model.output_shape[-1] == 1 and evidence.last_activation(model, 1) == "linear":
            kind, from_logits = evidence.told_by_loss(getattr(model, "loss", None))
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

    def correct(self, outputs, labels) -> np.ndarray:
        """Whether each decision is right, booleans.

        Args:
            outputs: `(n, units)`.
            labels: as `labels` gives them.
        """
        return self.decisions(outputs) == labels

    def told(self) -> dict[str, str]:
        """What an exported file tells of it."""
        return {"kind": self.kind, "activation": self.activation}

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

    def joint(self, probabilities, averaged: str = "logits") -> np.ndarray:
        """Probabilities `(classes,)` of several views `(views, classes)` of one image or video.

        Args:
            probabilities: of the views.
            averaged: "probabilities", or "logits" for what comes of averaging these.
        """
        if len(probabilities) == 1:
            return probabilities[0]
        if averaged == "probabilities":
            return np.mean(probabilities, axis=0)
        if self.kind == MULTI_LABEL:
            probabilities = np.stack([1 - probabilities, probabilities], -1)
        joint = _softmax(np.log(np.maximum(probabilities, 1e-30)).mean(axis=0))
        return joint[..., 1] if self.kind == MULTI_LABEL else joint


def _softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
