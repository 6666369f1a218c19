"""First values of variables: a model that is about to be loaded draws no numbers that the checkpoint's replace.

`made` makes a model whose variables have no values yet. `give` says what one of them begins with. `settle` lets them
have it, and draws what the others begin with: the same numbers as without all this, since each initializer has a seed
of its own. Keras tells the threads of a process apart, so that what others make meanwhile has its values at once.
"""

from collections.abc import Callable

import keras


class _Given(keras.initializers.Initializer):
    """An initializer that gives an array."""

    def __init__(self, array):
        self.array = array

    def __call__(self, shape, dtype=None):
        return keras.ops.convert_to_tensor(self.array, dtype)


def made(make: Callable[[], keras.Model]) -> keras.Model:
    """What `make` makes, its new variables without values until `settle`; none is left without where `make` raises."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            return make()
    except BaseException:
        _draw()  # or Keras would, in the midst of what comes next in this thread
        raise


def is_missing(variable) -> bool:
    """Whether a variable has no value yet."""
    return variable._value is None


def give(variable, array):
    """Let a variable that has no value yet begin with an array of its shape."""
    variable._initializer = _Given(array)


def settle(model: keras.Model):
    """Give all variables of this thread that have no values yet their first ones; `model` is what `made` returned."""
    _draw()
    if keras.backend.backend() == "torch":
        for layer in model._flatten_layers():
            layer._post_build()  # which tells PyTorch of a layer's variables, once these have values


def _draw():
    with keras.StatelessScope():
        pass  # at the end of one, Keras gives all variables their values
