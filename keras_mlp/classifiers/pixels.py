"""What the numbers that a segmenter gives mean, and what is decided by them."""

import dataclasses
from typing import ClassVar

import keras
import numpy as np

from keras_mlp import names
from keras_mlp.classifiers.kinds import LABEL_MAP, SEGMENTATION

VOID = 255
"""Label of positions that are of no class."""
MOST_CLASSES = 256
"""As many as the bytes of a label map tell apart."""


@dataclasses.dataclass(frozen=True)
class PixelOutput:
    """What the map that a segmenter gives of each image means: for each pixel the logits of its classes.

    It has the methods that `keras_mlp.classifiers.Output` has for a classifier.

    Args:
        classes: how many classes are told apart.
        size: `(height, width)` of the map in pixels; `None` for a side that is not known.
        activation: what was applied to the logits: "linear" for nothing; "argmax" where the map holds the number of
            each pixel's class instead.
    """

    classes: int
    size: tuple[int | None, int | None] = (None, None)
    activation: str = "linear"
    kind: ClassVar[str] = SEGMENTATION

    @classmethod
    def perhaps(cls, model) -> "PixelOutput | None":
        """What a model's output means, or `None` where nothing tells that it is a segmenter's.

        A segmenter's is a map `(batch, height, width, classes)` that a classifier has made, a layer called "head…",
        and that may have been resized since.

        Args:
            model: a Keras model.
        """
        outputs = getattr(model, "outputs", None) or ()  # none in a model that is no graph of layers
        shape = tuple(outputs[0].shape) if len(outputs) == 1 else ()
        if len(shape) != 4 or (shape[-1] or 0) < 2:
            return None
        operation = outputs[0]._keras_history.operation
        while not _is_classifier(operation):
            sources = operation._inbound_nodes[0].input_tensors
            # What follows the classifier of each position keeps its classes; the second input is of the wanted size.
            if not sources or sources[0].shape[-1] != shape[-1]:
                return None
            operation = sources[0]._keras_history.operation
        return cls(shape[-1], shape[1:3])

    def labelled(self) -> "PixelOutput":
        """The same with the number of each pixel's class instead of its logits.

        Raises:
            ValueError: there are more classes than bytes can tell apart.
        """
        if self.classes > MOST_CLASSES:
            raise ValueError(
                f"A label map holds a byte for each pixel, for up to {MOST_CLASSES} classes. The model tells "
                f"{self.classes} apart: export its logits."
            )
        return dataclasses.replace(self, activation=LABEL_MAP)

    def decisions(self, outputs) -> np.ndarray:
        """The class of each pixel, integers `(n, height, width)`.

        Args:
            outputs: logits `(n, height, width, classes)`, or a label map `(n, height, width)`.
        """
        outputs = np.asarray(outputs)
        return outputs.argmax(-1) if outputs.ndim == 4 else outputs.astype("int64")

    def correct(self, outputs, labels) -> np.ndarray:
        """Whether the decision on each pixel that is not void is right, booleans `(pixels,)`.

        Args:
            outputs: as for `decisions`.
            labels: as `labels` gives them.
        """
        known = labels != VOID
        return self.decisions(outputs)[known] == labels[known]

    def labels(self, labels, count: int) -> np.ndarray:
        """Labels in the form of `decisions`.

        Args:
            labels: integers `(count, height, width)` or `(count, height, width, 1)`, 255 for void.
            count: how many images there are.

        Raises:
            ValueError: they are of another shape, or neither a class nor void.
        """
        given = np.asarray(labels)
        given = given[..., 0] if given.ndim == 4 and given.shape[-1] == 1 else given
        sides = [side or have for side, have in zip(self.size, given.shape[1:], strict=False)]
        if given.dtype.kind not in "iu" or given.shape != (count, *sides) or len(sides) != 2:
            raise ValueError(
                f"`labels` of a segmenter must be integers of the shape ({count}, height, width), the model's own size "
                f"{self.size}. Received: shape={given.shape}, dtype={given.dtype}"
            )
        if len(wrong := given[((given < 0) | (given >= self.classes)) & (given != VOID)]):
            raise ValueError(
                f"`labels` must be classes 0–{self.classes - 1}, or {VOID} for void. Received: {wrong[0]} among them"
            )
        return given.astype("int64")

    def told(self) -> dict:
        """What an exported file tells of it."""
        return {"kind": self.kind, "activation": self.activation, "classes": self.classes}


def _is_classifier(operation) -> bool:
    """Whether a layer classifies positions."""
    place = names.parse(operation.name)
    return place is not None and place.part == "head" and isinstance(operation, keras.layers.Conv2D)
