"""Region proposals: boxes in which there may be something, whatever it is (RPN)."""

import keras
from keras import initializers, layers, ops

from keras_mlp.heads import precise
from keras_mlp.layers import Activation
from keras_mlp.layers.configs import registered
from keras_mlp.tasks.detection import boxes, losses
from keras_mlp.tasks.detection.dense import DenseDetections, proposed
from keras_mlp.tasks.detection.matching import NEGATIVE, Matcher, Sampler
from keras_mlp.tasks.detection.nms import suppress

MATCHER = Matcher(0.7, 0.3, 0.3)
"""Which anchors are an object."""
CHECKPOINT = (
    ("rpn_head.rpn_conv", "rpn_conv"),
    ("rpn_head.rpn_cls", "rpn_objectness"),
    ("rpn_head.rpn_reg", "rpn_boxes"),
)
"""mmdetection's names of the tensors, as rows of a checkpoint's layout."""


def rpn_head(maps, channels: int, anchors: int):
    """How likely there is something at each anchor, and the deltas to its box; one head for all maps.

    Args:
        maps: tensors `(batch, height, width, …)` of one width.
        channels: width of the head.
        anchors: number of anchors at a position.

    Returns:
        Of each map logits `(batch, height, width, anchors)`, and then of each map deltas to boxes
        `(batch, height, width, anchors * 4)`, at least in float32.

    Source: Ren et al. 2015, Faster R-CNN, https://arxiv.org/abs/1506.01497, section 3.1, in the form of mmdetection's
    `RPNHead`.
    """
    start = dict(kernel_initializer=initializers.RandomNormal(stddev=0.01), data_format="channels_last")
    conv = layers.Conv2D(channels, 3, padding="same", **start, name="rpn_conv")
    act = Activation("relu", name="rpn_conv_act")
    maps = [act(conv(x)) for x in maps]
    objectness = layers.Conv2D(anchors, 1, **start, dtype=precise(), name="rpn_objectness")
    deltas = layers.Conv2D(4 * anchors, 1, **start, dtype=precise(), name="rpn_boxes")
    return [*map(objectness, maps), *map(deltas, maps)]


@registered
class Proposals(DenseDetections):
    """The likeliest boxes of all maps together, without doubles within a map.

    Args:
        strides, scales, ratios, candidates, threshold, iou, count: as of `DenseDetections`.

    Input shape: a list of the images' sizes `(batch, 2)`, and of what `rpn_head` gives.
    Output: `(boxes, scores)` of the shapes `(batch, count, 4)` and `(batch, count)`, best first, 0 where there are no
        more. No gradient goes through them.
    """

    def call(self, inputs):
        image_size, *maps = inputs
        levels = zip(*self.flat(maps), strict=True)
        found = [proposed(*level, self.coder, image_size, self.candidates) for level in levels]
        numbers = [ops.full_like(classes, i) for i, (_, _, classes) in enumerate(found)]
        places, scores, _ = (ops.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        scores = ops.where(scores > self.threshold, scores, 0)
        kept = suppress(places, scores, self.count, self.iou, ops.concatenate(numbers, axis=1))
        valid = kept >= 0
        places = ops.where(valid[..., None], boxes.select(places, kept), 0)
        return ops.stop_gradient(places), ops.stop_gradient(ops.where(valid, boxes.select(scores, kept), 0))

    def compute_output_spec(self, inputs):
        batch, dtype = inputs[0].shape[0], self.compute_dtype
        return keras.KerasTensor((batch, self.count, 4), dtype), keras.KerasTensor((batch, self.count), dtype)


def losses_at_anchors(maps, layer: Proposals, targets, sampler: Sampler, seed=None, matcher: Matcher = MATCHER):
    """The losses at sampled anchors, and which anchors these are.

    Args:
        maps: what `rpn_head` gives.
        layer: which makes proposals of it.
        targets: `{"boxes": (batch, m, 4), "labels": (batch, m), …}`, labels -1 for padding.
        sampler: samples the anchors that count.
        seed: see `Sampler`.
        matcher: matches anchors and objects.

    Returns:
        `(of_objectness, of_boxes, indices, divisor)`: binary cross entropy and L1 `(batch, k)` at the sampled anchors,
        their numbers `(batch, k)`, and what the sum of each is divided by: the number of sampled anchors, where an
        image counts for one positive and one negative at least.
    """
    logits, deltas, anchors = layer.flat(maps)
    logits, deltas = ops.squeeze(ops.concatenate(logits, axis=1), -1), ops.concatenate(deltas, axis=1)
    anchors, truth = ops.concatenate(anchors, axis=0), ops.cast(targets["boxes"], deltas.dtype)
    indices, matches = sampler(matcher(anchors, truth, targets["labels"]), seed)
    positive, negative = matches >= 0, matches == NEGATIVE
    wanted = ops.cast(positive, logits.dtype)
    sampled = wanted + ops.cast(negative, logits.dtype)
    of_objectness = losses.sigmoid_cross_entropy(boxes.select(logits, indices), wanted) * sampled
    wanted_deltas = layer.coder.encode(ops.take(anchors, indices, axis=0), boxes.select(truth, matches))
    of_boxes = ops.sum(ops.abs(boxes.select(deltas, indices) - wanted_deltas), axis=-1) * wanted
    divisor = losses.over_replicas(losses.at_least_one(positive) + losses.at_least_one(negative))
    return of_objectness, of_boxes, indices, divisor
