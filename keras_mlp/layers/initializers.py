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


@keras.saving.register_keras_serializable(package="keras_mlp")
class Halves(keras.initializers.Initializer):
    """The first half of the outputs by one initializer, the second half by another.

    Args:
        first, second: anything `keras.initializers.get` takes; each is asked for the whole weight.
    """

    def __init__(self, first, second):
        self.first, self.second = own(first), own(second)

    def __call__(self, shape, dtype=None):
        half = shape[-1] // 2
        return ops.concatenate([self.first(shape, dtype)[..., :half], self.second(shape, dtype)[..., half:]], axis=-1)

    def get_config(self):
        return {
            "first": keras.saving.serialize_keras_object(self.first),
            "second": keras.saving.serialize_keras_object(self.second),
        }


def gated(kernel_initializer, bias_initializer="zeros"):
    """Initializers of kernel and bias of a linear layer whose second half becomes a gate, which begins as 1 for all.

    Source: timm, `GluMlp`; after Liu et al. 2021 (gMLP), section 2.1.
    """
    nearly_none = keras.initializers.RandomNormal(0, 1e-6)
    return Halves(kernel_initializer, nearly_none), Halves(bias_initializer, "ones")
