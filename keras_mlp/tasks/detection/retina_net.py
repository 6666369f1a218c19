"""RetinaNet: classes and box deltas at every anchor of a feature pyramid, learnt by the focal loss."""

import math

import keras
from keras import layers, ops

from keras_mlp.cards import Paper
from keras_mlp.checkpoints import layouts as checkpoints
from keras_mlp.checkpoints import load
from keras_mlp.heads import precise
from keras_mlp.layers.configs import registered
from keras_mlp.tasks import backbones, layouts, necks
from keras_mlp.tasks.detection import boxes, detector, losses
from keras_mlp.tasks.detection.anchors import octaves
from keras_mlp.tasks.detection.dense import DenseDetections
from keras_mlp.tasks.detection.matching import IGNORED, Matcher

SCALES = octaves(4, 3)
RATIOS = (0.5, 1.0, 2.0)
PRIOR = 0.01
"""Probability that the head gives each class at first, so that the many negatives do not drown all else."""


@registered
class RetinaNetDetector(detector.Detector):
    """What `RetinaNet` builds. Its losses are called "loss_cls" (focal) and "loss_bbox" (L1)."""

    terms = ("loss_cls", "loss_bbox")
    matcher = Matcher(positive=0.5, negative=0.4, lowest=0.0)

    def losses_at_anchors(self, maps, targets):
        """The losses that `losses_of` sums, and what their sum is divided by.

        Args:
            maps: what `network` gives.
            targets: of the data.

        Returns:
            `(batch, n, classes)` and `(batch, n, 4)`, zero where an anchor is left out, the levels one after the other;
            and the number of positive anchors in the batch.
        """
        last = self.get_layer(detector.DETECTIONS)
        logits, deltas, anchors = last.flat(maps)
        logits, deltas = ops.concatenate(logits, axis=1), ops.concatenate(deltas, axis=1)
        anchors, truth = ops.concatenate(anchors, axis=0), ops.cast(targets["boxes"], deltas.dtype)
        matches = self.matcher(anchors, truth, targets["labels"])
        positive = matches >= 0
        labels = ops.where(positive, boxes.select(targets["labels"], matches), -1)
        wanted = ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
        counted = ops.cast(ops.expand_dims(matches != IGNORED, -1), logits.dtype)
        of_classes = losses.focal(logits, wanted) * counted
        wanted = last.coder.encode(anchors, boxes.select(truth, matches))
        of_boxes = ops.abs(deltas - wanted) * ops.cast(ops.expand_dims(positive, -1), deltas.dtype)
        return of_classes, of_boxes, losses.over_replicas(losses.at_least_one(positive))

    def losses_of(self, maps, targets, training=True):
        of_classes, of_boxes, divisor = self.losses_at_anchors(maps, targets)
        return {name: losses.averaged(x, divisor) for name, x in zip(self.terms, (of_classes, of_boxes), strict=True)}


def retina_head(maps, classes: int, channels: int = 256, convolutions: int = 4, anchors: int = 9):
    """Two heads, each of which is the same for all levels: mmdetection's `RetinaHead`.

    Args:
        maps: tensors `(batch, height, width, channels)`, finest first.
        classes: number of classes.
        channels: width of the 3 x 3 convolutions before the last one.
        convolutions: number of those.
        anchors: number of anchors at a position.

    Returns:
        A map of logits `(batch, height, width, anchors * classes)` for each level, at least in float32, and one of
        deltas to boxes `(…, anchors * 4)` for each, in one list.
    """
    start = keras.initializers.RandomNormal(stddev=0.01)
    conv = dict(kernel_size=3, data_format="channels_last", padding="same", kernel_initializer=start)
    prior = keras.initializers.Constant(-math.log((1 - PRIOR) / PRIOR))
    last = {
        "class": layers.Conv2D(anchors * classes, **conv, bias_initializer=prior, dtype=precise(), name=load.HEAD),
        "box": layers.Conv2D(anchors * 4, **conv, dtype=precise(), name="decoder_box"),
    }
    results = []
    for what, end in last.items():
        steps = [
            layers.Conv2D(channels, **conv, activation="relu", name=f"decoder_{what}_{i}") for i in range(convolutions)
        ]
        for x in maps:
            for step in (*steps, end):
                x = step(x)
            results.append(x)
    return results


@detector.builder(
    Paper("Focal Loss for Dense Object Detection", "Lin et al.", 2017, "https://arxiv.org/abs/1708.02002"),
    "retina_net",
    RetinaNetDetector,
)
def RetinaNet(
    backbone,
    classes=80,
    *,
    channels=256,
    convolutions=4,
    levels=5,
    scales=SCALES,
    ratios=RATIOS,
    candidates=1000,
    threshold=0.05,
    iou=0.5,
    count=100,
    level_norm="published",
):
    """A backbone in stages as a detector with the head of RetinaNet, in the form of mmdetection's `RetinaHead`.

    It looks at the backbone's maps of stride 8 and more, and at coarser ones that it makes itself.

    Args:
        convolutions: number of convolutions in front of the last one of each head.
        levels: number of maps that are looked at, the backbone's among them.
    """
    maps, strides = backbones.from_stride(backbone, 8, level_norm)
    strides += [strides[-1] * 2 ** (i + 1) for i in range(levels - len(strides))]
    maps = necks.feature_pyramid_network(maps, channels, levels, "on_input")
    maps = retina_head(maps, classes, channels, convolutions, len(scales) * len(ratios))
    settings = dict(candidates=candidates, threshold=threshold, iou=iou, count=count)
    last = DenseDetections(strides, scales, ratios, **settings, dtype=precise(), name=detector.DETECTIONS)
    return last([backbone.inputs[0], *maps])


checkpoints.register(
    layouts.Joined(
        "retina_net",
        "OpenMMLab",
        "torch",
        (
            *necks.CHECKPOINT,
            ("bbox_head.cls_convs.{}.conv", "decoder_class_{}"),
            ("bbox_head.reg_convs.{}.conv", "decoder_box_{}"),
            ("bbox_head.retina_cls", "head"),
            ("bbox_head.retina_reg", "decoder_box"),
        ),
    )
)
