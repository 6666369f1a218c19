"""Scaling of channels: what stands in for normalisation, and what quietens residual branches."""

import functools

import keras
import numpy as np
from keras import ops

from keras_mlp.layers import fusing
from keras_mlp.layers.configs import registered
from keras_mlp.layers.normalization import layer_norm


@registered
class Affine(keras.layers.Layer):
    """`alpha * x + beta`, channel by channel: in place of normalisation, without any statistics.

    Source: Touvron et al. 2021 (ResMLP), equation 1.

    Args:
        initial_scale: what `alpha` starts from; `beta` starts at zero.

    Input shape: `(..., channels)`. Output shape: the same.
    """

    def __init__(self, initial_scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.initial_scale = initial_scale

    def build(self, input_shape):
        start = keras.initializers.Constant(self.initial_scale)
        self.alpha = self.add_weight(name="alpha", shape=input_shape[-1:], initializer=start)
        self.beta = self.add_weight(name="beta", shape=input_shape[-1:], initializer="zeros")
        super().build(input_shape)

    def call(self, x):
        return x * self.alpha + self.beta

    def compute_output_shape(self, input_shape):
        return input_shape


TOKEN_NORMS = {"affine": lambda name: Affine(name=name), "layer": functools.partial(layer_norm, epsilon=1e-6)}
"""Norms by name that timm's `MlpMixer` is given, which work on each token by itself."""


@registered
class LayerScale(keras.layers.Layer):
    """`gamma * x`, channel by channel, on a residual branch.

    Source: Touvron et al. 2021 (Going deeper with image transformers), https://arxiv.org/abs/2103.17239, equation 4.

    Args:
        initial_scale: what `gamma` starts from: small, so that a deep network begins near the identity.

    Input shape: `(..., channels)`. Output shape: the same.
    """

    def __init__(self, initial_scale, **kwargs):
        super().__init__(**kwargs)
        self.initial_scale = initial_scale

    def build(self, input_shape):
        start = keras.initializers.Constant(self.initial_scale)
        self.gamma = self.add_weight(name="gamma", shape=input_shape[-1:], initializer=start)
        super().build(input_shape)

    def call(self, x):
        return x * self.gamma

    def compute_output_shape(self, input_shape):
        return input_shape


@fusing.as_base
@registered
class Rescaling(keras.layers.Rescaling):
    """`keras.layers.Rescaling` whose channels are the last axis, whatever the global image data format is.

    Args:
        scale, offset: of `scale * x + offset`: one number, or one for each channel.

    Input shape: `(..., channels)`. Output shape: the same.
    """

    def call(self, inputs):
        # As arrays, because a number alone would be rounded to float32 on its way to float64.
        both = (np.asarray(values, "float64") for values in (self.scale, self.offset))
        scale, offset = (ops.cast(values, self.compute_dtype) for values in both)
        return ops.cast(inputs, self.compute_dtype) * scale + offset


@fusing.affine.answer(Affine)
def _affine(layer, weights, channels):
    return weights["alpha"], weights["beta"], None


@fusing.affine.answer(LayerScale)
def _layer_scale(layer, weights, channels):
    return weights["gamma"], np.zeros(channels), None
