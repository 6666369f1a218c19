"""Products of several matrices with as many kernels, and a sum that is faster as a product."""

import contextlib

import keras
from keras import ops

SUM_BY_PRODUCT = "sum_by_product"
"""Part of the names of products that stand for sums; costs leave them out."""

_unrolled = False


@contextlib.contextmanager
def unrolled():
    """While it holds, `stacked_product` takes one product after the other.

    For TFLite's integers: LiteRT has fast kernels for a product with weights, and plain loops for a batch of them.
    """
    global _unrolled
    before, _unrolled = _unrolled, True
    try:
        yield
    finally:
        _unrolled = before


def stacked_product(x, kernels):
    """`y[..., i, :, :] = x[..., i, :, :] @ kernels[i]`.

    Args:
        x: `(..., n, rows, inputs)`.
        kernels: `(n, inputs, outputs)`.

    Returns:
        `(..., n, rows, outputs)`.
    """
    if not _unrolled:
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
