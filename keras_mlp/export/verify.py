"""Does an exported file answer like the model it came from?"""

import dataclasses
import os

import keras
import numpy as np

from keras_mlp.export.portable import is_float32, portable
from keras_mlp.export.runtime import Runner


@dataclasses.dataclass(frozen=True)
class Verification:
    """A .tflite file compared with its Keras model on the same images.

    It says little of a model whose answers do not depend on the image, such as one with a fresh head of zeros.

    Args:
        max_difference: largest difference of an output, in units of the standard deviation of Keras' outputs.
        agreement: share of the images with the same top-1 class, or `None` where the outputs are not `(n, classes)`.
        images: number of images.
        keras_accuracy: top-1 accuracy of the Keras model in [0, 1], or `None` without labels.
        tflite_accuracy: top-1 accuracy of the file in [0, 1], or `None` without labels.
    """

    max_difference: float
    agreement: float | None
    images: int
    keras_accuracy: float | None = None
    tflite_accuracy: float | None = None


@dataclasses.dataclass(frozen=True)
class Limit:
    """How far a file may be from its model, in the units of `Verification`.

    Args:
        max_difference: largest difference allowed.
        agreement: smallest agreement allowed.
    """

    max_difference: float
    agreement: float

    def admits(self, found: Verification) -> bool:
        """Whether `found` is within the limit; a difference that is not a number never is."""
        return found.max_difference <= self.max_difference and (
            found.agreement is None or found.agreement >= self.agreement
        )


# float32 differs by the order of its sums alone. Eight bits move single outputs far, most of all probabilities near a
# tie, so there it is the agreement that tells a good file from a broken one.
LIMITS = {
    "float32": Limit(max_difference=1e-4, agreement=0.99),
    "float16": Limit(max_difference=3e-2, agreement=0.98),
    "dynamic_int8": Limit(max_difference=1.0, agreement=0.9),
    "int8": Limit(max_difference=2.0, agreement=0.8),
    "int16x8": Limit(max_difference=0.5, agreement=0.95),
}


def verify(model: keras.Model, path: str | os.PathLike, images, labels=None) -> Verification:
    """Run a .tflite file and the Keras model it came from on the same images.

    A model under a mixed-precision policy is compared as what was exported: the same weights, computed in float32.

    Args:
        model: the Keras model, with one input and one output.
        path: the file, run with the LiteRT interpreter.
        images: array `(n, height, width, channels)`, in the units `model` takes.
        labels: integer classes `(n,)` or one-hot `(n, classes)`, to compute the accuracy of both.

    Returns:
        What was found.

    Raises:
        ValueError: the file cannot be run, or images or labels do not fit it or each other.
    """
    images = np.asarray(images)
    runner = Runner(path)
    if labels is not None:
        labels = checked_labels(labels, len(images))
    found = runner(images)
    if not is_float32(model):
        model = portable(model, (None, *runner.input_shape[1:]))
    expected = np.asarray(model.predict(images.astype("float32"), batch_size=32, verbose=0))
    if found.shape != expected.shape:
        raise ValueError(f"{path} answers {found.shape} where the model answers {expected.shape}: is it this model's?")
    classes = expected.ndim == 2 and expected.shape[-1] > 1
    if labels is not None and not classes:
        raise ValueError(f"`labels` need a model that answers (n, classes). This one answers {expected.shape}.")
    tops = (expected.argmax(-1), found.argmax(-1)) if classes else None
    return Verification(
        max_difference=float(np.abs(found - expected).max() / _spread(expected)),
        agreement=float((tops[0] == tops[1]).mean()) if classes else None,
        images=len(images),
        keras_accuracy=None if labels is None else float((tops[0] == labels).mean()),
        tflite_accuracy=None if labels is None else float((tops[1] == labels).mean()),
    )


def checked_labels(labels, count: int) -> np.ndarray:
    """Labels as integers `(count,)`; a `ValueError` where they are no such, nor one-hot."""
    labels = np.asarray(labels)
    labels = labels.argmax(-1) if labels.ndim == 2 else labels
    if labels.shape != (count,):
        raise ValueError(
            f"`labels` must be integers ({count},) or one-hot ({count}, classes), one for each image. "
            f"Received: shape={labels.shape}"
        )
    return labels


def _spread(outputs):
    """Standard deviation of `outputs`; of outputs that are all alike (a head of zeros), their size."""
    size = np.abs(outputs).max() or 1.0
    spread = outputs.std()
    return spread if spread > 1e-6 * size else size
