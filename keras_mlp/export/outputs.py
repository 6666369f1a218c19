"""One output, or several with names: what a model gives, and what its files do.

A model with one output gives an array. One that was built with a dictionary, such as a pyramid of maps or two heads,
gives a dictionary by the same names, in Keras and in its files. What is for training alone no file has.

An object of `keras_mlp.classifiers` says what an output means: an `Output` for classes of the image, a `PixelOutput`
for classes of its pixels. Both have `classes`, `decisions`, `labels`, `correct` and `told`. The outputs of a
detector mean something together, which a `BoxOutput` tells.
"""

import keras
import numpy as np

from keras_mlp.classifiers import BoxOutput, Output, PixelOutput

Meaning = Output | PixelOutput | BoxOutput
_TRAINING_ALONE = "auxiliary"  # what names of such outputs begin with


def names_of(model: keras.Model) -> tuple[str, ...] | None:
    """The names of a model's outputs, in their order; `None` where it was not built with a flat dictionary of them."""
    if isinstance(model, keras.Sequential):
        return None
    structure = model.output
    if not isinstance(structure, dict) or not all(map(keras.backend.is_keras_tensor, structure.values())):
        return None
    return tuple(map(str, structure))


def inference_part(model: keras.Model) -> keras.Model:
    """A model without its auxiliary outputs, which only training needs.

    Args:
        model: of a dictionary of outputs, some of whose names may begin with "auxiliary"; any other is given back.

    Returns:
        The same layers. Where one output is left, the model gives it without a name.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "outputs", None) or not names_of(model):
        return model
    kept = {name: output for name, output in model.output.items() if not str(name).startswith(_TRAINING_ALONE)}
    if not kept or len(kept) == len(model.output):
        return model
    return keras.Model(model.inputs, kept if len(kept) > 1 else next(iter(kept.values())), name=model.name)


def by_name(outputs) -> dict[str, np.ndarray]:
    """Outputs as a dictionary of arrays; the only one of a model without names is called ""."""
    outputs = outputs if isinstance(outputs, dict) else {"": outputs}
    return {str(name): np.asarray(output) for name, output in outputs.items()}


def meaning_of(model: keras.Model) -> Meaning | None:
    """What the only output of a model means; `None` where nothing tells that it is a classifier's or a segmenter's."""
    return PixelOutput.perhaps(model) or Output.perhaps(model)


def meanings(model: keras.Model) -> dict[str, Meaning | None]:
    """What each of a model's named outputs means; see `meaning_of`."""
    return {str(name): meaning_of(keras.Model(model.inputs, tensor)) for name, tensor in model.output.items()}


def only_meaning(model: keras.Model, output: Meaning | None = None) -> Meaning | None:
    """What the only output of a model means, or the outputs of a detector together; `None` where nothing tells.

    Raises:
        ValueError: `output` is given for a model whose outputs have names.
    """
    if names_of(model) is None:
        return output or meaning_of(model)
    if output and not isinstance(output, BoxOutput):
        raise ValueError(f"`output` goes with a model of one output. This one has {', '.join(names_of(model))}.")
    return BoxOutput.perhaps(model)


class Difference:
    """The largest difference between outputs, in units of the standard deviation of what is expected.

    Outputs are given portion by portion, since maps of many images would not fit into memory. Of outputs that are all
    alike (a head of zeros) the unit is their size.
    """

    def __init__(self):
        self._most = self._size = self._sum = self._squares = 0.0
        self._count = 0

    def update(self, found: np.ndarray, expected: np.ndarray):
        """Take a portion into account."""
        most = np.abs(found - expected).max()
        self._most = most if np.isnan(most) else max(self._most, most)
        self._size = max(self._size, np.abs(expected).max())
        self._count += expected.size
        self._sum += expected.sum(dtype="float64")
        self._squares += np.square(expected, dtype="float64").sum()

    @property
    def value(self) -> float:
        """The largest difference so far."""
        mean = self._sum / self._count
        spread, size = np.sqrt(max(self._squares / self._count - mean**2, 0)), self._size or 1.0
        return float(self._most / (spread if spread > 1e-6 * size else size))


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest `Difference` of two arrays."""
    compared = Difference()
    compared.update(found, expected)
    return compared.value


def largest(differences: dict[str, float]) -> str:
    """The name of the output that differs most; one whose difference is not a number comes first."""
    return max(differences, key=lambda name: np.nan_to_num(differences[name], nan=np.inf))
