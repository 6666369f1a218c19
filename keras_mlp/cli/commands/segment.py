"""Tell the classes of the pixels of image files, and of the images in folders.

OUTPUT gets for each image NAME.png, the image with its classes in colours and a legend, and NAME_labels.png, the
numbers of the classes as a PNG with a palette, both at the image's own size. Images of any size are taken. A model of
one input size looks at larger ones in windows.

When the output is not a terminal, one JSON object a line is written: {"file": ..., "classes": {"name": share, ...}},
the shares of the pixels, largest first.
"""

import pathlib

import numpy as np
from absl import flags as absl_flags

from keras_mlp.cli import console, datasets, images, segmenters
from keras_mlp.walking import readable

ARGUMENTS = "IMAGE_OR_FOLDER..."


def define_flags(flags):
    absl_flags.DEFINE_string("model", None, "A .keras or .tflite file of a segmenter. Required.", flag_values=flags)
    absl_flags.DEFINE_string("output", None, "Folder for the pictures. Required.", flag_values=flags)
    segmenters.define_views(flags)
    datasets.define_max_pixels(flags)
    absl_flags.DEFINE_bool("json", False, "Write JSON to a terminal, too.", flag_values=flags)


def run(flags, arguments):
    from keras_mlp import tasks

    console.require(flags, "model", "output")
    files = images.named(arguments)
    model = segmenters.perhaps(flags.model)
    if model is None:
        raise ValueError(f"{flags.model} is no segmenter. Train one with --task=segmentation.")
    names = segmenters.class_names(flags.model, model)
    options = segmenters.views(flags, model)
    output = pathlib.Path(flags.output)
    output.mkdir(parents=True, exist_ok=True)
    failed = []
    for _, file, stem, pixels in images.decoded(files, "Segmenting", flags.max_pixels, failed):
        labels = tasks.segment(model, pixels, **options)
        images.save(tasks.draw(pixels, labels, names), output / f"{stem}.png")
        images.save(_as_palette(labels), output / f"{stem}_labels.png")
        shares = np.bincount(labels.reshape(-1), minlength=len(names)) / labels.size
        _print(file, {names[i]: float(shares[i]) for i in np.argsort(-shares) if shares[i]}, flags)
    return images.exit_code(failed, files)


def _as_palette(labels):
    from PIL import Image

    from keras_mlp.tasks.colours import colours

    picture = Image.fromarray(labels.astype("uint8"), "P")
    picture.putpalette(colours().reshape(-1).tolist())
    return picture


def _print(file, shares, flags):
    if flags.json or not console.for_a_person():
        console.print_json({"file": str(file), "classes": {name: round(share, 6) for name, share in shares.items()}})
        return
    print(readable(file))
    print(console.table([(f"{100 * share:.1f} %", name) for name, share in shares.items()], align=">", indent="  "))
