"""Conversion to TFLite, the format that LiteRT runs on phones and small devices."""

import dataclasses
import numbers
import os
import pathlib

import keras
import numpy as np

from keras_mlp.cards import Preprocessing
from keras_mlp.classifiers import BoxOutput, PixelOutput
from keras_mlp.export import task_metadata
from keras_mlp.export.checks import check_told, checked_images, checked_path, checked_shape, describe
from keras_mlp.export.conversion import convert, labelled, prepared, quantise
from keras_mlp.export.detections import check_decoding, dense_layer, with_maps, with_post_process
from keras_mlp.export.errors import ExportError
from keras_mlp.export.layer_errors import LayerError
from keras_mlp.export.metadata import attach_metadata
from keras_mlp.export.operators import float_operators, operators
from keras_mlp.export.outputs import Meaning, inference_part, names_of, only_meaning
from keras_mlp.export.portable import portable
from keras_mlp.export.runtime import Runner, check_loads
from keras_mlp.export.sharing import shared
from keras_mlp.export.verify import Verification, accuracy, checked_labels, verify
from keras_mlp.files import atomic_path, temporary_folder
from keras_mlp.precisions import CALIBRATED, INPUT_DTYPES, LIMITS, PRECISIONS


@dataclasses.dataclass(frozen=True)
class Exported:
    """A .tflite file that was written.

    Args:
        path: the file.
        precision: as asked for.
        size_bytes: its length.
        operators: `{name: count}` of all its operators.
        float_operators: `{name: count}` of those that compute in floating point; for "int8" an empty one means that
            the file is integer throughout.
        fused: whether the model was fused on the way.
        verification: comparison with the model, where images to compare on were given.
        float_layers: the layers that `max_accuracy_drop` kept in float32, those that eight bits cost most first.
        runtime: the oldest version of the TFLite runtime that runs it, as the converter says; "" where it does not.
    """

    path: str
    precision: str
    size_bytes: int
    operators: dict[str, int]
    float_operators: dict[str, int]
    fused: bool
    verification: Verification | None
    float_layers: tuple[str, ...] = ()
    runtime: str = ""


def to_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    precision: str = "float32",
    representative=None,
    batch_size: int | None = 1,
    input_dtype: str = "float32",
    input_shape: tuple[int, ...] | None = None,
    verify_with=None,
    classes: list[str] | None = None,
    metadata: dict | None = None,
    fuse: bool = True,
    max_accuracy_drop: float | None = None,
    output: Meaning | None = None,
    label_map: bool = False,
    decoding: str = "inside",
    older_runtimes: bool = False,
) -> Exported:
    """Write a model as a .tflite file of built-in operators.

    The file holds the model in float32, whatever dtype policy it was trained under, and then:

    - "float32": as it is;
    - "float16": weights in half precision, about half the size;
    - "dynamic_int8": weights in eight bits, activations quantised as they come; about a quarter of the size, usually
      the fastest on a CPU, needs no images;
    - "int8": weights and activations in eight bits, with scales measured on `representative`; for devices that
      compute in integers. Probabilities come in steps of 1/256 then: a model of many classes that is seldom sure
      keeps more of its output without the softmax (`classifier_activation=None`). Where a model multiplies activations
      with each other, as attention does, these products and all its softmaxes stay in float32, for which LiteRT has
      far faster kernels, unless `input_dtype` is "int8". What a detector does after its network, to decode, choose and
      cut out boxes, stays in float32, too;
    - "int16x8": as "int8", but activations in sixteen bits: near the model's own outputs, and slow on CPUs, for which
      LiteRT has no fast kernels of it.

    By default the model is fused first (`keras_mlp.fuse`): its norms' scales, its scales of channels and its
    preprocessing go into the linear maps beside them. What the file takes stays as it was, and so does what it gives,
    except for rounding; `verify_with` compares it with `model` itself.

    Behind what LiteRT reads, the file is a zip archive, as is the custom for TFLite's metadata: `metadata.json` says
    what the file takes, and `labels.txt` has the class names, a line each. `read_metadata` reads them, and so does
    `unzip`. TFLite's own table of metadata is in the file, too: MediaPipe Tasks and TFLite's Task Library take it as it
    is, where it takes one image at a time.

    Args:
        model: functional or sequential model with one input and one output, or with a dictionary of outputs, such as
            `keras_mlp.feature_pyramid`: the file then has the same names. Auxiliary outputs, which segmenters have for
            training, are left out. It is not changed.
        path: where to write; ends in ".tflite". An existing file is replaced only once the new one is complete.
        precision: "float32", "float16", "dynamic_int8", "int8" or "int16x8".
        representative: for "int8" and "int16x8", images `(n, height, width, channels)` in the units `model` takes, a
            hundred or more that look like those it will see.
        batch_size: images in a call; `None` for as many as the caller likes each time, who resizes the input first, as
            `Runner` does. A size that is not known costs some operators more.
        input_dtype: what the file takes: "float32"; "uint8" for pixels 0–255 as bytes, in models that normalise them
            themselves; "int8", with that precision, for quantised input and output.
        input_shape: `(height, width, channels)`, needed where the model leaves one of them open.
        verify_with: images to compare file and model on, or a pair `(images, labels)`, as for `verify`. Where they
            differ by more than `LIMITS[precision]`, no file is written. A detector has no `labels`.
        classes: names of the classes, in the order of the outputs or labels; of one unit that tells of two, both.
        metadata: what else the file should tell of itself, such as its model's name, licence and preprocessing: a
            dictionary of what JSON has. Input shape and dtype, the precision and what the output means are added.
        fuse: whether to fuse the model first, for fewer operations.
        max_accuracy_drop: for "int8", how much less than `model`'s the accuracy (`Verification`) of the file may be; it
            needs labels in `verify_with`. Where it would be more, the layers that eight bits cost most
            (`quantization_errors`) stay in float32, so many of them as it takes: the file gets larger, slower and is no
            longer integer throughout. Without it all layers are quantised, whatever they lose within `LIMITS`. Where
            that is too much, a model can also be trained for it: `keras_mlp.training.quantization.QuantizationAware`.
        output: what the model's output means, where neither its layers nor the loss it is compiled with tell.
        label_map: whether the file of a segmenter gives the class of each pixel, uint8 `(batch, height, width)`,
            instead of the logits of all classes. That is far less to hand over, but only logits can be averaged.
        decoding: where a detector's boxes are decoded and suppressed: "inside" the file by built-in operators; for one
            that looks at anchors alone, such as `keras_mlp.tasks.RetinaNet`, also "maps", not at all: the file gives
            "logits" `(batch, n, classes)` and "deltas" `(batch, n, 4)` at every anchor, and its metadata tell strides,
            scales and ratios of the anchors; or "post_process", by the operator `TFLite_Detection_PostProcess`, as
            mobile task libraries expect it: the file gives "boxes" `(1, k, 4)`, top, left, bottom and right in shares
            of the image's sides, "classes" and "scores" `(1, k)`, and "valid" `(1,)`, how many of them there are.
        older_runtimes: for "dynamic_int8", whether runtimes before 2.17 are to run the file, from 2.9 on: each dense
            layer's weights are then rounded with one scale and not one for each channel, which costs accuracy. Files of
            the other precisions need 2.9 in any case; `Exported.runtime` tells.

    Returns:
        What was written.

    Raises:
        ValueError: an argument does not fit, the model is none that can be exported, or the folder cannot be written.
        ExportError: the model holds something that TFLite's built-in operators cannot express, LiteRT cannot load the
            file, or the file failed its verification.

    Example:
        exported = to_tflite(
            model, "model.tflite", "int8", images, verify_with=(images, labels), max_accuracy_drop=0.01
        )
        print(exported.verification, exported.float_layers)
    """
    path = checked_path(path, ".tflite")
    model = inference_part(model)
    shape = checked_shape(model, "TFLite", input_shape, named=True)
    check_decoding(model, decoding)
    if decoding == "post_process" and batch_size != 1:
        raise ValueError(f'`decoding="post_process"` takes one image in a call. Received: batch_size={batch_size!r}')
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(
            f"`batch_size` must be a positive integer, or None for any number. Received: batch_size={batch_size!r}"
        )
    shape = (batch_size, *shape)
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}. Received: precision={precision!r}")
    if input_dtype not in INPUT_DTYPES:
        raise ValueError(
            f"`input_dtype` must be one of {', '.join(INPUT_DTYPES)}. Received: input_dtype={input_dtype!r}"
        )
    if input_dtype == "int8" and precision != "int8":
        raise ValueError(f'`input_dtype="int8"` needs `precision="int8"`. Received: precision={precision!r}')
    if older_runtimes and precision != "dynamic_int8":
        raise ValueError(
            '`older_runtimes` goes with `precision="dynamic_int8"`; the others are read by them as they are. '
            f"Received: precision={precision!r}"
        )
    if (precision in CALIBRATED) != (representative is not None):
        raise ValueError(
            f"`precision` {' and '.join(map(repr, CALIBRATED))} needs `representative`, images to measure the "
            "activations' ranges on, and no other takes them. "
            f"Received: precision={precision!r}, representative={describe(representative)}"
        )
    anchors = dense_layer(model)
    if decoding == "maps":
        model = with_maps(portable(model, shape))
    names, output = names_of(model), only_meaning(model, output)
    if label_map:
        if not isinstance(output, PixelOutput):
            raise ValueError(
                "`label_map` goes with a segmenter, such as keras_mlp.tasks.UPerNet, which gives logits of each pixel. "
                f"Received: {model.name} with the output {model.output_shape}"
            )
        output = output.labelled()
    if input_dtype == "int8" and isinstance(output, BoxOutput):
        raise ValueError(
            'A detector\'s boxes and scores stay in float: `input_dtype` must be "float32" or "uint8". '
            "Received: input_dtype='int8'"
        )
    known = output.classes if output else anchors.classes if decoding == "maps" else None
    check_told(classes, metadata, known if known or names else model.output_shape[-1])
    if representative is not None:
        representative = _checked_images("representative", representative, shape, input_dtype)
        if len(representative) < (batch_size or 1):
            raise ValueError(
                f"`representative` must hold at least one batch of {batch_size}. Received: {len(representative)}"
            )
    if verify_with is not None:
        images, labels = verify_with if isinstance(verify_with, tuple) else (verify_with, None)
        images = _checked_images("verify_with", images, shape, input_dtype)
        labels = None if labels is None else checked_labels(output, model, labels, len(images))
    if max_accuracy_drop is not None:
        if not isinstance(max_accuracy_drop, numbers.Real) or not 0 <= max_accuracy_drop <= 1:
            raise ValueError(
                "`max_accuracy_drop` must be a number from 0 to 1, as 0.01 for one image in a hundred. "
                f"Received: max_accuracy_drop={max_accuracy_drop!r}"
            )
        if precision != "int8" or input_dtype == "int8":
            raise ValueError(
                '`max_accuracy_drop` needs `precision="int8"`, and an input that stays as it is: `input_dtype` '
                f'"float32" or "uint8". Received: precision={precision!r}, input_dtype={input_dtype!r}'
            )
        if verify_with is None or labels is None:
            raise ValueError("`max_accuracy_drop` needs labels: give `verify_with` as a pair `(images, labels)`.")

    network = prepared(model, shape, fuse)
    network = labelled(network) if label_map else network
    if decoding == "post_process":
        network = with_post_process(network)
        names = names_of(network)
    if max_accuracy_drop is None:
        content, float_layers = convert(network, precision, representative, input_dtype, older_runtimes), ()
    else:
        quantised = quantise(network, representative, input_dtype)
        content, float_layers = _accurate(quantised, model, images, labels, max_accuracy_drop, output)
    with atomic_path(path) as temporary:
        temporary = pathlib.Path(temporary)
        given = dict(metadata or {}, precision=precision, input_shape=shape, input_dtype=input_dtype)
        if float_layers:
            given["float_layers"] = float_layers
        if names:
            given["named_outputs"] = names
        if output:
            given["output"] = output.told()
        if decoding != "inside":
            given["decoding"] = decoding
            given["anchors"] = {key: getattr(anchors, key) for key in ("strides", "scales", "ratios")}
        named = classes is not None and not names and not label_map and len(classes) == network.output_shape[-1]
        about = dict(description=given, shape=shape[1:], labelled=named, preprocessing=_left_out(model, given))
        temporary.write_bytes(shared(content, lambda file: task_metadata.attach(file, **about)))
        attach_metadata(temporary, given, classes)
        counts = operators(temporary)
        if flex := [name for name in counts if name.startswith("Flex")]:
            raise ExportError(f"The model needs operators that LiteRT does not have: {', '.join(flex)}.")
        if precision in CALIBRATED:
            try:
                check_loads(temporary)
            except RuntimeError as error:
                raise ExportError(
                    f"LiteRT cannot load the {precision} file. Most likely some activations are far larger than those "
                    f"that they are added up to, as happens in models that were not trained. {path} was not written. "
                    f"({error})"
                ) from error
        found = None
        if verify_with is not None:
            found = verify(model, temporary, images, labels, output)
            if not LIMITS[precision].admits(found):
                worst = f"Its output {found.worst!r} differs most. " if found.worst else ""
                raise ExportError(
                    f"The {precision} file does not compute like the model: found {found}, allowed "
                    f"{LIMITS[precision]}. {worst}{path} was not written."
                )
        return Exported(
            path=str(path),
            precision=precision,
            size_bytes=temporary.stat().st_size,
            operators=counts,
            float_operators=float_operators(temporary),
            fused=fuse,
            verification=found,
            float_layers=float_layers,
            runtime=task_metadata.runtime_of(temporary.read_bytes()),
        )


def quantization_errors(
    model: keras.Model, representative, input_shape: tuple[int, ...] | None = None, fuse: bool = True
) -> list[LayerError]:
    """Tell what eight bits cost each layer of a model, before or after an export to "int8".

    Args:
        model: functional or sequential model with one input and one output. It is not changed.
        representative: images as for `to_tflite`, which measure the ranges; a few of them are compared on.
        input_shape: `(height, width, channels)`, needed where the model leaves one of them open.
        fuse: as for `to_tflite`, whose file has fused layers.

    Returns:
        A `LayerError` of each layer with operators in int8, the worst first. Each is measured on its own: how far the
        errors carry, the accuracy of the whole tells.

    Raises:
        ValueError: an argument does not fit, or the model is none that can be exported.
        ExportError: TFLite cannot express the model.

    Example:
        for found in quantization_errors(model, images)[:5]:
            print(found)
    """
    model = inference_part(model)
    shape = (1, *checked_shape(model, "TFLite", input_shape))
    images = _checked_images("representative", representative, shape, "float32")
    return quantise(prepared(model, shape, fuse), images, "float32").errors


def _accurate(quantised, model, images, labels, most, output) -> tuple[bytes, tuple[str, ...]]:
    """The content of a file that loses at most so much accuracy, and which layers are in float32 in it."""
    worst = tuple(error.layer for error in quantised.errors)
    with temporary_folder() as folder:

        def file(count):
            path = folder / f"{count}.tflite"
            path.write_bytes(quantised.content(worst[:count]))
            return path

        found = verify(model, file(0), images, labels, output)
        enough = found.keras_accuracy - most - 1e-9  # which a subtraction may be off by

        def suffices(count):
            return accuracy(Runner(file(count)), output, images, labels) >= enough

        if found.tflite_accuracy >= enough:
            return quantised.content(), ()
        fewest, count = 0, len(worst) - 1
        if not suffices(count):
            raise ExportError(
                f"With all layers but {worst[-1]!r} in float32 the accuracy still drops by more than {most:g}: the "
                f"int8 file has {found.tflite_accuracy:.4g}, the model {found.keras_accuracy:.4g}."
            )
        while count - fewest > 1:  # the first does not suffice, the second does
            middle = (fewest + count) // 2
            fewest, count = (fewest, middle) if suffices(middle) else (middle, count)
        return quantised.content(worst[:count]), worst[:count]


def _left_out(model, metadata) -> Preprocessing | None:
    """The preprocessing that a model leaves to its caller, as its metadata tell; `None` where it does it itself."""
    told = metadata.get("preprocessing", {})
    if any(isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in model.layers):
        return None
    if not isinstance(told, dict) or not {"mean", "std"} <= told.keys():
        return None
    return Preprocessing(mean=tuple(told["mean"]), std=tuple(told["std"]))


def _checked_images(name, images, shape, input_dtype):
    images = checked_images(name, images, shape[1:])
    if input_dtype == "uint8" and not np.array_equal(images.astype("uint8"), images):
        raise ValueError(
            f'With `input_dtype="uint8"`, `{name}` must be whole pixel values 0–255. Received: {describe(images)}'
        )
    return images
