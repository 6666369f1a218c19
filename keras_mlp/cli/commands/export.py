"""Export a model to a .tflite file, for LiteRT on phones and small devices, and compare it with the model.

The file is run by LiteRT on the representative images, or on random ones where there are none; if it does not answer
like the model, none is written.
"""

import numpy as np
from absl import flags as absl_flags

from keras_mlp.cli import console, images, models

ARGUMENTS = ""
PRECISIONS = ("float32", "float16", "dynamic_int8", "int8")


def define_flags(flags):
    absl_flags.DEFINE_string("model", None, models.MODEL_HELP, flag_values=flags)
    absl_flags.DEFINE_string("weights", None, models.WEIGHTS_HELP, flag_values=flags)
    absl_flags.DEFINE_string("output", None, "The .tflite file to write. Required.", flag_values=flags)
    absl_flags.DEFINE_enum(
        "precision",
        "float32",
        PRECISIONS,
        "Numbers in the file; dynamic_int8 has weights in eight bits, int8 weights and activations.",
        flag_values=flags,
    )
    absl_flags.DEFINE_string(
        "representative",
        None,
        "Data set or folder of images like those the file will see; int8 needs it, to measure the activations' ranges.",
        flag_values=flags,
    )
    absl_flags.DEFINE_integer(
        "samples", 200, "How many representative images to take.", lower_bound=1, flag_values=flags
    )
    absl_flags.DEFINE_integer("batch_size", 1, "Images in a call of the file.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_enum(
        "input_dtype",
        "float32",
        ("float32", "uint8", "int8"),
        "What the file takes; uint8 is pixels as bytes.",
        flag_values=flags,
    )
    absl_flags.DEFINE_list("image_size", None, models.SIZE_HELP, flag_values=flags)


def run(flags, arguments):
    from keras_mlp import export

    console.only(arguments)
    console.require(flags, "model", "output")
    if flags.precision == "int8" and not flags.representative:
        raise console.UsageError("--precision=int8 needs --representative, a data set or a folder of images")
    if not flags.output.endswith(".tflite"):
        raise console.UsageError(f"--output must end in .tflite. Received: {flags.output}")
    model = models.open_model(flags.model, flags.weights, flags.image_size)
    shape = models.input_shape(model)
    if flags.representative:
        models.refuse_videos(flags.model, shape)
        preprocessing = models.preprocessing(flags.model, flags.weights)
        pixels = np.rint(images.sample(flags.representative, flags.samples, shape, preprocessing))
    else:
        pixels = np.random.default_rng(0).integers(0, 256, (16, *shape))
    exported = export.to_tflite(
        model,
        flags.output,
        flags.precision,
        representative=pixels if flags.precision == "int8" else None,
        batch_size=flags.batch_size,
        input_dtype=flags.input_dtype,
        input_shape=shape,
        verify_with=pixels,
    )
    found = exported.verification
    floats = sum(exported.float_operators.values())
    print(
        f"{flags.output}: {exported.precision}, {exported.size_bytes / 1e6:.2f} MB, takes "
        f"{flags.input_dtype} {(flags.batch_size, *shape)}"
    )
    print(
        f"compared with the model on {found.images} {'representative' if flags.representative else 'random'} images: "
        f"the same class for {100 * found.agreement:.1f} %, largest difference {found.max_difference:.2g} standard "
        "deviations of the answers"
    )
    if flags.precision == "int8" and floats:
        print(f"{floats} operators compute in floating point: {', '.join(exported.float_operators)}")
