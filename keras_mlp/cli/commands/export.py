"""Export a model: to LiteRT, ONNX, OpenVINO, Core ML or TensorFlow's SavedModel.

The ending of OUTPUT says which: .tflite for LiteRT on phones and small devices, .onnx, .openvino, .mlpackage, or none
for the folder of a SavedModel. A file for LiteRT, ONNX or OpenVINO is run on the representative images, or on random
ones without such. If it does not compute like the model, no file is written. A .tflite file tells its class names and
preprocessing: `unzip -p FILE labels.txt metadata.json`.

A detector is exported with decoding and suppression inside, and gives boxes, labels and scores, and masks where it has
them. In int8 these steps stay in float. In int16x8 they do not: LiteRT's converter keeps no layer in float there.

A segmenter is exported without its auxiliary head, and gives logits, or with --label_map the class of each pixel. A
model in the folder of its training is calibrated by the images that it was trained on, unless --representative names
others.

Where int8 loses accuracy, --layer_errors shows in which layers, and --max_accuracy_drop keeps the worst of them in
float.
"""

import os
import pathlib

import numpy as np
from absl import flags as absl_flags

from keras_mlp.cli import classes, console, datasets, detectors, images, models, runs, segmenters, videos
from keras_mlp.precisions import CALIBRATED, INPUT_DTYPES, PRECISIONS

ARGUMENTS = ""
# Representative examples that are taken by default.
IMAGES, VIDEOS = 200, 20
# What is decided, and what share of it is right, by the kind of the output.
_WORDS = {
    "exclusive": ("class", "top-1 accuracy"),
    "binary": ("class", "top-1 accuracy"),
    "multi_label": ("decision on a class", "accuracy"),
    "segmentation": ("class of a pixel", "accuracy of the pixels"),
    "detection": ("detection", "accuracy"),
}


def define_flags(flags):
    told = ", ".join(f"{name} {precision.told}" for name, precision in PRECISIONS.items() if precision.told)
    absl_flags.DEFINE_string("model", None, models.MODEL_HELP, flag_values=flags)
    absl_flags.DEFINE_string("weights", None, models.WEIGHTS_HELP, flag_values=flags)
    absl_flags.DEFINE_string(
        "output",
        None,
        "What to write: a .tflite or .onnx, a folder .openvino or .mlpackage, or a folder without an ending. Required.",
        flag_values=flags,
    )
    absl_flags.DEFINE_enum(
        "precision",
        "float32",
        PRECISIONS,
        f"Numbers in a .tflite file; {told}. OpenVINO has float32, float16 and int8.",
        flag_values=flags,
    )
    absl_flags.DEFINE_string(
        "representative",
        None,
        f"Data set or folder of images like those the file will see; {' and '.join(CALIBRATED)} need it, to measure "
        "the ranges of activations. By default what the model was trained on, as recipe.json beside it says.",
        flag_values=flags,
    )
    absl_flags.DEFINE_float(
        "max_accuracy_drop",
        None,
        "For int8: how much top-1 accuracy it may cost, as 0.01 for one image in a hundred; in multi-label models, of "
        "the decisions on each class; in segmenters, of those on each pixel. The layers that it hurts most stay in "
        "float, as many as it takes. --representative is then a data set with labels, or a folder of class folders or "
        "with labels.csv, on whose evaluation part the accuracy is measured.",
        lower_bound=0,
        upper_bound=1,
        flag_values=flags,
    )
    absl_flags.DEFINE_bool(
        "layer_errors",
        False,
        "For int8: show what eight bits cost each layer, the worst first: the error of half of its channels is larger, "
        "in percent of the channel's standard deviation.",
        flag_values=flags,
    )
    absl_flags.DEFINE_integer(
        "samples",
        None,
        f"How many representative images or videos to take; by default {IMAGES} and {VIDEOS}.",
        lower_bound=1,
        flag_values=flags,
    )
    absl_flags.DEFINE_integer(
        "batch_size", 1, "Images in a call of a .tflite file; 0 for any number.", lower_bound=0, flag_values=flags
    )
    absl_flags.DEFINE_enum(
        "input_dtype",
        "float32",
        INPUT_DTYPES,
        "What a .tflite file takes; uint8 is pixels as bytes.",
        flag_values=flags,
    )
    absl_flags.DEFINE_bool(
        "fuse",
        None,
        "Merge batch norms and other layers into their neighbours first, for fewer operations with the same output. "
        "By default so for a .tflite file, which --nofuse leaves as the model is, always for OpenVINO, and not for the "
        "others.",
        flag_values=flags,
    )
    absl_flags.DEFINE_bool(
        "frozen",
        False,
        "For a SavedModel: fuse the model and make its weights constants, so that it computes faster. It cannot be "
        "trained on.",
        flag_values=flags,
    )
    absl_flags.DEFINE_bool(
        "label_map",
        False,
        "Let the .tflite file of a segmenter give the class of each pixel as a byte, instead of logits.",
        flag_values=flags,
    )
    absl_flags.DEFINE_enum(
        "decoding",
        "inside",
        ("inside", "maps", "post_process"),
        "Where boxes of a detector are decoded and suppressed: in the .tflite file; of RetinaNet also not at all, for "
        "maps, or by the operator TFLite_Detection_PostProcess, for mobile task libraries.",
        flag_values=flags,
    )
    absl_flags.DEFINE_bool("multi_label", None, models.MULTI_LABEL_HELP, flag_values=flags)
    absl_flags.DEFINE_list("image_size", None, models.SIZE_HELP, flag_values=flags)
    absl_flags.DEFINE_bool(
        "older_runtimes",
        False,
        "For dynamic_int8: let TFLite runtimes before 2.17 run the file, at some cost of accuracy.",
        flag_values=flags,
    )
    absl_flags.DEFINE_integer(
        "opset", None, "Version of the operators of an .onnx file; the converter's by default.", flag_values=flags
    )
    datasets.define_max_pixels(flags)


def run(flags, arguments):
    import keras_mlp
    from keras_mlp.export import checks

    console.only(arguments)
    console.require(flags, "model", "output")
    suffix = os.path.splitext(flags.output)[1]
    if suffix not in _WRITERS:
        endings = ", ".join(filter(None, _WRITERS))
        raise console.UsageError(
            f"--output must end in one of {endings}, or have no ending for a SavedModel. Received: {flags.output}"
        )
    if not flags.representative and flags.precision in CALIBRATED:
        flags.representative, _ = runs.data_of(flags.model)
    if flags.precision in CALIBRATED and not flags.representative:
        raise console.UsageError(
            f"--precision={flags.precision} needs --representative, a data set or a folder of images"
        )
    asked = (flags.batch_size, flags.input_dtype, flags.decoding)
    forms = flags.label_map or flags.older_runtimes
    if suffix != ".tflite" and (forms or asked != (1, "float32", "inside")):
        raise console.UsageError(
            "--batch_size, --input_dtype, --label_map, --decoding and --older_runtimes go with a .tflite file"
        )
    if suffix not in (".tflite", ".openvino") and flags.precision != "float32":
        raise console.UsageError("--precision goes with a .tflite file and with OpenVINO's")
    if flags.older_runtimes and flags.precision != "dynamic_int8":
        raise console.UsageError("--older_runtimes goes with --precision=dynamic_int8")
    if flags.frozen and suffix:
        raise console.UsageError("--frozen goes with a SavedModel, a folder without an ending")
    if flags.opset is not None and suffix != ".onnx":
        raise console.UsageError("--opset goes with an .onnx file")
    if (flags.layer_errors or flags.max_accuracy_drop is not None) and (suffix, flags.precision) != (".tflite", "int8"):
        raise console.UsageError("--layer_errors and --max_accuracy_drop go with --precision=int8 and a .tflite file")
    model = models.open_model(flags.model, flags.weights, flags.image_size)
    checks.check_weights(model)  # before images are read
    if flags.fuse and suffix not in (".tflite", ".openvino"):
        model, fusion = keras_mlp.fuse(model, report=True)
        print(
            f"fused: {len(fusion.merges)} merges; parameters: {fusion.parameters_before:,} before, "
            f"{fusion.parameters_after:,} after"
        )
    shape = models.input_shape(model)
    _WRITERS[suffix](flags, model, shape)


def _to_saved_model(flags, model, shape):
    from keras_mlp import export

    preprocessing = models.preprocessing(flags.model, flags.weights)
    names = _names(flags, model)
    options = dict(max_pixels=flags.max_pixels, classes=names, frozen=flags.frozen)
    export.to_saved_model(model, flags.output, preprocessing, shape, **options)
    more = ", classify and labels" if names else ""
    print(f"{flags.output}: SavedModel with the signatures serving_default (pixels {shape}), encoded_images{more}")


def _to_coreml(flags, model, shape):
    from keras_mlp import export

    difference = export.to_coreml(model, flags.output, input_shape=shape, classes=_names(flags, model))
    print(f"{flags.output}: Core ML in float16, takes an image {shape}")
    if difference is None:
        print("not compared with the model: Core ML runs on Apple's machines alone")
    else:
        print(f"compared with the model on random pixels: largest difference {difference:.2g} standard deviations")


def _names(flags, model):
    """Names of the classes of a classifier; `None` where none are known."""
    if not models.has_scores(model):
        return None
    output = models.output_of(flags.model, model, flags.multi_label)
    _, names = models.description(flags.model, flags.weights, model, output)
    return names if names and len(names) == model.output_shape[-1] else None


def _to_onnx(flags, model, shape):
    from keras_mlp import export

    output = segmenters.output_of(model)
    pixels, kind = _pixels(flags, shape, output)
    if output is None and models.has_scores(model):
        output = models.output_of(flags.model, model, flags.multi_label)
    metadata, names = models.description(flags.model, flags.weights, model, output)
    difference = export.to_onnx(
        model,
        flags.output,
        input_shape=shape,
        verify_with=pixels,
        classes=names,
        metadata=metadata,
        opset=flags.opset,
        output=output,
    )
    print(f"{flags.output}: float32, {os.path.getsize(flags.output) / 1e6:.2f} MB, takes float32 {('batch', *shape)}")
    print(
        f"compared with the model on {len(pixels)} {kind} images: largest difference {difference:.2g} standard "
        "deviations of the output"
    )


def _to_openvino(flags, model, shape):
    from keras_mlp import export

    output = _meaning(flags, model)
    pixels, kind = _pixels(flags, shape, output)
    metadata, names = models.description(flags.model, flags.weights, model, output)
    found = export.to_openvino(
        model,
        flags.output,
        flags.precision,
        representative=pixels if flags.precision == "int8" else None,
        input_shape=shape,
        verify_with=pixels,
        classes=names,
        metadata=metadata,
        output=output,
    )
    size = sum(file.stat().st_size for file in pathlib.Path(flags.output).iterdir())
    print(f"{flags.output}: {flags.precision}, fused, {size / 1e6:.2f} MB, takes float32 {('batch', *shape)}")
    print(_compared(found, kind, output))


def _compared(found, kind, output) -> str:
    """What a verification has found, in words."""
    decided, _ = _WORDS[output.kind if output else "exclusive"]
    compared = []
    if found.agreement is not None:
        compared.append(f"the same {decided} for {100 * found.agreement:.1f} %")
    if found.max_difference is not None:
        compared.append(f"largest difference {found.max_difference:.2g} standard deviations of the output")
    return f"compared with the model on {found.images} {kind} images: {', '.join(compared)}"


def _meaning(flags, model):
    """What the output of a segmenter, a detector or a classifier means; `None` for another model."""
    output = segmenters.output_of(model) or detectors.output_of(model)
    if output is None and models.has_scores(model):
        output = models.output_of(flags.model, model, flags.multi_label)
    return output


def _to_tflite(flags, model, shape):
    from keras_mlp import export

    output = _meaning(flags, model)
    pixels, kind = _pixels(flags, shape, output)
    verify_with = pixels
    if flags.max_accuracy_drop is not None:
        verify_with, kind = _labelled(flags, model, shape, output), "evaluation"
    metadata, names = models.description(flags.model, flags.weights, model, output)
    exported = export.to_tflite(
        model,
        flags.output,
        flags.precision,
        representative=pixels if flags.precision in CALIBRATED else None,
        batch_size=flags.batch_size or None,
        input_dtype=flags.input_dtype,
        input_shape=shape,
        verify_with=verify_with,
        classes=names,
        metadata=metadata,
        fuse=flags.fuse is not False,
        max_accuracy_drop=flags.max_accuracy_drop,
        output=output,
        label_map=flags.label_map,
        decoding=flags.decoding,
        older_runtimes=flags.older_runtimes,
    )
    found = exported.verification
    floats = sum(exported.float_operators.values())
    _, measured = _WORDS[output.kind if output else "exclusive"]
    gives = f", gives a label map {(flags.batch_size or 'batch', *output.size)}" if flags.label_map else ""
    print(
        f"{flags.output}: {exported.precision}, {'fused' if exported.fused else 'not fused'}, "
        f"{exported.size_bytes / 1e6:.2f} MB, takes {flags.input_dtype} "
        f"{(flags.batch_size or 'batch', *shape)}{gives}"
    )
    if exported.runtime:
        print(f"needs the TFLite runtime {exported.runtime} or newer")
    print(_compared(found, kind, output))
    if flags.precision in CALIBRATED and floats:
        print(f"{floats} operators compute in floating point: {', '.join(exported.float_operators)}")
    if flags.max_accuracy_drop is not None:
        kept = ", ".join(exported.float_layers) or "none"
        print(f"{measured} {found.tflite_accuracy:.4f}, the model's {found.keras_accuracy:.4f}; kept in float: {kept}")
    if flags.layer_errors:
        errors = export.quantization_errors(model, pixels, shape, fuse=exported.fused)
        rows = [(error.layer, f"{100 * error.error:.2f}", error.operator) for error in errors]
        print(console.table([("layer", "error in %", "in its operator"), *rows], align="<><"))


def _labelled(flags, model, shape, output):
    """Images and labels to measure the accuracy on."""
    from keras_mlp.training.data.multi_label import holds_labels

    if output is None:
        raise ValueError(f"--max_accuracy_drop needs a classifier. {flags.model} gives {model.output_shape}.")
    if output.kind == "segmentation":
        pixels, labels, data = segmenters.labelled_sample(
            flags.representative, "evaluation", flags.samples or IMAGES, shape, flags.max_pixels
        )
        segmenters.check_classes(data, segmenters.class_names(flags.model, model), flags.representative, flags.model)
        return np.rint(pixels), labels
    preprocessing = models.preprocessing(flags.model, flags.weights)
    multi_label = output.kind == "multi_label" or (output.kind == "binary" and holds_labels(flags.representative))
    if models.kind_of_input(shape) == "video":
        count, split = flags.samples or VIDEOS, "evaluation"
        pixels, labels, theirs = videos.labelled_sample(
            flags.representative, split, count, shape, preprocessing, flags.max_pixels
        )
    else:
        pixels, labels, theirs = images.labelled_sample(
            flags.representative, flags.samples or IMAGES, shape, preprocessing, multi_label, flags.max_pixels
        )
    if multi_label and len(theirs) not in (output.classes, output.units):
        raise ValueError(
            f"{flags.representative} has {len(theirs)} classes and {flags.model} tells {output.classes} apart."
        )
    if not (multi_label and len(theirs) == 1):
        known = models.class_names(flags.model, flags.weights, output.classes)
        places = classes.positions(theirs, known, flags.representative, flags.model)
        labels = classes.placed(labels, places, output.classes)
    return np.rint(pixels), labels


def _pixels(flags, shape, output=None):
    """Images to compare on, and what kind they are."""
    if not flags.representative:
        return np.random.default_rng(0).integers(0, 256, (16, *shape)), "random"
    if models.kind_of_input(shape) == "video":
        preprocessing = models.preprocessing(flags.model, flags.weights)
        found = videos.sample(flags.representative, flags.samples or VIDEOS, shape, preprocessing, flags.max_pixels)
        return np.rint(found), "representative"
    count = flags.samples or IMAGES
    if output is not None and output.kind in ("segmentation", "detection"):
        own, split = runs.data_of(flags.model)
        split = split if flags.representative == own else "train"
        task = segmenters if output.kind == "segmentation" else detectors
        found = task.sample(flags.representative, split, count, shape, flags.max_pixels)
    else:
        preprocessing = models.preprocessing(flags.model, flags.weights)
        found = images.sample(flags.representative, count, shape, preprocessing, flags.max_pixels)
    return np.rint(found), "representative"


_WRITERS = {
    ".tflite": _to_tflite,
    ".onnx": _to_onnx,
    ".openvino": _to_openvino,
    ".mlpackage": _to_coreml,
    "": _to_saved_model,
}
