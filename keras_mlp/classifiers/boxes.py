"""What the dictionary that a detector gives means, and when two of them tell the same."""

import dataclasses
from typing import ClassVar

import keras
import numpy as np

from keras_mlp.classifiers.kinds import DETECTION

OUTPUTS = ("boxes", "labels", "scores")
"""What every detector gives, by these names; see `keras_mlp.tasks.Detector`."""
SURE = 0.3
"""The score from which on a detection is compared: those below change places for nothing."""
SAME = 0.5
"""How much two boxes overlap at least that are one detection: intersection over union, 0–1."""


@dataclasses.dataclass(frozen=True)
class BoxOutput:
    """What a detector gives of each image: boxes, their classes and their scores.

    Args:
        classes: how many classes are told apart.
    """

    classes: int
    kind: ClassVar[str] = DETECTION

    @classmethod
    def perhaps(cls, model) -> "BoxOutput | None":
        """What a model's outputs mean, or `None` where nothing tells that it is a detector's.

        A detector gives a dictionary with "boxes", "labels" and "scores", whose labels come from a layer that knows how
        many `classes` there are.

        Args:
            model: a Keras model.
        """
        output = getattr(model, "output", None) if getattr(model, "outputs", None) else None
        if not isinstance(output, dict) or not set(OUTPUTS) <= set(output):
            return None
        if not all(map(keras.backend.is_keras_tensor, output.values())):
            return None
        classes = getattr(output["labels"]._keras_history.operation, "classes", None)
        return None if classes is None else cls(classes)

    def same(self, expected: dict, found: dict) -> np.ndarray:
        """Which of the detections that a model is sure of another one has, too: booleans, of all images together.

        Args:
            expected: of the model, arrays as it gives them.
            found: of the other one.
        """
        told = []
        for i, scores in enumerate(expected["scores"]):
            sure = scores >= SURE
            boxes, others = expected["boxes"][i][sure][:, None], found["boxes"][i][None]
            shared = np.clip(np.minimum(boxes, others)[..., 2:] - np.maximum(boxes, others)[..., :2], 0, None).prod(-1)
            areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (boxes, others)]
            overlap = shared / np.maximum(areas[0] + areas[1] - shared, 1e-6)
            of_class = expected["labels"][i][sure][:, None] == found["labels"][i][None]
            told.append((of_class & (overlap >= SAME)).any(-1))
        return np.concatenate(told)

    def labels(self, labels, count: int):
        """Raise a `ValueError`: no label is right or wrong of a whole image."""
        raise ValueError(
            "Detections are not right or wrong by image: measure the file by keras_mlp.tasks.evaluate("
            "keras_mlp.tasks.ExportedDetector(path), data)."
        )

    def told(self) -> dict:
        """What an exported file tells of it."""
        return {"kind": self.kind, "classes": self.classes}
