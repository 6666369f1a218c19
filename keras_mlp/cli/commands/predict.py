"""Classify image files and the images in folders; with a video model, classify videos.

Folders are searched to the bottom, and links are followed, each folder once. Files that are no images, and broken
ones, are named on the error stream and left out. The exit code is then 1.

For a video model, a folder that holds pictures is one video of these frames, 30 a second. PyAV, which the extra
"video" installs, decodes video files. A video file must hold its frames itself; playlists are refused. A video is
looked at as often as in the test of its model, or as --views says, and gets one prediction. With --window=SECONDS it
gets one for each window, as soon as that is over. "-" is then a video on the standard input, and /dev/video0 a camera:
both are read as long as they last, in the memory of one window. --annotate=FOLDER gets copies of the videos with the
labels in them.

A score is a probability. Of classes that exclude each other, the --top best are named. Where a model gives one score
for two classes, the second comes first if its score is above --threshold. In a multi-label model each class has a
score of its own, and all classes above --threshold are named, which may be none.

When the output is not a terminal, one JSON object a line is written:
{"file": ..., "predictions": [{"class": ..., "id": ..., "score": ...}, ...]}, best first. Windows have their "start" and
"end" in seconds, too.
"""

import dataclasses

import numpy as np
from absl import flags as absl_flags

from keras_mlp.cli import console, datasets, images, models, videos, windows
from keras_mlp.walking import readable

ARGUMENTS = "IMAGE_OR_VIDEO_OR_FOLDER..."


def define_flags(flags):
    absl_flags.DEFINE_string("model", None, models.CLASSIFIER_HELP, flag_values=flags)
    absl_flags.DEFINE_string("weights", None, models.WEIGHTS_HELP, flag_values=flags)
    absl_flags.DEFINE_integer(
        "top",
        None,
        "Classes to name for each, at most; by default 5, and of a multi-label model all that are true.",
        lower_bound=1,
        flag_values=flags,
    )
    models.define_decision_flags(flags)
    absl_flags.DEFINE_integer("batch_size", 8, "Images or clips at a time.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_list("image_size", None, models.SIZE_HELP, flag_values=flags)
    videos.define_views(flags)
    windows.define_flags(flags)
    datasets.define_max_pixels(flags)
    absl_flags.DEFINE_bool("json", False, "Write JSON to a terminal, too.", flag_values=flags)


def run(flags, arguments):
    console.require(flags, "model")
    if not arguments:
        raise console.UsageError("which images or videos? Name files or folders")
    windows.refuse_without(flags, arguments)
    if not images.find(arguments):
        raise ValueError(f"There are no files in {' '.join(arguments)}.")
    classifier = models.open_classifier(
        flags.model, flags.weights, flags.image_size, flags.batch_size, flags.multi_label
    )
    threshold = models.threshold(flags.threshold, classifier)
    as_json = flags.json or not console.for_a_person()
    is_video = classifier.input == "video"
    medium = videos if is_video else images
    files = medium.find(arguments)
    if is_video:
        classifier = dataclasses.replace(classifier, preprocessing=videos.asked(flags, classifier.preprocessing))
    else:
        videos.refuse_for_images(flags, "views", "sampling", "window")
    looks = classifier.preprocessing
    averaged = looks.averaged if is_video else "logits"

    def named(row):
        return [(*classifier.classes[i], float(row[i])) for i in _named(row, classifier, threshold, flags.top)]

    if flags.window is not None:
        return windows.run(flags, classifier, files, named, as_json)
    failed, at_a_time = [], max(1, flags.batch_size // looks.views)
    batches = [files[i : i + at_a_time] for i in range(0, len(files), at_a_time)]
    for batch in console.progress(batches, "Classifying", total=len(batches)):
        pixels, read = [], []
        for file in batch:
            try:
                pixels.append(medium.views(file, classifier.input_shape, looks, flags.max_pixels))
                read.append(file)
            except (OSError, ValueError) as error:
                console.error(f"{readable(file)}: {getattr(error, 'strerror', None) or error}")
                failed.append(file)
        if pixels:
            scores = classifier.scores(np.concatenate(pixels))
            for file, rows in zip(read, np.split(scores, len(pixels)), strict=True):
                _print(file, named(classifier.output.joint(rows, averaged)), as_json)
    return images.exit_code(failed, files)


def _named(scores, classifier, threshold, most):
    """Which classes are named, in which order."""
    kind, order = classifier.output.kind, np.argsort(-scores)
    if kind == "binary":
        order = np.array([1, 0] if scores[1] > threshold else [0, 1])
    if kind == "multi_label":
        return order[scores[order] > threshold][:most]
    return order[: most or 5]


def _print(file, predictions, as_json):
    if as_json:
        rows = [{"class": name, "id": identifier, "score": round(score, 6)} for identifier, name, score in predictions]
        console.print_json({"file": str(file), "predictions": rows})
        return
    print(readable(file))
    rows = [
        (f"{100 * score:.1f} %", name, "" if identifier == name else identifier)
        for identifier, name, score in predictions
    ]
    print(console.table(rows, align=">", indent="  ") if rows else "  none of the classes")
