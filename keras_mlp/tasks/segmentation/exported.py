"""Segmenters in .tflite files."""

import os

import keras
import numpy as np

from keras_mlp.classifiers.kinds import LABEL_MAP, SEGMENTATION
from keras_mlp.tasks.exported import ExportedModel


class ExportedSegmenter(ExportedModel):
    """A .tflite file that `keras_mlp.tasks.segment` and `keras_mlp.tasks.evaluate` take in place of a model.

    Args:
        path: the file, with the metadata that `keras_mlp.export.to_tflite` writes.
        threads: threads that the interpreter computes with.

    Attributes:
        names: of the classes, or `None` where the file has none.
        inputs, input_shape, output: as a Keras model with one output has them.

    Raises:
        ValueError: there is no such file, LiteRT cannot run it, or it does not tell that it is a segmenter's.

    Call arguments:
        images: pixels 0–255 `(n, height, width, channels)`, rounded where the file takes whole ones.

    Returns:
        float32 logits `(n, height, width, classes)`. Of a label map each pixel's class has 1 and the others 0, so that
        windows vote where they overlap.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        super().__init__(path, threads)
        shape, classes = self._runner.output_shape, self.told.get("classes")
        decided = self.told.get("activation") == LABEL_MAP
        known = self.told.get("kind") == SEGMENTATION and isinstance(classes, int) and classes > 1
        if not known or isinstance(shape, dict) or len(shape) != (3 if decided else 4):
            self._refuse(path, "segmenter")
        self._classes = classes if decided else None
        batch, *size = shape[:3]
        self.output = keras.KerasTensor((batch, *size, classes), dtype="float32")

    def __call__(self, images, training=False) -> np.ndarray:
        found = self._run(images, training)
        return found if self._classes is None else np.eye(self._classes, dtype="float32")[found]
