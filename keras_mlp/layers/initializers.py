"""Initial weights."""

import keras
from keras import ops


def own(initializer):
    """An initializer for one weight of one layer.

    One random initializer of Keras repeats its draws whenever it is used, so layers that share the object would start
    alike, in every model and whatever the seed. A clone draws its own, from the global seed.

    Args:
        initializer: anything `keras.initializers.get` takes.

    Returns:
        A new object of the same kind, or `None` for `None`.
    """
    found = keras.initializers.get(initializer)
    return found.clone() if isinstance(found, keras.initializers.Initializer) else found


def stacked(initializer):
    """An initializer for equal weights of several networks in one array, `(networks, …)`, each with draws of its own.

    Keras would take the first axis for a part of the window of a convolution and draw too small.

    Args:
        initializer: of one network's weight; anything `keras.initializers.get` takes.

    Returns:
        A function `(shape, dtype) -> tensor`.
    """

    def initialize(shape, dtype=None):
        return ops.stack([own(initializer)(shape[1:], dtype) for _ in range(shape[0])])

    return initialize
