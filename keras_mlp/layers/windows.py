"""Windows: a map cut into rectangles, mostly squares, each of which is processed by itself."""

import keras
from keras import ops

from keras_mlp.layers import fusing
from keras_mlp.layers.configs import registered
from keras_mlp.layers.sizes import check_multiples


def check_whole(sides, size: int | tuple[int, int]):
    """Raise a `ValueError` if a known height or width of a map, `sides`, is no multiple of the windows' side."""
    check_multiples(sides, size, f"The height and width of the map must be multiples of the window's side, {size}")


def cut_windows(x, size: int | tuple[int, int]):
    """A map cut into windows that do not overlap.

    Args:
        x: `(batch, height, width, channels)`; height and width are multiples of the window's.
        size: side of a window in positions, or `(height, width)`.

    Returns:
        A tensor `(batch, windows, positions of a window, channels)`, windows and the positions in them in row-major
        order.

    Raises:
        ValueError: a known height or width is no multiple.
    """
    check_whole(x.shape[1:3], size)
    (rows, columns), (batch, height, width, channels) = _sides(size), ops.shape(x)
    count = (height // rows) * (width // columns)
    if _is_one(count):
        return ops.reshape(x, (-1, 1, rows * columns, channels))
    # Where sizes are unknown the batch is told, so that no window holds positions of two images.
    batch = -1 if None not in x.shape[1:3] else batch
    x = ops.reshape(x, (batch, height // rows, rows, width // columns, columns, channels))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, count, rows * columns, channels))


def join_windows(windows, size: int | tuple[int, int], height, width):
    """The way back from windows to a map `(batch, height, width, channels)`.

    Args:
        windows: `(batch, windows, positions of a window, channels)`, or with all windows of all maps on the first axis.
        size: side of a window in positions, or `(height, width)`.
        height, width: of the map.
    """
    (rows, columns), channels = _sides(size), windows.shape[-1]
    if not _is_one((height // rows) * (width // columns)):
        x = ops.reshape(windows, (-1, height // rows, width // columns, rows, columns, channels))
        windows = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(windows, (-1, height, width, channels))


def _sides(size):
    return (size, size) if isinstance(size, int) else size


def _is_one(count) -> bool:
    """Whether it is known that there is one window only, which is the map as it is."""
    return isinstance(count, int) and count == 1


@registered
class WindowPartition(keras.layers.Layer):
    """A map cut into square windows that do not overlap.

    Args:
        size: side of a window in positions.

    Input shape: `(batch, height, width, channels)`; height and width, which may be unknown, are multiples of `size`.
    Output shape: `(batch, windows, size * size, channels)`, windows and the positions in them in row-major order.

    Raises:
        ValueError: a known height or width is no multiple of `size`.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def build(self, input_shape):
        check_whole(input_shape[1:3], self.size)
        super().build(input_shape)

    def call(self, x):
        return cut_windows(x, self.size)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        count = None if None in (height, width) else (height // self.size) * (width // self.size)
        return (batch, count, self.size**2, channels)


@registered
class WindowMerge(keras.layers.Layer):
    """The way back from windows to a map.

    Args:
        size: side of a window in positions.

    Input shape: windows, as they are the output of `WindowPartition`, and a map of the size to return to.
    Output shape: that of the map, with the windows' channels.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs):
        windows, like = inputs
        _, height, width, _ = ops.shape(like)
        return join_windows(windows, self.size, height, width)

    def compute_output_shape(self, input_shape):
        windows, like = input_shape
        return (*like[:-1], windows[-1])


@fusing.carries.answer(WindowPartition, WindowMerge)
def _only_moved(layer, scale, shift, shape):
    return scale, shift


@fusing.sizes.answer(WindowMerge)
def _like(layer):
    return (1,)
