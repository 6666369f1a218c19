"""Classify image files and the images in folders, or with a video model videos.

Folders are searched to the bottom; what is no image, or a broken one, is named on the error stream and left out, and
the exit code is then 1. A folder that holds pictures is one video, with these as its frames, 30 a second; a video file
is decoded by PyAV, which the extra "video" installs. A video is looked at as often as its model was tested, and gets
one answer. When the output is not a terminal, one JSON object a line is written:
{"file": ..., "predictions": [{"class": ..., "id": ..., "score": ...}, ...]}, best first.
"""

import numpy as np
from absl import flags as absl_flags

from keras_mlp.cli import console, images, models, videos

ARGUMENTS = "IMAGE_OR_VIDEO_OR_FOLDER..."


def define_flags(flags):
    absl_flags.DEFINE_string("model", None, models.MODEL_HELP.replace(".keras", ".keras or .tflite"), flag_values=flags)
    absl_flags.DEFINE_string("weights", None, models.WEIGHTS_HELP, flag_values=flags)
    absl_flags.DEFINE_integer("top", 5, "Classes to name for each.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_integer("batch_size", 8, "Images or clips at a time.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_list("image_size", None, models.SIZE_HELP, flag_values=flags)
    absl_flags.DEFINE_bool("json", False, "Write JSON to a terminal, too.", flag_values=flags)


def run(flags, arguments):
    console.require(flags, "model")
    if not arguments:
        raise console.UsageError("which images or videos? Name files or folders")
    if not images.find(arguments):
        raise ValueError(f"There are no files in {' '.join(arguments)}.")
    classifier = models.open_classifier(flags.model, flags.weights, flags.image_size, flags.batch_size)
    medium = videos if classifier.input == "video" else images
    files = medium.find(arguments)
    failed, at_a_time = 0, max(1, flags.batch_size // classifier.preprocessing.views)
    batches = [files[i : i + at_a_time] for i in range(0, len(files), at_a_time)]
    for batch in console.progress(batches, "Classifying", total=len(batches)):
        pixels = {}
        for file in batch:
            try:
                pixels[file] = medium.views(file, classifier.input_shape, classifier.preprocessing)
            except (OSError, ValueError) as error:
                console.error(f"{file}: {getattr(error, 'strerror', None) or error}")
                failed += 1
        if pixels:
            scores = classifier.scores(np.concatenate(list(pixels.values())))
            for file, rows in zip(pixels, np.split(scores, len(pixels)), strict=True):
                row = _joint(rows)
                best = [(*classifier.classes[i], float(row[i])) for i in np.argsort(-row)[: flags.top]]
                _print(file, best, flags.json or not console.for_a_person())
    if failed:
        console.error(f"{failed} of {len(files)} files could not be read")
        return 1


def _joint(rows):
    """The answer to all views of one file: as if their logits were averaged, which is how video models are tested."""
    logits = np.log(np.maximum(rows, 1e-30)).mean(axis=0)
    return rows[0] if len(rows) == 1 else np.exp(logits) / np.exp(logits).sum()


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
