"""RoIAlign: what maps show inside boxes, in grids of one size.

A box is cut into `size * size` bins, and a bin is the mean of the map at some points in it, between whose positions the
map is interpolated bilinearly. Both axes are apart: the mean over the points of a bin is a weighted sum over the rows
of the map, and one over its columns. So a box takes two products, whatever the number of its points, with weights that
`axis_weights` tells in closed form. Shapes are static, no operator is a backend's own, and gradients reach the maps.
TensorFlow on a CPU, where dense products would mostly multiply by 0, takes those of sparse matrices instead.

Source: He et al. 2017, Mask R-CNN, https://arxiv.org/abs/1703.06870, section 3, in the form of mmcv's `RoIAlign` and
mmdetection's `SingleRoIExtractor`.
"""

import math

import keras
from keras import ops

from keras_mlp.layers.configs import registered
from keras_mlp.tasks.detection import sparse_products

FINEST_SIZE = 56
"""Side of a box in pixels from which on it is no longer seen on the finest map but one."""
_WIDTH = 336  # of a map where it is not known: of stride 4, of a photo as COCO's are resized
_SMALLEST_STEP = 1e-12  # between the points of a box without extent, so that nothing is divided by 0
_MOST_NUMBERS = 1 << 24
"""Of what is between the two products of one image, so that many boxes on a large map take turns."""


def axis_weights(start, end, side: int, size: int, points: int = 0):
    """How much each row of a map counts in each bin of boxes along the height, or each column along the width.

    The points of a box are equally far from each other over all of its bins. Those that lie between two rows count in
    the lower by how near they are; how much all of a bin's points count in a row is the number of those on either side
    of it, times how much the point in their middle counts.

    Args:
        start: where boxes begin, in rows of the map, `(…)`; the middle of row 0 is at 0.
        end: where they end.
        side: number of rows of the map.
        size: number of bins.
        points: number of points in a bin; 0 for as many as a bin has rows, rounded up.

    Returns:
        A tensor `(…, size, side)`. What lies farther than one row outside the map counts nothing, and so does a box
        that is empty.
    """
    start, end = start[..., None, None], end[..., None, None]
    bins = (end - start) / size
    count = ops.full_like(bins, points) if points else ops.maximum(ops.ceil(bins), 0)
    step = ops.maximum(bins / ops.maximum(count, 1), _SMALLEST_STEP)
    rows = ops.arange(side, dtype=start.dtype)
    # Points are numbered over the whole box. `on` is the number that one on a row would have.
    on = (rows - start) / step - 0.5
    first = ops.arange(size, dtype=start.dtype)[:, None] * count
    last = first + count
    middle = ops.minimum(ops.maximum(ops.floor(on) + 1, first), last)
    above = ops.minimum(ops.maximum(ops.ceil(on - 1 / step), first), middle)
    below = ops.minimum(ops.maximum(ops.floor(on + 1 / step) + 1, middle), last)

    def part(low, high, outside, direction):
        """What the points from `low` up to `high` count; those outside the map count like its edge."""
        mean = start + 0.5 * (low + high) * step  # half of `low + (high - 1)`, and half a step to the first point
        return (high - low) * ops.where(outside, 1, 1 - direction * (rows - mean))

    total = part(above, middle, rows == 0, 1) + part(middle, below, rows == side - 1, -1)
    return total / ops.maximum(count, 1)


def level_of(boxes, levels: int, finest_size: float = FINEST_SIZE):
    """Which map shows each box: the finest for small ones, the next from twice `finest_size` on, and so on.

    Args:
        boxes: `(…, 4)`, x1, y1, x2, y2 in pixels.
        levels: number of maps.
        finest_size: square root of the area from which half a box is of the second map; see `FINEST_SIZE`.

    Returns:
        Numbers of maps `(…)`, floating point, from 0.
    """
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    size = ops.sqrt(ops.maximum(area, 0))
    return ops.clip(ops.floor(ops.log2(size / finest_size + 1e-6)), 0, levels - 1)


def roi_align(maps, boxes, size: int, strides, points: int = 0, aligned: bool = True, finest_size: float = FINEST_SIZE):
    """What maps show inside boxes, each box on the map that suits its size.

    Args:
        maps: tensors `(batch, height, width, channels)`, finest first.
        boxes: `(batch, n, 4)`, x1, y1, x2, y2 in pixels; no gradient reaches them.
        size: bins a side of the results.
        strides: pixels a position of each map.
        points: points a side of a bin; 0 for as many as it has positions of the map, rounded up, by height and width.
        aligned: whether a position's middle is half a position from its edge. `False` is the older form, in which the
            middle of the first is at pixel 0 and a box has at least one position.
        finest_size: see `level_of`.

    Returns:
        A tensor `(batch, n, size, size, channels)` of the maps' dtype.
    """
    boxes = ops.stop_gradient(boxes)
    level = level_of(boxes, len(maps), finest_size)
    total = 0
    for i, (x, stride) in enumerate(zip(maps, strides, strict=True)):
        corners = boxes / stride - (0.5 if aligned else 0.0)
        x1, y1, x2, y2 = (corners[..., j] for j in range(4))
        if not aligned:
            x2, y2 = ops.maximum(x2, x1 + 1), ops.maximum(y2, y1 + 1)
        here = ops.cast(level == i, x.dtype)[..., None, None]
        height, width = ops.shape(x)[1:3]
        rows = ops.cast(axis_weights(y1, y2, height, size, points), x.dtype) * here
        columns = ops.cast(axis_weights(x1, x2, width, size, points), x.dtype)
        form = sparse_products.products if sparse_products.takes(x) else _products
        total = total + form(x, rows, columns)
    return total


def _products(x, rows, columns):
    """Weighted sums over the rows and columns of a map: `(batch, n, size, size, channels)`.

    Args:
        x: `(batch, height, width, channels)`.
        rows: weights `(batch, n, size, height)`.
        columns: weights `(batch, n, size, width)`.
    """
    _, height, width, channels = ops.shape(x)
    _, count, size, _ = rows.shape
    flat = ops.reshape(x, (-1, height, width * channels))

    def some(weights):
        rows, columns = weights
        n = rows.shape[1]
        y = ops.matmul(ops.reshape(rows, (-1, n * size, height)), flat)
        y = ops.reshape(y, (-1, width, channels))  # one matrix a row of bins
        columns = ops.reshape(ops.repeat(columns, size, axis=1), (-1, size, width))
        return ops.reshape(ops.matmul(columns, y), (-1, n, size, size, channels))

    most = max(1, _MOST_NUMBERS // (size * (x.shape[2] or _WIDTH) * channels))
    if count <= most:
        return some((rows, columns))
    turns = math.ceil(count / most)
    each = math.ceil(count / turns)

    def in_turns(weights):
        padded = ops.pad(weights, ((0, 0), (0, turns * each - count), (0, 0), (0, 0)))
        return ops.moveaxis(ops.reshape(padded, (-1, turns, each, size, ops.shape(weights)[3])), 1, 0)

    y = ops.moveaxis(ops.map(some, (in_turns(rows), in_turns(columns))), 0, 1)
    return ops.reshape(y, (-1, turns * each, size, size, channels))[:, :count]


@registered
class RoIAlign(keras.layers.Layer):
    """What maps show inside boxes, each box as an item of a batch of its own; see `roi_align`.

    Args:
        size: positions a side of the results.
        strides: pixels a position of each map.
        points: points a side of a bin, 0 for as many as it has positions.
        aligned: whether a position's middle is half a position from its edge.
        finest_size: see `level_of`.

    Input shape: a list of boxes `(batch, n, 4)` in pixels and of maps `(batch, height, width, channels)`, finest first.
    Output shape: `(batch * n, size, size, channels)`.
    """

    exact = True

    def __init__(self, size, strides, points=0, aligned=True, finest_size=FINEST_SIZE, **kwargs):
        # Boxes are not rounded to the maps' precision.
        super().__init__(autocast=False, **kwargs)
        self.size, self.strides, self.points, self.aligned = size, tuple(strides), points, aligned
        self.finest_size = finest_size

    def call(self, inputs):
        boxes, *maps = inputs
        y = roi_align(maps, boxes, self.size, self.strides, self.points, self.aligned, self.finest_size)
        return ops.reshape(y, (-1, self.size, self.size, maps[0].shape[-1]))

    def compute_output_spec(self, inputs):
        _, *maps = inputs
        return keras.KerasTensor((None, self.size, self.size, maps[0].shape[-1]), maps[0].dtype)
