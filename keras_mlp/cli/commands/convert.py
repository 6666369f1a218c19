"""Convert a published checkpoint to a file with this package's own tensor names.

SOURCE is a file of any format that `keras_mlp.load_checkpoint` reads (.npz, .safetensors, .pth, .weights.h5), or an
address on the Hugging Face Hub (hf://owner/name, with @revision and /file if need be), made for the model MODEL. It is
loaded strictly first: every tensor used, every weight set. The result is loaded with `weights="FILE"`.
"""

import os
import pathlib

from absl import flags as absl_flags

from keras_mlp.cli import console

ARGUMENTS = "SOURCE"
SUFFIXES = (".safetensors", ".weights.h5")


def define_flags(flags):
    absl_flags.DEFINE_string("model", None, "Name of the model that the file is for. Required.", flag_values=flags)
    absl_flags.DEFINE_string("output", None, f"File to write, {' or '.join(SUFFIXES)}. Required.", flag_values=flags)
    absl_flags.DEFINE_integer(
        "classes", None, "Outputs of the classifier; by default what the file says.", lower_bound=1, flag_values=flags
    )
    absl_flags.DEFINE_list(
        "image_size",
        None,
        "Height and width in pixels that the file was trained at, where they are not the model's.",
        flag_values=flags,
    )
    absl_flags.DEFINE_string(
        "key", None, 'Where the tensors are in a training checkpoint, as "model_ema".', flag_values=flags
    )


def run(flags, arguments):
    import keras_mlp
    from keras_mlp import files
    from keras_mlp.checkpoints import hub, layouts, load, readers
    from keras_mlp.cli import models

    console.only(arguments, 1)
    if not arguments:
        raise console.UsageError("which file is to be converted?")
    console.require(flags, "model", "output")
    if not flags.output.endswith(SUFFIXES):
        raise console.UsageError(f"--output must end in {' or '.join(SUFFIXES)}. Received: {flags.output}")
    (source,) = arguments
    card = keras_mlp.model_card(flags.model)
    of_hub = hub.find(source)
    path = of_hub.path if of_hub else source
    checkpoint = readers.read(path, key=flags.key)
    classes = flags.classes or models.head_size(path, card.family, flags.key)
    model = models.open_model(flags.model, "none", flags.image_size, classes=classes)
    report = keras_mlp.load_checkpoint(model, of_hub or source, key=flags.key, family=card.family)
    if report.resampled:
        raise ValueError(
            f"{source} was trained at another input size than {'×'.join(map(str, model.inputs[0].shape[-3:-1]))}: "
            "name it with --image_size, so that nothing is resampled."
        )
    if flags.output.endswith(".weights.h5"):
        with files.atomic_path(flags.output) as temporary:
            model.save_weights(temporary)
    else:
        family, _, layout = report.layout.partition("/")
        known = layouts.REGISTRY.get(family, {}).get(layout)
        told = {"activation": known.activation if known else checkpoint.metadata.get("activation")}
        told |= {"family": card.family, "model": card.name, "source": source if of_hub else pathlib.Path(source).name}
        load.save_checkpoint(model, flags.output, **{name: value for name, value in told.items() if value})
    print(
        f"{source}: {checkpoint.format}, layout {report.layout}, {len(checkpoint.tensors)} tensors, "
        f"{model.output_shape[-1]} classes"
    )
    print(f"{flags.output}: {len(report.loaded)} variables, {os.path.getsize(flags.output) / 1e6:.1f} MB")
