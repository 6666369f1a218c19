"""The forms in which a model can run on this machine (`keras_mlp.forms`), each made ready to be called."""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import keras
import numpy as np

from keras_mlp.export.freezing import fast
from keras_mlp.export.onnx import to_onnx
from keras_mlp.export.onnx_names import IMAGE
from keras_mlp.export.openvino import to_openvino
from keras_mlp.export.portable import fused
from keras_mlp.export.runners import OPENVINO, OpenVINORunner
from keras_mlp.export.runtime import Runner
from keras_mlp.export.tflite import to_tflite
from keras_mlp.extras import need
from keras_mlp.forms import FORMS


class UnavailableError(Exception):
    """A form cannot run here: a package is missing, or it has no such precision."""


@dataclasses.dataclass(frozen=True)
class Request:
    """The conditions under which a form is to run.

    Args:
        batch: images in a call.
        precision: "float32", "bfloat16" or "int8". A Keras model has its own: it is to be built in it.
        threads: threads that it computes with, where the form has a setting of its own.
        folder: where it may write files, which are needed as long as it runs.
    """

    batch: int
    precision: str
    threads: int
    folder: pathlib.Path


def ready(name: str, model: keras.Model, request: Request) -> Callable[[np.ndarray], object]:
    """A model in one of its forms.

    Args:
        name: one of `keras_mlp.forms.FORMS`.
        model: a model with one input, in the precision that is asked for.
        request: what for.

    Returns:
        A function from float32 images `(batch, …)` to what the model gives, as NumPy arrays.

    Raises:
        UnavailableError: it cannot run here; the message says why.
        ValueError, ExportError: the model cannot have this form.
    """
    check(name, request.precision)
    try:
        return _MAKERS[name](model, request)
    except ImportError as error:
        raise UnavailableError(str(error)) from error


def check(name: str, precision: str):
    """Raise an `UnavailableError` if a form has no such precision, or does not go with Keras' backend."""
    form = FORMS[name]
    if precision not in form.precisions:
        raise UnavailableError(f"it computes in {' or '.join(form.precisions)}")
    if keras.backend.backend() != form.backend:
        raise UnavailableError(f"it needs KERAS_BACKEND={form.backend}")


def _graph(jit_compile: bool, fuse: bool):
    def make(model, request):
        import tensorflow as tf

        network = fused(model) if fuse else model
        call = tf.function(lambda images: network(images, training=False), jit_compile=jit_compile, autograph=False)
        return lambda images: tf.nest.map_structure(lambda output: output.numpy(), call(tf.constant(images)))

    return make


def _fast(jit_compile: bool):
    return lambda model, request: fast(model, jit_compile=jit_compile)


def _representative(model, request):
    """Images to measure ranges on, which matter to what is computed, and not to how long it takes."""
    if request.precision != "int8":
        return None
    return np.random.default_rng(0).integers(0, 256, (max(8, request.batch), *model.input_shape[1:]))


def _on_openvino(model, request):
    path = request.folder / f"model{OPENVINO}"
    if not path.exists():
        precision = "int8" if request.precision == "int8" else "float32"
        to_openvino(model, path, precision, representative=_representative(model, request))
    computing = "float32" if request.precision == "int8" else request.precision
    return OpenVINORunner(path, request.threads, computing)


def _on_onnxruntime(model, request):
    onnxruntime = need("onnxruntime", extra="onnx")
    path = request.folder / "model.onnx"
    if not path.exists():
        to_onnx(fused(model), path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request.threads
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {IMAGE: images})


def _on_litert(model, request):
    path = request.folder / f"model-{request.batch}.tflite"
    to_tflite(model, path, request.precision, _representative(model, request), batch_size=request.batch)
    return Runner(path, request.threads)


_MAKERS = {
    "graph": _graph(jit_compile=False, fuse=False),
    "frozen": _fast(jit_compile=False),
    "frozen_xla": _fast(jit_compile=True),
    "xla": _graph(jit_compile=True, fuse=False),
    "openvino": _on_openvino,
    "litert": _on_litert,
    "onnxruntime": _on_onnxruntime,
    "jax": _fast(jit_compile=True),
    "torch_compile": _fast(jit_compile=True),
    "fused": _graph(jit_compile=False, fuse=True),
    "fused_xla": _graph(jit_compile=True, fuse=True),
}
"""What makes each: `(model, request) -> call`."""
