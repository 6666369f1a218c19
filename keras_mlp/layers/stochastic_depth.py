"""Stochastic depth: a residual branch left out for some samples in training."""

import keras


def stochastic_depth(x, rate: float, name: str):
    """Drop the branch `x` for a random `rate` of the samples in training; what is kept is divided by `1 - rate`.

    This is Keras' `Dropout` with one draw a sample. Source: Huang et al. 2016, https://arxiv.org/abs/1603.09382.

    Args:
        x: the branch's output, `(batch, ...)`.
        rate: probability of dropping it, in [0, 1). At 0 no layer is added.
        name: name of the layer.

    Returns:
        A tensor of the same shape.
    """
    if not rate:
        return x
    return keras.layers.Dropout(rate, noise_shape=(None,) + (1,) * (len(x.shape) - 1), name=name)(x)
