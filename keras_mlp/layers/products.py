"""Products in the form that is fastest: along tokens, of several matrices with as many kernels, in place of sums."""

import contextlib
import contextvars
import typing

import keras
from keras import ops

SUM_BY_PRODUCT = "sum_by_product"
"""Part of the names of products that stand for sums; costs leave them out."""
BINARY_PRODUCT = "binary_product"
"""Part of the names of those operations that could be made of bit operations; costs are counted by it."""

TRANSFORM_BY_PRODUCT = "transform_by_product"
"""Part of the names of products that stand for fast Fourier transforms; costs leave them out, as papers do."""


class _Runtime(typing.NamedTuple):
    """What runs the model that a thread traces.

    Attributes:
        loops: whether it can have loops; without them, recurrent layers have their steps one by one.
        kernels_on_the_right: whether kernels have to be the right operands of products.
        is_litert: whether it is LiteRT.
        stacks: whether it is fast at several products in one; otherwise `stacked_product` takes one after the other.
    """

    loops: bool = True
    kernels_on_the_right: bool = False
    is_litert: bool = False
    stacks: bool = True


_TENSORFLOW = _Runtime()
_RUNTIME = contextvars.ContextVar("keras_mlp_runtime", default=_TENSORFLOW)


@contextlib.contextmanager
def _runtime(runtime):
    before = _RUNTIME.set(runtime)
    try:
        yield
    finally:
        _RUNTIME.reset(before)


def for_litert(integers: bool):
    """While it holds, products are spelled as LiteRT has fast kernels for them: with the weights on the right.

    It holds for what this thread computes or traces, so that another may train meanwhile.

    Args:
        integers: whether the file will compute in integers, of which LiteRT has only plain loops for several products
            in one.
    """
    return _runtime(_Runtime(loops=False, kernels_on_the_right=True, is_litert=True, stacks=not integers))


def for_export(loops: bool = True, kernels_on_the_right: bool = False):
    """While it holds, what this thread computes or traces has no operations that other runtimes lack.

    Args:
        loops: whether there may be loops.
        kernels_on_the_right: whether kernels have to be the right operands of products.
    """
    return _runtime(_Runtime(loops, kernels_on_the_right))


def without_loops() -> bool:
    """Whether what this thread traces must have no loops."""
    return not _RUNTIME.get().loops


def in_export() -> bool:
    """Whether this thread traces a model for another runtime than TensorFlow's."""
    return _RUNTIME.get() is not _TENSORFLOW


def on_processors() -> bool:
    """Whether TensorFlow's own operators compute what this thread traces, on processors: neither XLA nor an export."""
    if keras.backend.backend() != "tensorflow" or in_export():
        return False
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util  # what is public does not tell whether XLA compiles

    compiled = control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
    return not compiled and {device.device_type for device in tf.config.list_logical_devices()} == {"CPU"}


def left_product(matrix, x):
    """`y[i] = matrix @ x[i]`, for a matrix of constants.

    Args:
        matrix: `(rows, inputs)`.
        x: `(batch, inputs, channels)`.

    Returns:
        `(batch, rows, channels)`.
    """
    if _RUNTIME.get().kernels_on_the_right:
        return ops.swapaxes(ops.matmul(ops.swapaxes(x, 1, 2), ops.transpose(matrix)), 1, 2)
    return ops.matmul(matrix, x)


def is_for_litert() -> bool:
    """Whether what this thread traces becomes a LiteRT file."""
    return _RUNTIME.get().is_litert


def across_tokens(dense, x):
    """What a dense layer makes of the tokens, the same for every channel.

    Its kernel is multiplied from the left, which spares the tokens two transposes.

    Args:
        dense: Keras' or our dense layer, built, with no activation.
        x: `(batch, tokens, channels)`.

    Returns:
        `(batch, units of the layer, channels)`.
    """
    if _RUNTIME.get().kernels_on_the_right or dense.quantization_mode:
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
    if _RUNTIME.get().stacks:
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
