"""Does an exported file compute like the model that it came from?"""

import dataclasses
import os

import keras
import numpy as np

from keras_mlp.classifiers import Output
from keras_mlp.export.checks import check_weights, checked_images
from keras_mlp.export.outputs import by_name, difference, largest, meanings, names_of, only_meaning
from keras_mlp.export.portable import is_float32, portable
from keras_mlp.export.runtime import Runner


@dataclasses.dataclass(frozen=True)
class Verification:
    """A .tflite file compared with its Keras model on the same images.

    It says little of a model whose output does not depend on the image, such as one with a fresh head of zeros.

    Args:
        max_difference: largest difference of an output, in units of the standard deviation of Keras' outputs.
        agreement: share of the images with the same class, of multi-label classifiers share of the same decisions, at
            1/2, over images and classes; `None` where nothing tells that the outputs are a classifier's. Of several
            classifiers in one model it is the smallest.
        images: number of images.
        keras_accuracy: share of the Keras model's decisions that are right, in [0, 1]: top-1 accuracy, of multi-label
            classifiers that over images and classes. `None` without labels.
        tflite_accuracy: that of the file.
        differences: `max_difference` of each output by its name, of a model with a dictionary of them; else `None`.
    """

    max_difference: float
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
    model: keras.Model, path: str | os.PathLike, images, labels=None, output: Output | None = None
) -> Verification:
    """Run a .tflite file and the Keras model it came from on the same images.

    A model under a mixed-precision policy is compared as what was exported: the same weights, computed in float32.

    Args:
        model: the Keras model, with one input and one output or a dictionary of outputs, which are then compared by
            name, each in units of its own standard deviation.
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
    output = only_meaning(model, output)
    if labels is not None:
        labels = checked_labels(output, model, labels, len(images))
    meaning = meanings(model) if names_of(model) else {"": output}
    found = by_name(runner(images))
    if not is_float32(model):
        model = portable(model, (None, *runner.input_shape[1:]))
    expected = by_name(model.predict(images.astype("float32"), batch_size=32, verbose=0))
    if found.keys() != expected.keys():
        raise ValueError(f"{path} has {_named(found)} where the model has {_named(expected)}: is it this model's?")
    for name, output in expected.items():
        if found[name].shape != output.shape:
            which = f" for {name!r}" * bool(name)
            raise ValueError(
                f"{path} gives {found[name].shape}{which} where the model gives {output.shape}: is it this model's?"
            )
    differences = {name: difference(found[name], output) for name, output in expected.items()}
    decided = {
        name: (kind.decisions(expected[name]), kind.decisions(found[name])) for name, kind in meaning.items() if kind
    }
    agreements = [float((ours == theirs).mean()) for ours, theirs in decided.values()]
    return Verification(
        max_difference=differences[largest(differences)],
        agreement=min(agreements, default=None),
        images=len(images),
        keras_accuracy=None if labels is None else float((decided[""][0] == labels).mean()),
        tflite_accuracy=None if labels is None else float((decided[""][1] == labels).mean()),
        differences=None if "" in differences else differences,
    )


def _named(outputs) -> str:
    """The names of outputs, for messages."""
    return "one output without a name" if "" in outputs else f"the outputs {', '.join(map(repr, outputs))}"


def checked_labels(output: Output | None, model, labels, count: int) -> np.ndarray:
    """Labels in the form of the output's decisions; a `ValueError` where they are none, or the model no classifier."""
    if output is None:
        raise ValueError(f"`labels` need a classifier, whose output is (n, classes), not {model.output_shape}.")
    return output.labels(labels, count)
