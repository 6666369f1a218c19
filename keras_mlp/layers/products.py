"""Products in the form that is fastest: along tokens, of several matrices with as many kernels, in place of sums."""

import contextlib
import contextvars

import keras
from keras import ops

SUM_BY_PRODUCT = "sum_by_product"
"""Part of the names of products that stand for sums; costs leave them out."""
BINARY_PRODUCT = "binary_product"
"""Part of the names of those operations that could be made of bit operations; costs are counted by it."""

TRANSFORM_BY_PRODUCT = "transform_by_product"
"""Part of the names of products that stand for fast Fourier transforms; costs leave them out, as papers do."""
_EXPORT = contextvars.ContextVar("keras_mlp_export", default=False)
"""Whether this thread traces a model for another runtime than TensorFlow's."""
_LOOPS = contextvars.ContextVar("keras_mlp_loops", default=True)
"""Whether the runtime that this thread traces a model for can have loops."""
_ON_THE_RIGHT = contextvars.ContextVar("keras_mlp_kernels_on_the_right", default=False)
"""Whether kernels have to be the right operands of products."""
_LITERT = contextvars.ContextVar("keras_mlp_litert", default=None)
"""Kind of numbers that the LiteRT file computes with which this thread exports: "integers", "floats" or `None`."""


@contextlib.contextmanager
def for_litert(integers: bool):
    """While it holds, products are spelled as LiteRT has fast kernels for them: with the weights on the right.

    It holds for what this thread computes or traces, so that another may train meanwhile.

    Args:
        integers: whether the file will compute in integers, of which LiteRT has plain loops only for several products
            in one, so that `stacked_product` takes one after the other.
    """
    before = _LITERT.set("integers" if integers else "floats")
    try:
        yield
    finally:
        _LITERT.reset(before)


@contextlib.contextmanager
def for_export(loops: bool = True, kernels_on_the_right: bool = False):
    """While it holds, what this thread computes or traces has no operations that other runtimes lack.

    Args:
        loops: whether there may be loops; without them, recurrent layers have their steps one by one.
        kernels_on_the_right: whether kernels have to be the right operands of products.
    """
    values = {_EXPORT: True, _LOOPS: loops, _ON_THE_RIGHT: kernels_on_the_right}
    before = {variable: variable.set(value) for variable, value in values.items()}
    try:
        yield
    finally:
        for variable, token in before.items():
            variable.reset(token)


def without_loops() -> bool:
    """Whether what this thread traces must have no loops."""
    return _LITERT.get() is not None or not _LOOPS.get()


def in_export() -> bool:
    """Whether this thread traces a model for another runtime."""
    return _EXPORT.get() or _LITERT.get() is not None


def left_product(matrix, x):
    """`y[i] = matrix @ x[i]`, for a matrix of constants.

    Args:
        matrix: `(rows, inputs)`.
        x: `(batch, inputs, channels)`.

    Returns:
        `(batch, rows, channels)`.
    """
    if _kernels_on_the_right():
        return ops.swapaxes(ops.matmul(ops.swapaxes(x, 1, 2), ops.transpose(matrix)), 1, 2)
    return ops.matmul(matrix, x)


def _kernels_on_the_right() -> bool:
    return _LITERT.get() is not None or _ON_THE_RIGHT.get()


def is_for_litert() -> bool:
    """Whether what this thread traces becomes a LiteRT file."""
    return _LITERT.get() is not None


def across_tokens(dense, x):
    """What a dense layer makes of the tokens, the same for every channel.

    Its kernel is multiplied from the left, which spares the tokens two transposes.

    Args:
        dense: Keras' or our dense layer, built, with no activation.
        x: `(batch, tokens, channels)`.

    Returns:
        `(batch, units of the layer, channels)`.
    """
    if _kernels_on_the_right() or dense.quantization_mode:
        return ops.swapaxes(dense(ops.swapaxes(x, 1, 2)), 1, 2)
    y = ops.matmul(ops.transpose(dense.kernel), x)
    return y + ops.expand_dims(dense.bias, -1) if dense.use_bias else y


def stacked_product(x, kernels):
    """`y[..., i, :, :] = x[..., i, :, :] @ kernels[i]`.

    Args:
        x: `(..., n, rows, inputs)`.
        kernels: `(n, inputs, outputs)`.

    Returns:
        `(..., n, rows, outputs)`.
    """
    if _LITERT.get() != "integers":
        return ops.matmul(x, kernels)
    pairs = zip(ops.unstack(x, axis=-3), ops.unstack(kernels), strict=True)
    return ops.stack([ops.matmul(rows, kernel) for rows, kernel in pairs], axis=-3)


def short_sum(x):
    """The sum over a short last axis, as a product with ones: TensorFlow and LiteRT take longer for the sum itself.

    Args:
        x: `(..., n)`.

    Returns:
        A tensor of the shape `(...)`.
    """
    with keras.name_scope(SUM_BY_PRODUCT):
        total = ops.matmul(ops.reshape(x, (-1, x.shape[-1])), ops.ones((x.shape[-1], 1), x.dtype))
    return ops.reshape(total, ops.shape(x)[:-1])
