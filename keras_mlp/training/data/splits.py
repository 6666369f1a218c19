"""Dividing examples into training and test ones, the same on every machine and for ever."""

import numpy as np


def held_out(labels, share: float = 0.2) -> np.ndarray:
    """Choose test examples, the same share of every class.

    Args:
        labels: integers `(examples,)`.
        share: of each class that is held out, rounded to whole examples; a class of two or more keeps at least
            one on either side.

    Returns:
        Booleans `(examples,)`, True for test examples. They depend on the labels and their order alone.
    """
    labels = np.asarray(labels)
    random = np.random.RandomState(0)  # NumPy keeps this generator's numbers frozen over its versions
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        chosen[members[: np.clip(round(share * len(members)), 1, max(len(members) - 1, 0))]] = True
    return chosen
