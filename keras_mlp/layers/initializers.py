"""Initial weights."""

import keras


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
