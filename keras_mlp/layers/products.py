"""Products of several matrices with as many kernels."""

import contextlib

from keras import ops

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
