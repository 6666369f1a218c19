"""Normalisation of the channels."""

import keras
from keras import ops

from keras_mlp.layers import fusing
from keras_mlp.layers.configs import registered
from keras_mlp.layers.gradients import passed_on


def at_least_float32(dtype) -> str:
    """The precision for what 16 bits are too few for: float32, or float64 for float64.

    `keras.backend.result_type` would make float32 of float64 on JAX and PyTorch.
    """
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


@fusing.as_base
@registered
class LayerNormalization(keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization` along the last axis, in fewer passes over the data.

        d = x - mean(x);    y = d * rsqrt(mean(d * d) + epsilon) * gamma + beta

    The arithmetic is the textbook's. Keras' own spelling multiplies out `gamma * rsqrt` and `beta - mean * rsqrt`,
    which makes more arrays of the input's size in a TensorFlow graph, loses digits where the mean is large, and becomes
    operators that TFLite has no integer kernels for. Computes in float32 at least, as Keras' own does.

    Args:
        epsilon: added to the variance. References differ in it, so it has no default here.
        **kwargs: of `keras.layers.LayerNormalization`, such as `center` and `scale`.

    Input shape: `(..., channels)`. Output shape: the same.
    """

    def __init__(self, *, epsilon, **kwargs):
        super().__init__(epsilon=epsilon, **kwargs)
        if self.axis not in (-1, [-1]) or self.rms_scaling:
            raise ValueError(f"Only the last axis is normalised, by mean and variance. Received: axis={self.axis}")

    def call(self, inputs, training=None):
        x = ops.cast(inputs, at_least_float32(inputs.dtype))
        y = self._normalized_in_training(x) if training else self._normalized(x)[0]
        if self.scale:
            y = y * ops.cast(self._by_channel(self.gamma), y.dtype)
        if self.center:
            y = y + ops.cast(self._by_channel(self.beta), y.dtype)
        return ops.cast(y, self.compute_dtype)

    def _normalized(self, x):
        """`x` with mean 0 and variance 1, and what it was multiplied by."""
        d = x - ops.mean(x, axis=-1, keepdims=True)
        factor = ops.rsqrt(ops.mean(d * d, axis=-1, keepdims=True) + self.epsilon)
        return d * factor, factor

    def _normalized_in_training(self, x):
        """The normalised input, with a gradient that keeps this output alone, and no other array of its size."""

        def pair(x):
            y, factor = self._normalized(x)

            def backward(*arguments, upstream=None):
                g = passed_on(arguments, upstream)
                along = ops.mean(g * y, axis=-1, keepdims=True)
                return factor * (g - ops.mean(g, axis=-1, keepdims=True) - y * along)

            return y, backward

        return ops.custom_gradient(pair)(x)

    def _by_channel(self, weight):
        """`weight` in the order of the channels, which a subclass may keep in another."""
        return weight

    def get_config(self):
        config = super().get_config()
        del config["rms_scaling"]
        return config


# Norms by name, as blocks want them. The defaults are PyTorch's, which most references keep.


def layer_norm(name, epsilon=1e-5):
    """Layer norm over the channels."""
    return LayerNormalization(epsilon=epsilon, name=name)


def batch_norm(name, epsilon=1e-5, **options):
    """Batch norm; PyTorch's momentum of 0.1 is 0.9 here."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=epsilon, name=name, **options)


def norm_named(norms: dict, norm):
    """The norm that a builder's argument `norm` names, or is.

    Args:
        norms: those there are, `{name: name of the layer -> layer}`.
        norm: the argument: one of the names, or another function that makes a layer of its name.

    Raises:
        ValueError: there is none of that name.
    """
    if callable(norm):
        return norm
    if norm not in norms:
        raise ValueError(f"`norm` must be one of {sorted(norms)} or a function. Received: norm={norm!r}")
    return norms[norm]


def image_norm(name, epsilon=1e-5):
    """Group norm with one group: mean and variance over height, width and channels, scale and shift by channel."""
    return keras.layers.GroupNormalization(1, epsilon=epsilon, name=name)


MAP_NORMS = {"batch": batch_norm, "image": image_norm}
"""Norms by name of the families whose authors work with channels first, where these two are at hand."""
