"""Detectors in two steps: one head proposes boxes, and others classify and refine what is inside them."""

import functools

import keras
from keras import ops

from keras_mlp.heads import precise
from keras_mlp.tasks import necks
from keras_mlp.tasks.detection import detector, losses, masks, region_heads, regions, rpn
from keras_mlp.tasks.detection.boxes import select
from keras_mlp.tasks.detection.matching import Sampler
from keras_mlp.tasks.detection.roi_align import RoIAlign

SCALES, RATIOS = (8.0,), (0.5, 1.0, 2.0)
FINEST_STRIDES = 14
"""Side of a box, in positions of the first map, from which on the second one shows it to the heads; see `level_of`."""
BOX_SIZE, MASK_SIZE = 7, 14
"""Positions a side of what heads of boxes and of masks take."""


class RegionDetector(detector.Detector):
    """A detector that proposes boxes, and then classifies and refines them.

    Where there are mask heads, "masks" are among the detections and the targets. Those of
    detections are probabilities `(batch, count, 28, 28)` in a grid over each box; `masks.paste` puts them into the
    image. Those of targets are `(batch, n, height, width)`, 0 or 1, of the size of the input. The targets may have
    "image_size", `(batch, 2)`, height and width of each image inside its padding.

    Its losses are "loss_rpn_cls" and "loss_rpn_bbox" of the proposals, and "loss_cls", "loss_bbox" and "loss_mask" of
    the heads, with "s0_", "s1_" and "s2_" before them in a cascade.

    Attributes:
        stages: how each box head is trained.
        anchor_sampler: samples the anchors to learn from.
        sampler: samples the proposals to learn from.
    """

    stages: tuple[regions.Stage, ...] = (regions.Stage(),)
    anchor_sampler = Sampler(256, 0.5)
    sampler = Sampler(512, 0.25)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seed_generator = keras.random.SeedGenerator()

    @property
    def terms(self):
        own = ("loss_cls", "loss_bbox", *(["loss_mask"] if self.has_masks else []))
        return (
            "loss_rpn_cls",
            "loss_rpn_bbox",
            *(self._term(i, name) for i in range(len(self.stages)) for name in own),
        )

    def _term(self, stage, name):
        return f"s{stage}_{name}" if len(self.stages) > 1 else name

    @functools.cached_property
    def has_masks(self) -> bool:
        """Whether there are mask heads."""
        return any(layer.name == "masks" for layer in self.layers)

    def maps(self):
        return {"pyramid": self.get_layer("boxes_0_inside").input[1:], "rpn": self.get_layer("proposals").input[1:]}

    @functools.cached_property
    def heads(self) -> dict[str, keras.Model]:
        """The heads as models of what is inside boxes: "boxes_0" gives logits and deltas, "masks_0" logits."""
        found = {}
        for i in range(len(self.stages)):
            outputs = [self.get_layer(f"head_{i}_{name}").output for name in ("classes", "boxes")]
            found[f"boxes_{i}"] = keras.Model(self.get_layer(f"boxes_{i}_inside").output, outputs)
            if self.has_masks:
                inside, end = self.get_layer("masks_inside"), self.get_layer(f"head_{i}_masks")
                found[f"masks_{i}"] = keras.Model(inside.output, end.output)
        return found

    def losses_of(self, maps, targets, training=True):
        if self.has_masks and "masks" not in targets:
            raise ValueError(
                f"{self.name} learns masks, and the targets have none: they need 'masks' (batch, n, height, width). "
                f"Received: {', '.join(sorted(targets))}. Build the detector with masks=False to detect boxes alone."
            )
        of_anchors = rpn.losses_at_anchors(
            maps["rpn"], self.get_layer("proposals"), targets, self.anchor_sampler, self.seed_generator
        )
        *of_anchors, _, divisor = of_anchors
        found = {
            f"loss_rpn_{name}": losses.averaged(x, divisor) for name, x in zip(("cls", "bbox"), of_anchors, strict=True)
        }
        for i, (samples, logits, deltas) in enumerate(self.box_outputs(maps, targets, training)):
            stage = self.stages[i]
            of_boxes = regions.box_losses(logits, deltas, samples, stage)
            found |= {self._term(i, name): x for name, x in zip(("loss_cls", "loss_bbox"), of_boxes, strict=True)}
            if self.has_masks:
                of_masks = self._mask_loss(
                    maps["pyramid"], samples, targets["masks"], self.heads[f"masks_{i}"], training
                )
                found[self._term(i, "loss_mask")] = stage.weight * of_masks
        return found

    def box_outputs(self, maps, targets, training=True):
        """The samples of each stage, and the outputs of its box head for them.

        Args:
            maps, targets, training: see `losses_of`.

        Yields:
            For each stage `regions.Samples`, logits `(batch * k, classes + 1)`, and deltas to refined boxes.
        """
        proposals, pyramid = self.get_layer("proposals"), maps["pyramid"]
        image_size = targets.get("image_size")
        if image_size is None:
            image_size = regions.sizes(pyramid[0]) * proposals.strides[0]
        boxes, scores = proposals([image_size, *maps["rpn"]])
        valid = scores > 0
        for i, stage in enumerate(self.stages):
            samples = regions.sample(boxes, valid, targets, stage.matcher, self.sampler, self.seed_generator)
            inside = self.get_layer(f"boxes_{i}_inside")([samples.boxes, *pyramid])
            logits, deltas = self.heads[f"boxes_{i}"](inside, training=training)
            yield samples, logits, deltas
            if i + 1 < len(self.stages):
                # The next stage takes the boxes that this one has refined, except the objects' own boxes.
                refine, classes = self.get_layer(f"boxes_{i}_refined"), samples.classes(logits.shape[-1] - 1)
                boxes = refine([image_size, samples.boxes, logits, deltas], classes=classes)
                valid = ops.logical_and(samples.valid, ops.logical_not(samples.added))

    def _mask_loss(self, pyramid, samples, truth, head, training):
        """The loss of a mask head, of the samples that are objects: they stand first."""
        most = min(samples.boxes.shape[1], max(1, int(self.sampler.count * self.sampler.positives)))
        boxes, matches = samples.boxes[:, :most], samples.matches[:, :most]
        logits = head(self.get_layer("masks_inside")([boxes, *pyramid]), training=training)
        logits = self.get_layer("masks").logits(select(samples.labels, matches), logits)
        wanted = masks.targets(truth, ops.maximum(matches, 0), boxes, logits.shape[-1])
        return regions.mask_loss(logits, ops.cast(ops.stop_gradient(wanted), logits.dtype), matches >= 0)


def detections(
    image,
    maps,
    strides,
    classes: int,
    stages,
    *,
    channels: int = 256,
    masks: bool = True,
    box_options=None,
    mask_options=None,
    box_size: int = BOX_SIZE,
    mask_size: int = MASK_SIZE,
    finest_size: float | None = None,
    rpn_channels: int | None = None,
    scales=SCALES,
    ratios=RATIOS,
    candidates: int = 1000,
    proposals: int = 1000,
    proposal_iou: float = 0.7,
    threshold: float = 0.05,
    iou: float = 0.5,
    count: int = 100,
):
    """The outputs of a `RegionDetector`, from the maps of a backbone on.

    Args:
        image: the model's input.
        maps: of the backbone, finest first.
        strides: pixels a position of each map.
        classes: number of classes.
        stages: `regions.Stage` of each box head.
        channels: width of the feature pyramid.
        masks: whether there are mask heads.
        box_options: of `region_heads.box_head`.
        mask_options: of `region_heads.mask_head`.
        box_size, mask_size: positions a side of what the heads take.
        finest_size: see `roi_align.level_of`; by default 14 positions of the finest map.
        rpn_channels: width of the head that proposes, by default `channels`.
        scales, ratios, candidates, proposals, proposal_iou, threshold, iou, count: see `MaskRCNN`.
    """
    inside_options = dict(strides=strides, finest_size=finest_size or FINEST_STRIDES * strides[0])
    pyramid = necks.feature_pyramid_network(maps, channels, len(maps) + 1)
    outputs = rpn.rpn_head(pyramid, rpn_channels or channels, len(scales) * len(ratios))
    size = regions.ImageSize(name=detector.SIZE)(image)
    propose = rpn.Proposals(
        (*strides, 2 * strides[-1]),
        scales,
        ratios,
        candidates,
        threshold=0.0,
        iou=proposal_iou,
        count=proposals,
        dtype=precise(),
        name="proposals",
    )
    boxes, scores = propose([size, *outputs])
    maps, all_logits = pyramid[:-1], []
    for i, stage in enumerate(stages):
        inside = RoIAlign(box_size, **inside_options, name=f"boxes_{i}_inside")([boxes, *maps])
        logits, deltas = region_heads.box_head(inside, classes, stage=i, **(box_options or {}))
        all_logits.append(logits)
        if i + 1 < len(stages):
            refine = regions.RefinedBoxes(stage.stds, dtype=precise(), name=f"boxes_{i}_refined")
            boxes = refine([size, boxes, logits, deltas])
    choose = regions.RegionDetections(stages[-1].stds, threshold, iou, count, dtype=precise(), name=detector.DETECTIONS)
    found = choose([size, boxes, scores, deltas, *all_logits])
    if masks:
        inside = RoIAlign(mask_size, **inside_options, name="masks_inside")([found["boxes"], *maps])
        logits = [region_heads.mask_head(inside, classes, stage=i, **(mask_options or {})) for i in range(len(stages))]
        found = found | {"masks": regions.MasksOfClass(dtype=precise(), name="masks")([found["labels"], *logits])}
    return found
