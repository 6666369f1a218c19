"""Relative positions: a learned number for each offset between two positions of a window, added to attention."""

import numpy as np
from keras import ops

from keras_mlp.layers import showing


def by_pair(table, rows, columns):
    """Expand a table of offsets to all pairs of positions of two grids.

    Rows and columns are looked up one after the other, so that whole rows are copied. A look-up by pairs would copy
    number by number.

    Args:
        table: `(heads, offsets of rows, offsets of columns)`.
        rows: integers `(queries' height, keys' height)`, the offset of two rows as its place in the table.
        columns: integers `(queries' width, keys' width)`, the same of two columns.

    Returns:
        A tensor `(heads, queries, keys)`, positions in row-major order.
    """
    x = ops.take(ops.take(table, columns, axis=2), rows, axis=1)
    queries, keys = (a * b for a, b in zip(rows.shape, columns.shape, strict=True))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4)), (-1, queries, keys))


def relative_bias(table, window: tuple[int, int], dtype):
    """What a table of offsets adds to the products of queries and keys in a window.

    Source: Liu et al. 2021 (Swin Transformer), https://arxiv.org/abs/2103.14030, equation 4.

    Args:
        table: `((2 height - 1) * (2 width - 1), heads)`. An offset (rows, columns) of the query from the key is its row
            `(rows + height - 1) * (2 width - 1) + columns + width - 1`.
        window: `(height, width)` in positions.
        dtype: of the result.

    Returns:
        A tensor `(heads, n, n)` with `n = height * width`, from a query's position to a key's, in row-major order.
    """
    rows, columns = (np.arange(side)[:, None] - np.arange(side) + side - 1 for side in window)
    by_offset = ops.reshape(ops.transpose(table), (-1, *(2 * side - 1 for side in window)))
    return ops.cast(by_pair(by_offset, rows, columns), dtype)


def around(table, window: tuple[int, int]) -> showing.Pictures:
    """What a table of offsets adds, as an answer to `showing.weights`: the query in the middle, the keys around it.

    Args:
        table, window: as of `relative_bias`.
    """
    by_offset = showing.array(table).T.reshape(-1, *(2 * side - 1 for side in window))
    # The table counts from the key to the query, the picture from the query to the key.
    return showing.Pictures("what a head adds for a key, by where it is around the query", by_offset[:, ::-1, ::-1])
