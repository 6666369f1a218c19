"""Detectors in .tflite files."""

import os

import numpy as np

from keras_mlp.classifiers.kinds import DETECTION
from keras_mlp.export.detections import as_detections
from keras_mlp.tasks.exported import ExportedModel


class ExportedDetector(ExportedModel):
    """A .tflite file that `keras_mlp.tasks.detect` and `keras_mlp.tasks.evaluate` take in place of a detector.

    Args:
        path: the file, with the metadata that `keras_mlp.export.to_tflite` writes.
        threads: threads that the interpreter computes with.

    Attributes:
        names: of the classes, or `None` where the file has none.
        classes: how many classes are told apart.
        inputs, input_shape: as a Keras model has them.
        output: what the file gives, by name.

    Raises:
        ValueError: there is no such file, LiteRT cannot run it, or it does not tell that it is a detector's.

    Call arguments:
        images: pixels 0–255 `(n, height, width, channels)`, rounded where the file takes whole ones. The file knows
            of no padding: what it finds there is cut off by `keras_mlp.tasks.detect`.

    Returns:
        Detections, as a `keras_mlp.tasks.Detector` gives them.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        super().__init__(path, threads)
        self.output, self.classes = self._runner.output_shape, self.told.get("classes")
        known = self.told.get("kind") == DETECTION and isinstance(self.classes, int) and self.classes > 0
        if not known or not isinstance(self.output, dict) or not {"boxes", "scores"} <= set(self.output):
            self._refuse(path, "detector")

    def __call__(self, images, training=False) -> dict[str, np.ndarray]:
        found = self._run(images, training)
        return as_detections(found, self.input_shape[1:3]) if "valid" in found else found
