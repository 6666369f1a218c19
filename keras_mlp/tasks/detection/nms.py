"""Non-maximum suppression: of boxes that overlap the best one is kept."""

import keras
from keras import ops

from keras_mlp.tasks.detection import boxes as geometry
from keras_mlp.tasks.detection.boxes import select


def suppress(boxes, scores, count: int, threshold: float, groups=None):
    """The best boxes of each image, of which none overlaps a better one of its group by more than a threshold.

    Args:
        boxes: `(batch, n, 4)`.
        scores: `(batch, n)`; boxes whose score is not above 0 are left out.
        count: how many are kept at most.
        threshold: intersection over union, 0–1. A box goes if it is above it.
        groups: integers `(batch, n)` from 0, such as classes or levels; boxes of two groups do not suppress each other.
            `None` for one group.

    Returns:
        Integers `(batch, count)`, which boxes, best first; -1 where there are no more. Of equal scores the first is
        the better one.
    """
    if groups is not None:
        # Each group is moved to a place of its own, since TensorFlow's operator knows none.
        lowest = ops.min(boxes, axis=(1, 2), keepdims=True)
        extent = ops.max(boxes, axis=(1, 2), keepdims=True) - lowest + 1
        boxes = boxes + ops.expand_dims(ops.cast(groups, boxes.dtype), -1) * extent
    boxes, scores = ops.stop_gradient(boxes), ops.stop_gradient(scores)
    if keras.backend.backend() == "tensorflow" and keras.backend.standardize_dtype(boxes.dtype) == "float32":
        return _by_operator(boxes, scores, count, threshold)
    return _by_loop(boxes, scores, count, threshold)


def _by_operator(boxes, scores, count, threshold):
    """By TensorFlow's operator, which XLA and LiteRT have, too."""
    import tensorflow as tf

    def of_one(given):
        kept, found = tf.raw_ops.NonMaxSuppressionV4(
            boxes=given[0],
            scores=given[1],
            max_output_size=count,
            iou_threshold=threshold,
            score_threshold=0.0,
            pad_to_max_output_size=True,
        )
        return tf.ensure_shape(tf.where(tf.range(count) < found, kept, -1), (count,))

    if boxes.shape[0] == 1:  # without a loop, as phones like it
        return tf.expand_dims(of_one((boxes[0], scores[0])), 0)
    return tf.map_fn(of_one, (boxes, scores), fn_output_signature=tf.TensorSpec((count,), tf.int32))


def _by_loop(boxes, scores, count, threshold):
    """By `keras.ops`, all images at once."""
    places, numbers = ops.arange(ops.shape(scores)[1], dtype="int32"), ops.arange(count, dtype="int32")

    def step(i, state):
        kept, left = state
        best = ops.expand_dims(ops.cast(ops.argmax(left, axis=1), "int32"), -1)
        overlaps = geometry.iou(select(boxes, best), boxes)
        valid = select(left, best) > 0
        kept = ops.where(ops.logical_and(numbers == i, valid), best, kept)
        gone = ops.logical_or(overlaps > threshold, places == best)
        return kept, ops.where(gone, ops.cast(-1, left.dtype), left)

    kept = ops.full((ops.shape(scores)[0], count), -1, dtype="int32")
    return ops.fori_loop(0, count, step, (kept, scores))[0]
