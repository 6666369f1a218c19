"""One output, or several with names: what a model gives, and what its files do.

A model with one output gives an array. One that was built with a dictionary, such as a pyramid of maps or two heads,
gives a dictionary by the same names, in Keras and in its files.
"""

import keras
import numpy as np

from keras_mlp.classifiers import Output


def names_of(model: keras.Model) -> tuple[str, ...] | None:
    """The names of a model's outputs, in their order; `None` where it was not built with a flat dictionary of them."""
    if isinstance(model, keras.Sequential):
        return None
    structure = model.output
    if not isinstance(structure, dict) or not all(map(keras.backend.is_keras_tensor, structure.values())):
        return None
    return tuple(map(str, structure))


def by_name(outputs) -> dict[str, np.ndarray]:
    """Outputs as a dictionary of arrays; the only one of a model without names is called ""."""
    outputs = outputs if isinstance(outputs, dict) else {"": outputs}
    return {str(name): np.asarray(output) for name, output in outputs.items()}


def meanings(model: keras.Model) -> dict[str, Output | None]:
    """What each of a model's named outputs means; `None` where nothing tells that it is a classifier's."""
    heads = {str(name): keras.Model(model.inputs, tensor) for name, tensor in model.output.items()}
    return {name: Output.perhaps(head) for name, head in heads.items()}


def only_meaning(model: keras.Model, output: Output | None = None) -> Output | None:
    """What the only output of a model means; `None` where nothing tells, and where the outputs have names.

    Raises:
        ValueError: `output` is given for a model whose outputs have names.
    """
    if names_of(model) is None:
        return output or Output.perhaps(model)
    if output:
        raise ValueError(f"`output` goes with a model of one output. This one has {', '.join(names_of(model))}.")
    return None


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, in units of the standard deviation of what is expected."""
    return float(np.abs(found - expected).max() / _spread(expected))


def largest(differences: dict[str, float]) -> str:
    """The name of the output that differs most; one whose difference is not a number comes first."""
    return max(differences, key=lambda name: np.nan_to_num(differences[name], nan=np.inf))


def _spread(outputs):
    """Standard deviation of `outputs`; of outputs that are all alike (a head of zeros), their size."""
    size = np.abs(outputs).max() or 1.0
    spread = outputs.std()
    return spread if spread > 1e-6 * size else size
