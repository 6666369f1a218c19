"""OpenVINO: Intel's runtime, for processors of any maker, and for Intel's graphics and neural units."""

import contextlib
import io
import json
import logging
import os
import pathlib
import sys

import keras
import numpy as np

from keras_mlp.export import freezing, runners
from keras_mlp.export.checks import check_told, checked_folder, checked_images, checked_shape, describe
from keras_mlp.export.conversion import prepared
from keras_mlp.export.errors import ExportError, calls_of_a_library
from keras_mlp.export.outputs import Meaning, inference_part, names_of, only_meaning
from keras_mlp.export.verify import Verification, verify
from keras_mlp.extras import need
from keras_mlp.files import atomic_path, temporary_folder
from keras_mlp.layers import products
from keras_mlp.precisions import LIMITS

PRECISIONS = ("float32", "float16", "int8")
REFUSAL = "The model could not become OpenVINO's"


def to_openvino(
    model: keras.Model,
    path: str | os.PathLike,
    precision: str = "float32",
    representative=None,
    input_shape: tuple[int, ...] | None = None,
    verify_with=None,
    classes: list[str] | None = None,
    metadata: dict | None = None,
    output: Meaning | None = None,
) -> Verification:
    """Write a model as a folder of OpenVINO's files, for batches of any length, and compare it with the model.

    The folder has `openvino_model.xml` and `openvino_model.bin`. The model is fused (`keras_mlp.fuse`). Its input is
    called "image"; the only output of a model that tells classes apart "scores", any other only one "output".
    What the files tell of themselves is in OpenVINO's runtime information, under "keras_mlp"; `read_openvino_metadata`
    reads it. `Runner`'s counterpart is `OpenVINORunner`.

    The precisions:

    - "float32": as the model is;
    - "float16": weights in half precision, about half the size. Processors compute in float32 all the same;
    - "int8": weights and activations in eight bits, with scales that NNCF measures on `representative`.

    Args:
        model: functional or sequential model with one input and one output, or with a dictionary of outputs: the files
            then have the same names. It is not changed.
        path: the folder to write; its name ends in ".openvino". One that is there is replaced only once the new one is
            complete.
        precision: "float32", "float16" or "int8".
        representative: for "int8", images `(n, height, width, channels)` in the units `model` takes, a hundred or more
            that look like those it will see.
        input_shape: `(height, width, channels)`, needed where the model leaves one of them open.
        verify_with: images `(n, height, width, channels)` on which OpenVINO's outputs are compared with the model's; by
            default two of `representative`, or two of random pixels.
        classes: names of the classes, in the order of the outputs.
        metadata: what else the files should tell of themselves, such as the model's name, licence and preprocessing: a
            dictionary of what JSON has. Input shape, precision and what the output means are added.
        output: what the model's output means, where neither its layers nor the loss it is compiled with tell.

    Returns:
        How the files compare with the model.

    Raises:
        ImportError: the packages of the extra "openvino" are not installed.
        ValueError: an argument does not fit, the model is none that can be exported, or the folder cannot be written.
        ExportError: OpenVINO refused the model, or the files differ by more than `LIMITS[precision]`. None was written.
    """
    path = checked_folder(path, runners.OPENVINO)
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}. Received: precision={precision!r}")
    if (precision == "int8") != (representative is not None):
        raise ValueError(
            '`precision="int8"` needs `representative`, images to measure the ranges of activations on, and no other '
            f"takes them. Received: precision={precision!r}, representative={describe(representative)}"
        )
    model = inference_part(model)
    shape = checked_shape(model, "OpenVINO", input_shape, named=True)
    freezing.check_size(model)
    if representative is not None:
        representative = checked_images("representative", representative, shape).astype("float32")
    if verify_with is None:
        random = np.random.default_rng(0).integers(0, 256, (2, *shape))
        verify_with = random if representative is None else representative[:2]
    images = checked_images("verify_with", verify_with, shape)
    names, output = names_of(model), only_meaning(model, output)
    check_told(classes, metadata, output.classes if output else None if names else model.output_shape[-1])
    openvino = need("openvino", extra="openvino")
    nncf = _nncf() if precision == "int8" else None

    called = sorted(names) if names else ["scores" if classes or output else "output"]
    converted = _converted(openvino, model, shape, called, precision == "int8")
    if precision == "int8":
        converted = _quantised(nncf, converted, representative)
    given = dict(metadata or {}, precision=precision, input_shape=[None, *shape])
    if output:
        given["output"] = output.told()
    converted.set_rt_info(json.dumps(given, ensure_ascii=False), [*runners.DESCRIPTION])
    if classes is not None:
        converted.set_rt_info("\n".join(classes), [*runners.LABELS])
    with atomic_path(path) as temporary:
        temporary = pathlib.Path(temporary)
        temporary.mkdir()
        with calls_of_a_library(REFUSAL):
            file = temporary / runners.OPENVINO_FILE
            openvino.save_model(converted, file, compress_to_fp16=precision == "float16")
        if precision == "int8":
            with calls_of_a_library("OpenVINO cannot run what its quantiser made of the model; float16 may do"):
                openvino.Core().compile_model(file, "CPU")
        found = verify(model, temporary, images, output=output)
        if not LIMITS[precision].admits(found):
            raise ExportError(
                f"The {precision} files do not compute like the model: found {found}, allowed {LIMITS[precision]}. "
                f"{path} was not written."
            )
    return found


def _converted(openvino, model, shape, called, quantised):
    """OpenVINO's model, its outputs called so, in the order in which TensorFlow flattens a dictionary of them.

    Where it is to be quantised, kernels are on the right: NNCF corrects the bias of the last axis. The model is read
    from a graph in a file, as OpenVINO's Python converter would report its use over the network.
    """
    network = prepared(model, (None, *shape), fuse=True)
    with products.for_export(kernels_on_the_right=quantised):
        constant, _ = freezing.constants(network, shape)
    with temporary_folder() as folder:
        file = folder / "graph.pb"
        file.write_bytes(constant.graph.as_graph_def().SerializeToString())
        with calls_of_a_library(REFUSAL):
            converted = openvino.Core().read_model(file)
            ports = [converted.output(tensor.name) for tensor in constant.outputs]
            for port, name in zip([*converted.inputs, *ports], ["image", *called], strict=True):
                port.get_tensor().set_names({name})
    return converted


def _nncf():
    os.environ.setdefault("NNCF_CI", "1")  # or it reports its use over the network, wherever it is used
    nncf = need("nncf", extra="openvino")
    nncf.set_log_level(logging.ERROR)
    return nncf


def _quantised(nncf, converted, images):
    """The model in eight bits, its scales measured on images, one at a time."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    progress = contextlib.redirect_stdout(sys.stderr if terminal else io.StringIO())  # where results are printed else
    # One scale for each tensor: OpenVINO cannot run scales of channels in front of every convolution.
    activations = nncf.quantization.advanced_parameters.QuantizationParameters(per_channel=False)
    with progress, calls_of_a_library("NNCF could not quantise the model"):
        return nncf.quantize(
            converted,
            nncf.Dataset([image[np.newaxis] for image in images]),
            model_type=nncf.ModelType.TRANSFORMER,  # products of activations in float, as attention needs them
            subset_size=len(images),
            # A Fourier transform has no weights to make smaller, and OpenVINO refuses one in eight bits.
            ignored_scope=nncf.IgnoredScope(patterns=[f".*{products.TRANSFORM_BY_PRODUCT}.*"], validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(activations_quantization_params=activations),
        )
