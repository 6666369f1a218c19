"""Does an exported file answer like the model it came from?"""

import dataclasses
import os

import keras
import numpy as np

from keras_mlp.classifiers import Output
from keras_mlp.export.checks import check_weights, checked_images
from keras_mlp.export.portable import is_float32, portable
from keras_mlp.export.runtime import Runner


@dataclasses.dataclass(frozen=True)
class Verification:
    """A .tflite file compared with its Keras model on the same images.

    It says little of a model whose answers do not depend on the image, such as one with a fresh head of zeros.

    Args:
        max_difference: largest difference of an output, in units of the standard deviation of Keras' outputs.
        agreement: share of the images with the same class, of multi-label classifiers share of the same decisions, at
            1/2, over images and classes; `None` where nothing tells that the outputs are a classifier's.
        images: number of images.
        keras_accuracy: share of the Keras model's decisions that are right, in [0, 1]: top-1 accuracy, of multi-label
            classifiers that over images and classes. `None` without labels.
        tflite_accuracy: that of the file.
    """

    max_difference: float
    agreement: float | None
    images: int
    keras_accuracy: float | None = None
    tflite_accuracy: float | None = None


def verify(
    model: keras.Model, path: str | os.PathLike, images, labels=None, output: Output | None = None
) -> Verification:
    """Run a .tflite file and the Keras model it came from on the same images.

    A model under a mixed-precision policy is compared as what was exported: the same weights, computed in float32.

    Args:
        model: the Keras model, with one input and one output.
        path: the file, run with the LiteRT interpreter.
        images: array `(n, height, width, channels)`, in the units `model` takes.
        labels: integer classes `(n,)` or one-hot `(n, classes)`, of multi-label classifiers 0 or 1 `(n, classes)`, to
            compute the accuracy of both.
        output: what the model's output means, where neither its layers nor the loss it is compiled with tell.

    Returns:
        What was found.

    Raises:
        ValueError: the file cannot be run, images or labels do not fit it or each other, or the model has weights that
            are not finite.
    """
    check_weights(model)
    runner = Runner(path)
    images = checked_images("images", images, runner.input_shape[1:])
    output = output or Output.perhaps(model)
    if labels is not None:
        labels = checked_labels(output, model, labels, len(images))
    found = runner(images)
    if not is_float32(model):
        model = portable(model, (None, *runner.input_shape[1:]))
    expected = np.asarray(model.predict(images.astype("float32"), batch_size=32, verbose=0))
    if found.shape != expected.shape:
        raise ValueError(f"{path} answers {found.shape} where the model answers {expected.shape}: is it this model's?")
    decided = output and (output.decisions(expected), output.decisions(found))
    return Verification(
        max_difference=float(np.abs(found - expected).max() / _spread(expected)),
        agreement=float((decided[0] == decided[1]).mean()) if output else None,
        images=len(images),
        keras_accuracy=None if labels is None else float((decided[0] == labels).mean()),
        tflite_accuracy=None if labels is None else float((decided[1] == labels).mean()),
    )


def checked_labels(output: Output | None, model, labels, count: int) -> np.ndarray:
    """Labels in the form of the output's decisions; a `ValueError` where they are none, or the model no classifier."""
    if output is None:
        raise ValueError(f"`labels` need a classifier, which answers (n, classes), not {model.output_shape}.")
    return output.labels(labels, count)


def _spread(outputs):
    """Standard deviation of `outputs`; of outputs that are all alike (a head of zeros), their size."""
    size = np.abs(outputs).max() or 1.0
    spread = outputs.std()
    return spread if spread > 1e-6 * size else size
