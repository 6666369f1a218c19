"""Sums over few rows and columns of a map, by TensorFlow's product of a sparse matrix, which is fast on CPUs."""

import keras

from keras_mlp.layers.products import on_processors


def takes(x) -> bool:
    """Whether `products` may be used for a map: TensorFlow's own processors compute it, in float32 or float64."""
    known = keras.backend.standardize_dtype(x.dtype) in ("float32", "float64")
    return known and on_processors()


def products(x, rows, columns):
    """Weighted sums over the rows and columns of a map, most of whose weights are 0.

    Args:
        x: `(batch, height, width, channels)`; gradients reach it alone.
        rows: weights `(batch, n, size, height)`, of which those of each sum that are not 0 lie near each other.
        columns: weights `(batch, n, size, width)`, of which the same holds.

    Returns:
        A tensor `(batch, n, size, size, channels)`.
    """
    import tensorflow as tf

    batch, height, width, channels = tf.unstack(tf.shape(x, tf.int64))
    n, size = rows.shape[1:3]
    first_row, row_count = _extent(rows)
    first_column, column_count = _extent(columns)
    # Each sum is a row of a sparse matrix, and what it adds up, a rectangle of the map, are that row's entries.
    areas = tf.reshape(row_count[..., :, None] * column_count[..., None, :], (-1,))
    sums = tf.repeat(tf.range(tf.size(areas, tf.int64)), areas)
    inside = tf.range(tf.size(sums, tf.int64)) - tf.gather(tf.cumsum(areas, exclusive=True), sums)
    row_sums = sums // size
    column_sums = row_sums // size * size + sums % size
    breadth = tf.gather(tf.reshape(column_count, (-1,)), column_sums)
    row = tf.gather(tf.reshape(first_row, (-1,)), row_sums) + inside // breadth
    column = tf.gather(tf.reshape(first_column, (-1,)), column_sums) + inside % breadth
    weights = tf.gather(tf.reshape(rows, (-1,)), row_sums * height + row)
    weights *= tf.gather(tf.reshape(columns, (-1,)), column_sums * width + column)
    image = sums // (n * size * size)
    places = tf.stack([sums, (image * height + row) * width + column], axis=-1)
    matrix = tf.SparseTensor(places, weights, [tf.size(areas, tf.int64), batch * height * width])

    @tf.custom_gradient
    def product(flat):
        def gradient(of_sums):
            return tf.sparse.sparse_dense_matmul(matrix, of_sums, adjoint_a=True)

        return tf.sparse.sparse_dense_matmul(matrix, flat), gradient

    return tf.reshape(product(tf.reshape(x, (-1, channels))), (-1, n, size, size, x.shape[-1]))


def _extent(weights):
    """Where the weights of each sum begin that are not 0, and how many follow, `(batch, n, size)` twice."""
    import tensorflow as tf

    there = tf.cast(weights != 0, tf.int8)
    first = tf.argmax(there, axis=-1)
    last = tf.shape(weights, tf.int64)[-1] - 1 - tf.argmax(tf.reverse(there, [-1]), axis=-1)
    return first, tf.where(tf.reduce_max(there, axis=-1) > 0, last - first + 1, 0)
