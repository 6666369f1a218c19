"""Boxes `(…, 4)`: left, top, right and bottom in pixels, where the first pixel is from 0 to 1."""

from keras import ops

SMALLEST_UNION = 1e-6
"""Square pixels that two boxes are taken to cover at least, as in mmdetection, so that none divides by zero."""


def sides(boxes):
    """Widths and heights `(…, 2)`; negative for reversed boxes."""
    return boxes[..., 2:] - boxes[..., :2]


def areas(boxes):
    """Areas `(…,)` in square pixels."""
    widths_and_heights = sides(boxes)
    return widths_and_heights[..., 0] * widths_and_heights[..., 1]


def intersections(first, second):
    """Areas that boxes share which stand at the same place, in shapes that broadcast: `(…,)` in square pixels."""
    shared = ops.minimum(first[..., 2:], second[..., 2:]) - ops.maximum(first[..., :2], second[..., :2])
    shared = ops.maximum(shared, 0)
    return shared[..., 0] * shared[..., 1]


def iou(first, second):
    """Intersection over union of boxes that stand at the same place, in shapes that broadcast: `(…,)`, from 0 to 1."""
    shared = intersections(first, second)
    return shared / ops.maximum(areas(first) + areas(second) - shared, SMALLEST_UNION)


def clip(boxes, image_size):
    """The part of boxes that lies in their image.

    Args:
        boxes: `(batch, …, 4)`.
        image_size: `(batch, 2)`, height and width of each image.
    """
    height, width = image_size[:, 0], image_size[:, 1]
    limits = ops.cast(ops.stack([width, height, width, height], axis=-1), boxes.dtype)
    limits = ops.reshape(limits, (-1, *(1,) * (len(boxes.shape) - 2), 4))
    return ops.minimum(ops.maximum(boxes, 0), limits)


def select(values, indices):
    """Of each image the values at some places.

    Args:
        values: `(batch, n, …)`.
        indices: `(batch, k)`, integers below `n`; what stands at negative ones is the first value.

    Returns:
        A tensor `(batch, k, …)`.
    """
    # One gather along one axis: LiteRT has it, and a detector's batch is 1 there.
    batch, n = ops.shape(values)[:2]
    starts = ops.expand_dims(ops.arange(batch, dtype="int32") * n, -1)
    flat = ops.reshape(values, (-1, *values.shape[2:]))
    return ops.take(flat, starts + ops.maximum(ops.cast(indices, "int32"), 0), axis=0)
