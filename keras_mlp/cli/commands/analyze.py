"""Look into models, and compare what they see: pictures, and the numbers behind them.

WHAT is one of:

receptive_field: the pixels that can reach the centre of a map at all, after the first block, each stage and the last.

effective_field: how much each pixel counts for it, over real images, and the square that holds 20, 30, 50 and 99 %.

similarity: how alike the blocks of a model are to each other, or to those of a second model (linear CKA).

robustness: the class that a model sees in images that were compressed, blurred, made noisy or dark, cropped and
rotated, in steps.

attribution: where a classifier looks on the images of --images (Grad-CAM and occlusion).

mixing: what token mixing has learnt and what it makes of the first of --images, as pictures: weights of MLPs, gates and
windows, generated matrices, phases, relative positions, routes to experts, attention maps. Models of videos look at a
clip, "moving_digits" by default.

complexity: how parameters and multiply-adds of the token mixing alone grow with the map, which weights it shares, and
what a survey tells of it. In place of MODEL stand names of families, by default of all.

resolution: accuracy, and agreement with the own size, on images of other sizes: with resampled weights, with position
embeddings as ViT's authors resize them, with resized maps as RaftMLP's do it, with the image resized, and with --epochs
after fine-tuning. --images is "digits" here by default.

costs: what models cost against their published accuracy, as costs.html, which is one interactive file, and costs.png.
MODEL may be a pattern here, as of `keras-mlp list`. --measure times the models on this machine, too.

MODEL is a name (`keras-mlp list`) or a .keras file. OUTPUT gets WHAT.png, and WHAT.json with the numbers; for several
images or models of which each has a picture of its own, one picture each.

When the output is not a terminal, the numbers are written as one JSON object a line, too.
"""

import json
import pathlib

from absl import flags as absl_flags

from keras_mlp import files
from keras_mlp.cli import console, datasets, models
from keras_mlp.cli.analyses import BY_NAME, WHAT

ARGUMENTS = "WHAT MODEL..."


def define_flags(flags):
    absl_flags.DEFINE_string("output", None, "Folder for pictures and numbers. Required.", flag_values=flags)
    absl_flags.DEFINE_string("weights", None, models.WEIGHTS_HELP, flag_values=flags)
    absl_flags.DEFINE_list("image_size", None, models.SIZE_HELP, flag_values=flags)
    absl_flags.DEFINE_string(
        "images",
        None,
        'What is looked at: a file, a folder, or a data set. "photos" are crops of the photographs that scikit-learn '
        "ships, the default. Robustness and resolution measure accuracy on a data set, and on a folder of one folder "
        "for each class.",
        flag_values=flags,
    )
    absl_flags.DEFINE_integer("count", 32, "Images to look at, at most.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_string("layer", None, "Block or layer to look at, such as stages_0_0.", flag_values=flags)
    absl_flags.DEFINE_integer(
        "label", None, "For attribution: number of the class; by default the first.", flag_values=flags
    )
    absl_flags.DEFINE_bool(
        "statistics",
        False,
        "For receptive_field: count averages over the whole map, in norms and gates, as connections.",
        flag_values=flags,
    )
    absl_flags.DEFINE_multi_enum(
        "measure",
        [],
        ("keras", "tflite"),
        "For costs: what is measured on this machine, with random weights: images a second in Keras; or milliseconds, "
        "size and memory of .tflite files. May be given twice.",
        flag_values=flags,
    )
    absl_flags.DEFINE_list(
        "sizes",
        None,
        "For resolution: sides of the images in pixels; by default the own side times 0.5 to 2, as the model takes it.",
        flag_values=flags,
    )
    absl_flags.DEFINE_integer(
        "epochs", 0, "For resolution: epochs of fine-tuning at each size; 0 for none.", lower_bound=0, flag_values=flags
    )
    datasets.define_max_pixels(flags)
    absl_flags.DEFINE_bool("json", False, "Write JSON to a terminal, too.", flag_values=flags)


def run(flags, arguments):
    if not arguments or arguments[0] not in WHAT:
        raise console.UsageError(
            f"WHAT must be one of {', '.join(WHAT)}. Received: {arguments[0] if arguments else ''}"
        )
    what, *names = arguments
    if not names and what != "complexity":
        raise console.UsageError("which model?")
    console.require(flags, "output")
    if what == "similarity" and len(names) > 2:
        raise console.UsageError("similarity compares one model with itself, or two")
    if len(set(names)) < len(names):
        raise console.UsageError("a model is named twice")
    if what in BY_NAME:
        opened = BY_NAME[what](names)
    else:
        opened = {name: models.open_model(name, flags.weights, flags.image_size) for name in names}
        for name, model in opened.items():
            if what != "mixing":
                models.refuse_videos(name, models.input_shape(model))
    output = pathlib.Path(flags.output)
    output.mkdir(parents=True, exist_ok=True)
    rows = WHAT[what](opened, flags, output)
    with files.atomic_path(output / f"{what}.json") as temporary:
        pathlib.Path(temporary).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if flags.json or not console.for_a_person():
        for row in rows:
            console.print_json(row)
    else:
        print(console.table([list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]))
        print(f"\nPictures and numbers are in {output}.")


def _cell(value):
    return f"{value:.3g}" if isinstance(value, float) else value
