"""Segmenters in .tflite files."""

import os

import keras
import numpy as np

from keras_mlp.classifiers.kinds import LABEL_MAP, SEGMENTATION
from keras_mlp.export import Runner, read_metadata


def is_segmenter(path: str | os.PathLike) -> bool:
    """Whether a .tflite file tells that it is a segmenter's, as those of `keras_mlp.export.to_tflite` do.

    Raises:
        ValueError: what the file tells of itself is damaged.
        FileNotFoundError: there is no such file.
    """
    told = read_metadata(path)[0].get("output")
    return isinstance(told, dict) and told.get("kind") == SEGMENTATION


class ExportedSegmenter:
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
        self._runner = Runner(path, threads)
        told, self.names = read_metadata(path)
        told = told.get("output")
        shape = self._runner.output_shape
        decided = isinstance(told, dict) and told.get("activation") == LABEL_MAP
        known = is_segmenter(path) and isinstance(told.get("classes"), int) and told["classes"] > 1
        if not known or isinstance(shape, dict) or len(shape) != (3 if decided else 4):
            raise ValueError(
                f"{path} is no segmenter: it gives {shape} and tells of its output {told}. Make one with "
                "`keras-mlp export` or `keras_mlp.export.to_tflite`."
            )
        self._classes = told["classes"] if decided else None
        batch, *size = shape[:3]
        self.inputs = [keras.KerasTensor(self._runner.input_shape, dtype="float32")]
        self.input_shape = self._runner.input_shape
        self.output = keras.KerasTensor((batch, *size, told["classes"]), dtype="float32")

    def __call__(self, images, training=False) -> np.ndarray:
        if training:
            raise ValueError("A .tflite file cannot be trained.")
        images = np.asarray(images)
        found = self._runner(images if self._runner.input_dtype == np.float32 else np.rint(images))
        return found if self._classes is None else np.eye(self._classes, dtype="float32")[found]
