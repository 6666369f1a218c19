"""Does an exported file compute like the model that it came from?"""

import dataclasses
import os

import keras
import numpy as np

from keras_mlp.classifiers import BoxOutput
from keras_mlp.export.checks import check_weights, checked_images
from keras_mlp.export.detections import as_detections
from keras_mlp.export.outputs import (
    Difference,
    Meaning,
    by_name,
    inference_part,
    largest,
    meanings,
    names_of,
    only_meaning,
)
from keras_mlp.export.portable import is_float32, portable
from keras_mlp.export.runners import runner as opened
from keras_mlp.export.runtime import Runner

_PORTION = 2**26  # numbers of an output that are compared at a time
_IMAGES = 32  # and images


@dataclasses.dataclass(frozen=True)
class Verification:
    """A .tflite file, or OpenVINO's, compared with its Keras model on the same images.

    It says little of a model whose output does not depend on the image, such as one with a fresh head of zeros.

    Args:
        max_difference: largest difference of an output, in units of the standard deviation of Keras' outputs; `None`
            where the file gives classes of pixels instead of their logits, and of detectors.
        agreement: share of the images with the same class; of segmenters, share of the pixels with the same class; of
            multi-label classifiers share of the same decisions, at 1/2, over images and classes; of detectors, share of
            the model's detections of a score of at least 0.3 for which the file has one of the same class that overlaps
            it by half. `None` where there are none, and where nothing
            tells that the outputs are of one of these. Of several in one model it is the smallest.
        images: number of images.
        keras_accuracy: share of the Keras model's decisions that are right, in [0, 1]: top-1 accuracy, of multi-label
            classifiers that over images and classes, of segmenters that over pixels that are not void. `None` without
            labels.
        tflite_accuracy: that of the file.
        differences: `max_difference` of each output by its name, of a model with a dictionary of them; else `None`.
    """

    max_difference: float | None
    agreement: float | None
    images: int
    keras_accuracy: float | None = None
    tflite_accuracy: float | None = None
    differences: dict[str, float] | None = None

    @property
    def worst(self) -> str | None:
        """Name of the output that differs most; `None` where the outputs have no names."""
        return None if self.differences is None else largest(self.differences)


def verify(
    model: keras.Model, path: str | os.PathLike, images, labels=None, output: Meaning | None = None
) -> Verification:
    """Run an exported file and the Keras model it came from on the same images.

    A model under a mixed-precision policy is compared as what was exported: the same weights, computed in float32.
    Auxiliary outputs are left out, as they are of files.

    Args:
        model: the Keras model, with one input and one output or a dictionary of outputs, which are then compared by
            name, each in units of its own standard deviation.
        path: a .tflite file, run with the LiteRT interpreter, or a folder of `to_openvino`, run with OpenVINO.
        images: array `(n, height, width, channels)`, in the units `model` takes.
        labels: integer classes `(n,)` or one-hot `(n, classes)`, of multi-label classifiers 0 or 1 `(n, classes)`, of
            segmenters `(n, height, width)` with 255 for void, to compute the accuracy of both.
        output: what the model's output means, where neither its layers nor the loss it is compiled with tell.

    Returns:
        What was found.

    Raises:
        ValueError: the file cannot be run, images or labels do not fit it or each other, or the model has weights that
            are not finite.
    """
    check_weights(model)
    runner = opened(path)
    images = checked_images("images", images, runner.input_shape[1:])
    model = inference_part(model)
    output = only_meaning(model, output)
    if labels is not None:
        labels = checked_labels(output, model, labels, len(images))
    detector = isinstance(output, BoxOutput)
    kinds = {"": output} if detector or not names_of(model) else meanings(model)
    compared, detections = {name: _Compared(kind) for name, kind in kinds.items()}, _Share()
    if not is_float32(model):
        model = portable(model, (None, *runner.input_shape[1:]))
    size = _portion(model, runner)
    for start in range(0, len(images), size):
        there = slice(start, start + size)
        found = by_name(runner(images[there]))
        expected = by_name(model.predict(images[there].astype("float32"), batch_size=_IMAGES, verbose=0))
        if found.keys() != expected.keys() and not (detector and "valid" in found):
            raise ValueError(f"{path} has {_named(found)} where the model has {_named(expected)}: is it this model's?")
        if detector:
            found = as_detections(found, runner.input_shape[1:3]) if "valid" in found else found
            detections.update(output.same(expected, found))
            continue
        for name, wanted in expected.items():
            compared[name].update(path, name, found[name], wanted, None if labels is None else labels[there])
    if detector:
        return Verification(None, detections.mean if detections.count else None, len(images))
    differences = {name: one.difference.value for name, one in compared.items() if not one.decided_inside}
    return Verification(
        max_difference=differences[largest(differences)] if differences else None,
        agreement=min((one.same.mean for one in compared.values() if one.kind), default=None),
        images=len(images),
        keras_accuracy=None if labels is None else compared[""].right.mean,
        tflite_accuracy=None if labels is None else compared[""].right_in_file.mean,
        differences=None if "" in compared else differences,
    )


def accuracy(runner: Runner, output: Meaning, images, labels) -> float:
    """Share of the file's decisions that are right.

    Args:
        runner: the file.
        output: what its output means.
        images, labels: as `verify` takes them.
    """
    right = _Share()
    for start in range(0, len(images), _IMAGES):
        there = slice(start, start + _IMAGES)
        right.update(output.correct(runner(images[there]), labels[there]))
    return right.mean


class _Compared:
    """What is known so far of an output of the model and of its file.

    Args:
        kind: what it means, or `None`.
    """

    def __init__(self, kind):
        self.kind, self.decided_inside, self.difference = kind, False, Difference()
        self.same, self.right, self.right_in_file = _Share(), _Share(), _Share()

    def update(self, path, name, found, expected, labels):
        self.decided_inside = self.kind is not None and found.shape == expected.shape[:-1] != (len(expected),)
        if found.shape != expected.shape and not self.decided_inside:
            which = f" for {name!r}" * bool(name)
            raise ValueError(
                f"{path} gives {found.shape}{which} where the model gives {expected.shape}: is it this model's?"
            )
        if not self.decided_inside:
            self.difference.update(found, expected)
        if self.kind:
            self.same.update(self.kind.decisions(expected) == self.kind.decisions(found))
        if labels is not None:
            self.right.update(self.kind.correct(expected, labels))
            self.right_in_file.update(self.kind.correct(found, labels))


class _Share:
    """How many of some decisions are such."""

    def __init__(self):
        self.such = self.count = 0

    def update(self, decisions):
        self.such, self.count = self.such + int(decisions.sum()), self.count + decisions.size

    @property
    def mean(self) -> float:
        return self.such / self.count if self.count else float("nan")


def _portion(model, runner) -> int:
    """How many images are compared at a time: as many as a batch of the file, and no more than memory holds."""
    numbers = sum(int(np.prod([side or 1 for side in output.shape[1:]])) for output in model.outputs)
    batch = runner.input_shape[0] or 1
    return max(1, min(_IMAGES, _PORTION // max(numbers, 1)) // batch) * batch


def _named(outputs) -> str:
    """The names of outputs, for messages."""
    return "one output without a name" if "" in outputs else f"the outputs {', '.join(map(repr, outputs))}"


def checked_labels(output: Meaning | None, model, labels, count: int) -> np.ndarray:
    """Labels in the form of the output's decisions; a `ValueError` where they are none, or nothing is decided."""
    if output is None:
        raise ValueError(
            "`labels` need a classifier, whose output is (n, classes), or a segmenter of keras_mlp.tasks. Received a "
            f"model that gives {model.output_shape}."
        )
    return output.labels(labels, count)
