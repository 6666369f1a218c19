"""The dtype policy under which layers are made."""

import contextlib

import keras


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
