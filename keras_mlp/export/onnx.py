"""ONNX: what many other runtimes read."""

import os

import keras
import numpy as np

from keras_mlp.export import onnx_names
from keras_mlp.export.checks import check_told, checked_images, checked_path, checked_shape
from keras_mlp.export.errors import ExportError, calls_of_a_library
from keras_mlp.export.onnx_names import SCORES
from keras_mlp.export.outputs import Meaning, by_name, difference, inference_part, largest, names_of, only_meaning
from keras_mlp.export.portable import portable
from keras_mlp.extras import need
from keras_mlp.files import atomic_path
from keras_mlp.layers import products

LIMIT = 1e-4
OPSETS = (15, 16, 17, 18)
"""Versions of ONNX's operators that are written. All families are tested in the first, the converter's default."""
REFUSAL = "The model could not become ONNX"


def to_onnx(
    model: keras.Model,
    path: str | os.PathLike,
    input_shape: tuple[int, ...] | None = None,
    verify_with=None,
    classes: list[str] | None = None,
    metadata: dict | None = None,
    opset: int | None = None,
    output: Meaning | None = None,
) -> float:
    """Write a model as an .onnx file in float32, for batches of any length, and compare it with the model.

    The input is called "image" and its first axis "batch". The only output of a model that tells classes apart is
    called "scores", any other only one "output". What the file tells of itself is in ONNX's own metadata;
    `read_onnx_metadata` reads it.

    Args:
        model: functional or sequential model with one input and one output, or with a dictionary of outputs: the file
            then has the same names. It is not changed.
        path: where to write; ends in ".onnx". An existing file is replaced only once the new one is complete.
        input_shape: `(height, width, channels)`, needed where the model leaves one of them open.
        verify_with: images `(n, height, width, channels)` on which ONNX Runtime's outputs are compared with the
            model's; by default two of random pixels.
        classes: names of the classes, in the order of the outputs.
        metadata: what else the file should tell of itself, such as its model's name, licence and preprocessing: a
            dictionary of what JSON has. Input shape and what the output means are added.
        opset: version of ONNX's operators, from 15 to 18; by default the converter's.
        output: what the model's output means, where neither its layers nor the loss it is compiled with tell.

    Returns:
        The largest difference, in units of the standard deviation of the model's output; of each of several outputs
        in units of its own.

    Raises:
        ImportError: the packages of the extra "onnx" are not installed.
        ValueError: an argument does not fit, the model is none that can be exported, or the folder cannot be written.
        ExportError: the converter refused the model, or the file differs by more than 1e-4. No file was written.
    """
    path = checked_path(path, ".onnx")
    model = inference_part(model)
    shape = checked_shape(model, "ONNX", input_shape, named=True)
    if verify_with is None:
        verify_with = np.random.default_rng(0).integers(0, 256, (2, *shape))
    images = checked_images("verify_with", verify_with, shape).astype("float32")
    names, output = names_of(model), only_meaning(model, output)
    check_told(classes, metadata, output.classes if output else None if names else model.output_shape[-1])
    if opset is not None and opset not in OPSETS:
        raise ValueError(f"`opset` must be one of {', '.join(map(str, OPSETS))}. Received: opset={opset!r}")
    onnxruntime = need("onnxruntime", extra="onnx")
    onnx = need("onnx", extra="onnx")
    need("tf2onnx", extra="onnx")
    network = portable(model, (None, *shape))
    _hold_as_arrays(network)
    # Keras exports to ONNX without a word on training, and its augmentations take that for a yes.
    image = keras.Input(shape)
    inference = keras.Model(image, network(image, training=False))
    signature = [keras.InputSpec(shape=(None, *shape), dtype="float32")]
    with atomic_path(path) as temporary:
        with calls_of_a_library(REFUSAL), products.for_export():
            inference.export(temporary, format="onnx", verbose=False, input_signature=signature, opset_version=opset)
        file = onnx.load(temporary)
        given = dict(metadata or {}, input_shape=[None, *shape], input_dtype="float32")
        if output:
            given["output"] = output.told()
        called = _in_order(file, names) if names else [SCORES if classes or output else "output"]
        onnx_names.name(file, called, given, classes)
        content = file.SerializeToString()
        temporary.write_bytes(content)  # the converter lets through operators that ONNX does not have
        with calls_of_a_library(REFUSAL):
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            outputs = session.run(None, {onnx_names.IMAGE: images})
        called = called if names else [""]
        outputs, expected = dict(zip(called, outputs, strict=True)), by_name(network.predict(images, verbose=0))
        differences = {name: difference(outputs[name], output) for name, output in expected.items()}
        worst = largest(differences)
        if not differences[worst] <= LIMIT:
            where = f" of its output {worst!r}" * bool(worst)
            raise ExportError(
                f"The .onnx file does not compute like the model: the largest difference{where} is "
                f"{differences[worst]:.2g} standard deviations of the output, allowed {LIMIT:g}. {path} was not "
                "written."
            )
        return differences[worst]


def _in_order(file, names) -> list[str]:
    """The names of several outputs in the file's order, which has them already."""
    found = [output.name for output in file.graph.output]
    if sorted(found) != sorted(names):
        raise ExportError(f"The outputs of the .onnx file are {', '.join(found)}, the model's {', '.join(names)}.")
    return found


def _hold_as_arrays(network):
    """Let layers hold as arrays what they keep as tensors, which the converter takes for inputs that nobody gives.

    `Normalization` keeps its mean and variance so. `network` is changed: it is the copy that is exported.
    """
    import tensorflow as tf

    for layer in network._flatten_layers():
        for name, value in list(vars(layer).items()):
            if isinstance(value, tf.Tensor):
                setattr(layer, name, value.numpy())
