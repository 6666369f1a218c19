"""Measure a classifier on a data set.

Prints top-1 and top-5 accuracy; one JSON object when the output is not a terminal.
"""

import numpy as np
from absl import flags as absl_flags

from keras_mlp.cli import console, datasets, models

ARGUMENTS = ""


def define_flags(flags):
    absl_flags.DEFINE_string("model", None, models.MODEL_HELP.replace(".keras", ".keras or .tflite"), flag_values=flags)
    absl_flags.DEFINE_string("weights", None, models.WEIGHTS_HELP, flag_values=flags)
    absl_flags.DEFINE_string("dataset", None, f"{datasets.DATASET_HELP} Required.", flag_values=flags)
    absl_flags.DEFINE_string(
        "split",
        "evaluation",
        'Part of the data set, as "test"; "evaluation" is the one made for it.',
        flag_values=flags,
    )
    absl_flags.DEFINE_integer("batch_size", 32, "Images at a time.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_list("image_size", None, models.SIZE_HELP, flag_values=flags)
    absl_flags.DEFINE_string("data_dir", None, datasets.DATA_DIR_HELP, flag_values=flags)
    absl_flags.DEFINE_bool("json", False, "Write JSON to a terminal, too.", flag_values=flags)


def run(flags, arguments):
    console.only(arguments)
    console.require(flags, "model", "dataset")
    classifier = models.open_classifier(flags.model, flags.weights, flags.image_size, flags.batch_size)
    models.refuse_videos(flags.model, classifier.input_shape)
    *size, channels = classifier.input_shape
    data = datasets.load(
        flags.dataset,
        flags.split,
        image_size=size,
        channels=channels,
        batch_size=flags.batch_size,
        preprocessing=classifier.preprocessing,
        data_dir=flags.data_dir,
    )
    if len(data.classes) != len(classifier.classes):
        raise ValueError(
            f"{flags.dataset} has {len(data.classes)} classes and {flags.model} tells {len(classifier.classes)} apart."
        )
    batches = console.progress(data.dataset.as_numpy_iterator(), "Evaluating", total=data.steps)
    ranks = np.concatenate([_ranks(classifier.scores(images), labels) for images, labels in batches])
    if data.broken:
        data.broken.check()
        console.error(str(data.broken))
    result = {"images": len(ranks), "top1": float(np.mean(ranks < 1))}
    if len(data.classes) > 5:
        result["top5"] = float(np.mean(ranks < 5))
    if flags.json or not console.for_a_person():
        console.print_json(result)
    else:
        shares = ", ".join(f"{name.replace('top', 'top-')} {100 * result[name]:.2f} %" for name in list(result)[1:])
        print(f"{shares} of {len(ranks)} images of {flags.dataset} ({flags.split})")


def _ranks(scores, labels) -> np.ndarray:
    """How many classes score higher than the true one; ties count against the model."""
    truth = np.take_along_axis(scores, labels.argmax(-1)[:, np.newaxis], axis=1)
    return (scores >= truth).sum(axis=1) - 1
