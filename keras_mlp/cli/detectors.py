"""Detectors for the subcommands: in .keras and .tflite files, with their classes, and measured on images with boxes."""

import math
import pathlib

import numpy as np

from keras_mlp.cli import console, datasets, images, models, segmenters
from keras_mlp.training.data.source import MAX_PIXELS


def perhaps(model: str, image_size: list[str] | None = None):
    """The detector in a .keras or .tflite file; `None` for a model by name, and for a file with something else.

    Args:
        model: how the command was given it.
        image_size: see `models.open_model`; not for a .tflite file.
    """
    if model.endswith(".tflite"):
        from keras_mlp import tasks

        return models.exported(model, "detection", tasks.ExportedDetector, image_size)
    if not (models.is_file(model) and model.endswith(".keras")):
        return None
    opened = models.open_model(model, None, image_size)
    found = opened.output
    return opened if isinstance(found, dict) and {"boxes", "labels", "scores"} <= set(found) else None


def class_names(path: str, detector=None) -> list[str] | None:
    """Names of a detector's classes, as a .tflite file or classes.txt beside it tells; `None` where neither does."""
    if told := getattr(detector, "names", None):
        return told
    beside = pathlib.Path(path).expanduser().with_name("classes.txt")
    return beside.read_text(encoding="utf-8").splitlines() if beside.is_file() else None


def output_of(model):
    """What a Keras model gives, if it is a detector: a `keras_mlp.classifiers.BoxOutput`, else `None`."""
    from keras_mlp.classifiers import BoxOutput

    return BoxOutput.perhaps(model)


def sample(name: str, split: str, count: int, shape: tuple[int, int, int], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Some images as a detector sees them, evenly spaced: pixels 0–255, float32 `(n, *shape)`.

    Args:
        name: a data set with boxes, or a folder of photos.
        split: part of the data set.
        count: how many images, at most.
        shape, max_pixels: see `images.read`.
    """
    from keras_mlp.tasks.detection import inference, sources
    from keras_mlp.tasks.images import pixels

    *size, channels = shape
    folder = pathlib.Path(name)
    if folder.is_dir() and not sources.holds_boxes(folder):

        def read(file):
            return inference.fitted(pixels(images.decode(file, max_pixels), channels), size, None, size)[0]

        return np.stack(images.some(name, count, read))
    options = dict(image_size=size, channels=channels, batch_size=count, max_pixels=max_pixels)
    data = datasets.load_boxes(name, split, **options)
    return np.stack([image for image, _ in datasets.evenly(data, count)])


def evaluate(flags, model):
    """Measure a detector as `keras-mlp evaluate` does, and print COCO's numbers."""
    from keras_mlp import tasks

    *size, channels = models.input_shape(model)
    options = dict(image_size=size, channels=channels, batch_size=flags.batch_size, max_pixels=flags.max_pixels)
    masks = "masks" in model.output
    data = datasets.load_boxes(flags.dataset, flags.split, masks=masks, data_dir=flags.data_dir, **options)
    segmenters.check_classes(data, class_names(flags.model, model) or data.classes, flags.dataset, flags.model)
    scores = tasks.evaluate(model, data, verbose=int(console.for_a_person()))
    if flags.json or not console.for_a_person():
        return console.print_json({"images": data.examples} | {kind: _plain(data, scores[kind]) for kind in scores})
    for kind, values in scores.items():
        print(f"{kind} in {data.examples} images of {flags.dataset} ({flags.split})")
        rows = {name: value for name, value in values.items() if name != "by class"}
        rows |= {f"AP of {name}": ap for name, ap in zip(data.classes, values["by class"], strict=True)}
        shown = [(name, "-" if math.isnan(value) else f"{100 * value:.1f} %") for name, value in rows.items()]
        print(console.table(shown, align="<>", indent="  "))


def _plain(data, scores) -> dict:
    """As JSON has it: null for what no annotation is of."""

    def known(values):
        return {name: None if math.isnan(value) else float(value) for name, value in values.items()}

    by_class = dict(zip(data.classes, scores["by class"], strict=True))
    return known({name: value for name, value in scores.items() if name != "by class"}) | {"by class": known(by_class)}
