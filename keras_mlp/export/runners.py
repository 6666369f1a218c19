"""Run exported files: .tflite files with LiteRT, OpenVINO's folders with OpenVINO."""

import json
import os
import pathlib

import numpy as np

from keras_mlp.checkpoints.untrusted import one_line, refusing
from keras_mlp.export.metadata import read_metadata
from keras_mlp.export.runtime import PORTION, Runner, checked_threads
from keras_mlp.extras import need

OPENVINO = ".openvino"
"""What the name of a folder with OpenVINO's files ends in."""
OPENVINO_FILE = "openvino_model.xml"
"""The file in it that tells of the network, called as Optimum calls it. Its weights are in a `.bin` beside it."""

DESCRIPTION, LABELS = ("keras_mlp", "metadata"), ("keras_mlp", "labels")
"""Where OpenVINO's runtime information has what a file tells of itself."""

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
"""What OpenVINO calls the precisions that it can compute in."""


class OpenVINORunner:
    """A folder of OpenVINO's files, loaded and callable on NumPy batches as a `Runner` is.

    Args:
        path: the folder, as `to_openvino` writes it.
        threads: threads that it computes with, on the processor.
        precision: that it computes in where its numbers are floating ones: "float32", or "bfloat16" where the processor
            has it. Weights in "float16" are converted when it is loaded.

    Attributes:
        input_shape, input_dtype, output_shape, output_names, output_step: as a `Runner` has them.

    Raises:
        ValueError: there is no such folder, OpenVINO cannot run it, `threads` is less than one, or there is no such
            precision.
        ImportError: OpenVINO is not installed.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 1, precision: str = "float32"):
        openvino = need("openvino", extra="openvino")
        checked_threads(threads)
        if precision not in _HINTS:
            raise ValueError(f"`precision` must be one of {', '.join(_HINTS)}. Received: precision={precision!r}")
        model = read_openvino(path)
        if len(model.inputs) != 1:
            raise ValueError(f"Only one input is handled; {path} has {len(model.inputs)}.")
        self._names = [_name(output) for output in model.outputs]
        self.output_names = tuple(self._names) if len(self._names) > 1 else None
        self.input_shape, self.input_dtype = _shape(model.inputs[0]), np.dtype("float32")
        self.output_shape = self._given({name: _shape(model.output(name)) for name in self._names})
        self.output_step = self._given(dict.fromkeys(self._names, 0.0))
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self._model = openvino.Core().compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise ValueError(f"OpenVINO cannot run {path}: {one_line(error)}") from error

    def __call__(self, images) -> np.ndarray | dict[str, np.ndarray]:
        """Compute a batch of any length, in portions of up to 32.

        Args:
            images: array `(n, …)`, in the units the Keras model takes.

        Returns:
            Array `(n, …)` in float32; of a file with several outputs `{name: array}`.

        Raises:
            ValueError: `images` has another shape, or no rows.
        """
        images = np.asarray(images, "float32")
        if images.shape[1:] != self.input_shape[1:] or not len(images):
            raise ValueError(
                f"`images` must have the shape (n, {', '.join(map(str, self.input_shape[1:]))}) with n > 0. "
                f"Received: shape={images.shape}"
            )
        found = [self._model(images[start : start + PORTION]) for start in range(0, len(images), PORTION)]
        return self._given({name: np.concatenate([each[name] for each in found]) for name in self._names})

    def _given(self, values: dict):
        """Values by output as they are handed out: without the name where there is one."""
        return next(iter(values.values())) if self.output_names is None else values


def runner(path: str | os.PathLike, threads: int = 1) -> Runner | OpenVINORunner:
    """An exported file, loaded and callable on NumPy batches.

    Args:
        path: a .tflite file, or a folder whose name ends in ".openvino".
        threads: threads that it computes with.

    Raises:
        ValueError: as `Runner` and `OpenVINORunner`.
        ImportError: the runtime is not installed.
    """
    return (OpenVINORunner if pathlib.Path(path).suffix == OPENVINO else Runner)(path, threads)


def read_openvino(path: str | os.PathLike):
    """OpenVINO's model of a folder; a `ValueError` where there is none, or it is damaged."""
    openvino = need("openvino", extra="openvino")
    file = pathlib.Path(path).expanduser() / OPENVINO_FILE
    if not file.is_file():
        raise ValueError(f"There is no {file}. Make one with `keras_mlp.export.to_openvino`.")
    try:
        return openvino.Core().read_model(file)
    except RuntimeError as error:
        raise ValueError(f"OpenVINO cannot read {path}: {one_line(error)}") from error


def read_openvino_metadata(path: str | os.PathLike) -> tuple[dict, list[str] | None]:
    """What a folder of `to_openvino` tells of itself.

    Args:
        path: the folder.

    Returns:
        The description, and the names of the classes; `{}` and `None` for files that tell none.

    Raises:
        ValueError: there is no such folder, or what it tells is damaged.
        ImportError: OpenVINO is not installed.
    """
    model = read_openvino(path)

    def told(place):
        return model.get_rt_info([*place]).astype(str) if model.has_rt_info([*place]) else None

    with refusing(path):
        described = json.loads(told(DESCRIPTION) or "{}")
        if not isinstance(described, dict):
            raise ValueError("its metadata are no JSON object")
        labels = told(LABELS)
        return described, None if labels is None else labels.split("\n")


def metadata(path: str | os.PathLike) -> tuple[dict, list[str] | None]:
    """What a .tflite file, or a folder whose name ends in ".openvino", tells of itself; see their own readers."""
    return (read_openvino_metadata if pathlib.Path(path).suffix == OPENVINO else read_metadata)(path)


def _name(port) -> str:
    return min(port.get_names(), default="")


def _shape(port) -> tuple[int | None, ...]:
    """Shape of an input or output; `None` for a side of any length."""
    return tuple(None if side.is_dynamic else side.get_length() for side in port.get_partial_shape())
