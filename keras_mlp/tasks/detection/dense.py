"""Detections from the outputs at every anchor: the best of each level, decoded and without doubles."""

import keras
from keras import ops

from keras_mlp.layers.configs import registered
from keras_mlp.tasks.detection import boxes
from keras_mlp.tasks.detection.anchors import Anchors
from keras_mlp.tasks.detection.coder import BoxCoder
from keras_mlp.tasks.detection.nms import suppress

LOWEST = -1e9
"""A logit of the probability 0."""


def rows(x, last: int):
    """The values of a map `(batch, height, width, n * last)` as `(batch, height * width * n, last)`."""
    _, height, width, channels = x.shape
    known = height is not None and width is not None
    if known:
        return ops.reshape(x, (-1, height * width * channels // last, last))
    return ops.reshape(x, (ops.shape(x)[0], -1, last))


def top(values, count: int):
    """The largest values and where they stand, `(batch, k)` each, from `values` `(batch, n)`.

    `k` is `count`, or `n` where that is known to be smaller. What is missing where `n` is unknown is `LOWEST`.
    """
    n = values.shape[1]
    if n is not None:
        found, places = ops.top_k(values, min(count, n))
        return found, ops.cast(places, "int32")
    found, places = ops.top_k(ops.pad(values, ((0, 0), (0, count)), constant_values=LOWEST), count)
    return found, ops.minimum(ops.cast(places, "int32"), ops.shape(values)[1] - 1)


def best(logits, count: int):
    """The best pairs of a box and a class of each image.

    Args:
        logits: `(batch, n, classes)`.
        count: how many pairs, or all where there are not so many.

    Returns:
        `(logits, boxes, classes)`, `(batch, k)` each, best first: the values and where they stand.
    """
    batch, classes = ops.shape(logits)[0], logits.shape[2]
    # The best pairs are among the boxes whose best class is best: to sort those is far less work.
    values, which = top(ops.max(logits, axis=-1), count)
    if classes == 1:
        return values, which, ops.zeros_like(which)
    among = boxes.select(logits, which)
    if logits.shape[1] is None:  # a box stands there several times, where there are too few
        among = ops.where(ops.expand_dims(values, -1) > LOWEST, among, LOWEST)
    values, places = top(ops.reshape(among, (batch, which.shape[1] * classes)), count)
    return values, boxes.select(which, places // classes), places % classes


def proposed(logits, deltas, anchors, coder: BoxCoder, image_size, count: int):
    """The best boxes of one level.

    Args:
        logits: `(batch, n, classes)`.
        deltas: from the anchors to boxes, `(batch, n, 4)`.
        anchors: `(n, 4)`.
        coder: of the deltas.
        image_size: height and width of each image, `(batch, 2)`: boxes end there.
        count: how many pairs of a box and a class, or all where there are not so many.

    Returns:
        `(boxes, scores, classes)`, `(batch, k, 4)` and `(batch, k)` twice, best first. The score of a box without width
        or height is 0.
    """
    values, which, classes = best(logits, count)
    found = coder.decode(ops.take(anchors, which, axis=0), boxes.select(deltas, which))
    found = boxes.clip(found, image_size)
    valid = ops.all(boxes.sides(found) > 0, axis=-1)
    return found, ops.where(valid, ops.sigmoid(values), 0), classes


def sizes(image):
    """Height and width of all images of a batch, `(batch, 2)`."""
    batch, height, width = ops.shape(image)[:3]
    return ops.broadcast_to(ops.reshape(ops.stack([height, width]), (1, 2)), (batch, 2))


@registered
class DenseDetections(keras.layers.Layer):
    """What is detected, from logits and deltas to boxes at every anchor of a pyramid.

    Of each level the best pairs of an anchor and a class are taken whose score is high enough. Their boxes are decoded,
    clipped to the image, and suppressed class by class. All shapes are static, if the image's is.

    Args:
        strides: of the levels in pixels, finest first.
        scales: sides of the anchors in strides.
        ratios: heights of the anchors divided by their widths.
        candidates: number of pairs of each level at most.
        threshold: score, 0–1, that pairs are above.
        iou: overlap above which the worse one of two boxes of a class goes.
        count: number of detections of an image at most.

    Call arguments:
        inputs: a list of the images `(batch, height, width, channels)`; of a map of logits for each level,
            `(batch, height, width, anchors * classes)`; and of a map of deltas for each, `(…, anchors * 4)`.
        image_size: height and width of each image, `(batch, 2)`, where they are padded: boxes end there.

    Returns:
        `{"boxes": (batch, count, 4), "labels": (batch, count), "scores": (batch, count)}`, best first; where there are
        fewer, the label is -1 and the rest 0.
    """

    exact = True  # quantised exports leave it in float

    def __init__(self, strides, scales, ratios, candidates=1000, threshold=0.05, iou=0.5, count=100, **kwargs):
        super().__init__(**kwargs)
        self.strides, self.scales, self.ratios = tuple(strides), tuple(scales), tuple(ratios)
        self.candidates, self.threshold, self.iou, self.count = candidates, threshold, iou, count
        self.anchors, self.coder = Anchors(self.strides, self.scales, self.ratios), BoxCoder()

    @property
    def classes(self) -> int:
        """How many classes are told apart."""
        return self.input[1].shape[-1] // self.anchors.each

    def flat(self, maps):
        """Logits, deltas and anchors of each level: lists of `(batch, n, classes)`, `(batch, n, 4)` and `(n, 4)`.

        Args:
            maps: those of logits, and those of deltas.
        """
        logits, deltas = maps[: len(self.strides)], maps[len(self.strides) :]
        dtype = keras.backend.standardize_dtype(deltas[0].dtype)
        anchors = [self.anchors.on(level, ops.shape(x)[1:3], dtype) for level, x in enumerate(deltas)]
        classes = [x.shape[-1] // self.anchors.each for x in logits]
        return [rows(x, n) for x, n in zip(logits, classes, strict=True)], [rows(x, 4) for x in deltas], anchors

    def call(self, inputs, image_size=None):
        image, *maps = inputs
        image_size = sizes(image) if image_size is None else image_size
        levels = [
            proposed(*level, self.coder, image_size, self.candidates) for level in zip(*self.flat(maps), strict=True)
        ]
        found, scores, labels = (ops.concatenate(parts, axis=1) for parts in zip(*levels, strict=True))
        scores = ops.where(scores > self.threshold, scores, 0)
        kept = suppress(found, scores, self.count, self.iou, labels)
        valid = kept >= 0
        return {
            "boxes": ops.where(ops.expand_dims(valid, -1), boxes.select(found, kept), 0),
            "labels": ops.where(valid, boxes.select(labels, kept), -1),
            "scores": ops.where(valid, boxes.select(scores, kept), 0),
        }

    def compute_output_spec(self, inputs, image_size=None):
        batch, dtype = inputs[0].shape[0], self.compute_dtype
        return {
            "boxes": keras.KerasTensor((batch, self.count, 4), dtype),
            "labels": keras.KerasTensor((batch, self.count), "int32"),
            "scores": keras.KerasTensor((batch, self.count), dtype),
        }
