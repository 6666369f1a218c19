"""Classify image files and the images in folders.

Folders are searched to the bottom; what is no image, or a broken one, is named on the error stream and left out, and
the exit code is then 1. When the output is not a terminal, one JSON object a line is written:
{"file": ..., "predictions": [{"class": ..., "id": ..., "score": ...}, ...]}, best first.
"""

import numpy as np
from absl import flags as absl_flags

from keras_mlp.cli import console, images, models

ARGUMENTS = "IMAGE_OR_FOLDER..."


def define_flags(flags):
    absl_flags.DEFINE_string("model", None, models.MODEL_HELP.replace(".keras", ".keras or .tflite"), flag_values=flags)
    absl_flags.DEFINE_string("weights", None, models.WEIGHTS_HELP, flag_values=flags)
    absl_flags.DEFINE_integer("top", 5, "Classes to name for each image.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_integer("batch_size", 8, "Images at a time.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_list("image_size", None, models.SIZE_HELP, flag_values=flags)
    absl_flags.DEFINE_bool("json", False, "Write JSON to a terminal, too.", flag_values=flags)


def run(flags, arguments):
    console.require(flags, "model")
    if not arguments:
        raise console.UsageError("which images? Name files or folders")
    files = images.find(arguments)
    if not files:
        raise ValueError(f"There are no files in {' '.join(arguments)}.")
    classifier = models.open_classifier(flags.model, flags.weights, flags.image_size, flags.batch_size)
    failed = 0
    batches = [files[i : i + flags.batch_size] for i in range(0, len(files), flags.batch_size)]
    for batch in console.progress(batches, "Classifying", total=len(batches)):
        pixels = {}
        for file in batch:
            try:
                pixels[file] = images.read(file, classifier.input_shape, classifier.preprocessing)
            except (OSError, ValueError) as error:
                console.error(f"{file}: {getattr(error, 'strerror', None) or error}")
                failed += 1
        if pixels:
            scores = classifier.scores(np.stack(list(pixels.values())))
            for file, row in zip(pixels, scores, strict=True):
                best = [(*classifier.classes[i], float(row[i])) for i in np.argsort(-row)[: flags.top]]
                _print(file, best, flags.json or not console.for_a_person())
    if failed:
        console.error(f"{failed} of {len(files)} files could not be read")
        return 1


def _print(file, predictions, as_json):
    if as_json:
        rows = [{"class": name, "id": identifier, "score": round(score, 6)} for identifier, name, score in predictions]
        console.print_json({"file": str(file), "predictions": rows})
        return
    print(file)
    rows = [
        (f"{100 * score:.1f} %", name, "" if identifier == name else identifier)
        for identifier, name, score in predictions
    ]
    print(console.table(rows, align=">", indent="  "))
