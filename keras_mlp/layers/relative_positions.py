"""Relative positions: a learned number for each offset between two positions of a window, added to attention."""

import numpy as np
from keras import ops


def relative_index(window: tuple[int, int]) -> np.ndarray:
    """Which row of a table of offsets belongs to a pair of positions.

    Args:
        window: `(height, width)` in positions.

    Returns:
        Integers `(n, n)` with `n = height * width`, from a query's position to a key's, both in row-major order. An
        offset (rows, columns) of the query from the key is the row `(rows + height - 1) * (2 width - 1) + columns +
        width - 1`.

    Source: Liu et al. 2021 (Swin Transformer), https://arxiv.org/abs/2103.14030, equation 4.
    """
    height, width = window
    rows, columns = np.divmod(np.arange(height * width), width)
    return (rows[:, None] - rows + height - 1) * (2 * width - 1) + columns[:, None] - columns + width - 1


def relative_bias(table, window: tuple[int, int], dtype):
    """What a table of offsets adds to the products of queries and keys in a window.

    Args:
        table: `((2 height - 1) * (2 width - 1), heads)`.
        window: `(height, width)` in positions.
        dtype: of the result.

    Returns:
        A tensor `(heads, n, n)`.
    """
    n = window[0] * window[1]
    by_pair = ops.reshape(ops.take(table, relative_index(window).reshape(-1), axis=0), (n, n, -1))
    return ops.cast(ops.transpose(by_pair, (2, 0, 1)), dtype)
