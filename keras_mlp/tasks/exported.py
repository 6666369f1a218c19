"""What .tflite files of all tasks have in common, where they take the place of a model."""

import os

import keras
import numpy as np

from keras_mlp.export import Runner, read_metadata


def kind_of(path: str | os.PathLike) -> str | None:
    """What a .tflite file tells that it is, such as "segmentation" or "detection"; `None` where it does not tell.

    Raises:
        ValueError: what the file tells of itself is damaged.
        FileNotFoundError: there is no such file.
    """
    told = read_metadata(path)[0].get("output")
    return told.get("kind") if isinstance(told, dict) else None


class ExportedModel:
    """A .tflite file that is called as a model is.

    Args:
        path: the file, with the metadata that `keras_mlp.export.to_tflite` writes.
        threads: threads that the interpreter computes with.

    Attributes:
        names: of the classes, or `None` where the file has none.
        told: what it tells of its output.
        inputs, input_shape: as a Keras model has them.

    Raises:
        ValueError: there is no such file, or LiteRT cannot run it.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        self._runner = Runner(path, threads)
        described, self.names = read_metadata(path)
        self.told = described.get("output") if isinstance(described.get("output"), dict) else {}
        self.inputs = [keras.KerasTensor(self._runner.input_shape, dtype="float32")]
        self.input_shape = self._runner.input_shape

    def _refuse(self, path, what):
        raise ValueError(
            f"{path} is no {what}: it gives {self._runner.output_shape} and tells of its output {self.told or None}. "
            "Make one with `keras-mlp export` or `keras_mlp.export.to_tflite`."
        )

    def _run(self, images, training):
        """What the file gives of pixels 0–255 `(n, height, width, channels)`, rounded where it takes whole ones."""
        if training:
            raise ValueError("A .tflite file cannot be trained.")
        images = np.asarray(images)
        return self._runner(images if self._runner.input_dtype == np.float32 else np.rint(images))
