"""Masks of objects: from the grid inside a box to the pixels of the image, and back."""

from keras import ops

from keras_mlp.tasks.detection.roi_align import axis_weights

THRESHOLD = 0.5
"""From which on a probability means that a pixel is the object's."""


def paste(masks, boxes, size, threshold: float | None = THRESHOLD):
    """Masks inside boxes as masks of whole images.

    A pixel's value is interpolated bilinearly at its middle between the cells of the grid, as if there were cells of 0
    around them.

    Args:
        masks: probabilities `(…, side, side)` in a grid over each box.
        boxes: `(…, 4)`, x1, y1, x2, y2 in pixels of the images.
        size: `(height, width)` of the images.
        threshold: from which on a pixel is the object's; `None` for the probabilities.

    Returns:
        `(…, height, width)` of truth values, or of probabilities. An empty box has no pixels.

    Source: `_do_paste_mask` of mmdetection's `FCNMaskHead`.
    """
    boxes = ops.cast(boxes, masks.dtype)
    rows = _taps(boxes[..., 1], boxes[..., 3], size[0], masks.shape[-2])
    columns = _taps(boxes[..., 0], boxes[..., 2], size[1], masks.shape[-1])
    pasted = ops.matmul(ops.matmul(rows, masks), ops.swapaxes(columns, -1, -2))
    return pasted if threshold is None else pasted >= threshold


def _taps(start, end, pixels: int, side: int):
    """How much each cell of a grid counts in each pixel along an axis: `(…, pixels, side)`."""
    start, end = start[..., None], end[..., None]
    middles = ops.arange(pixels, dtype=start.dtype) + 0.5
    extent = ops.where(end > start, end - start, 1)
    at = (middles - start) / extent * side - 0.5
    taps = ops.maximum(1 - ops.abs(ops.arange(side, dtype=start.dtype) - at[..., None]), 0)
    return taps * ops.cast((end > start)[..., None], taps.dtype)


def targets(masks, matched, boxes, side: int = 28):
    """Targets of a mask head: for each box the mask of its object, cut out by RoIAlign.

    Args:
        masks: of the objects, `(batch, objects, height, width)`, 0 or 1.
        matched: number of the object of each box, `(batch, n)`.
        boxes: `(batch, n, 4)`, x1, y1, x2, y2 in pixels of the masks.
        side: of the grid.

    Returns:
        `(batch, n, side, side)` of 0 and 1 in the boxes' dtype.

    Source: `BitmapMasks.crop_and_resize` and `mask_target` of mmdetection.
    """
    dtype, (height, width) = boxes.dtype, masks.shape[2:]
    flat = ops.reshape(masks, (-1, height, width))
    objects = ops.shape(masks)[1]
    number = ops.cast(matched, "int32") + objects * ops.arange(ops.shape(masks)[0], dtype="int32")[:, None]
    corners = ops.reshape(boxes, (-1, 4)) - 0.5
    rows = axis_weights(corners[:, 1], corners[:, 3], height, side)
    columns = axis_weights(corners[:, 0], corners[:, 2], width, side)

    def one(box):
        number, rows, columns = box
        mask = ops.cast(ops.take(flat, number, axis=0), dtype)
        return ops.matmul(ops.matmul(rows, mask), ops.transpose(columns))

    found = ops.map(one, (ops.reshape(number, (-1,)), rows, columns))
    return ops.cast(ops.reshape(found, (-1, boxes.shape[1], side, side)) >= THRESHOLD, dtype)
