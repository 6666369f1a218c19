"""The dtype policy under which layers are made."""

import contextlib
import functools

import keras

from keras_mlp.layers.normalization import at_least_float32


@contextlib.contextmanager
def policy(dtype):
    """While it holds, `dtype` is the global dtype policy; `None` leaves the one in force."""
    before = keras.config.dtype_policy()
    try:
        if dtype is not None:
            keras.config.set_dtype_policy(dtype)
        yield
    finally:
        keras.config.set_dtype_policy(before)


def in_float32(trunk):
    """Decorator of a trunk whose layers compute at least in float32, whatever policy is in force."""

    @functools.wraps(trunk)
    def precise(*args, **kwargs):
        with policy(at_least_float32(keras.config.dtype_policy().compute_dtype)):
            return trunk(*args, **kwargs)

    return precise
