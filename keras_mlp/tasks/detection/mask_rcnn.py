"""Mask R-CNN and Cascade Mask R-CNN."""

from keras_mlp.cards import Paper
from keras_mlp.checkpoints import layouts as checkpoints
from keras_mlp.layers.configs import registered
from keras_mlp.tasks import backbones, layouts, necks
from keras_mlp.tasks.detection import detector, region_heads, regions, rpn
from keras_mlp.tasks.detection.region_detector import RATIOS, SCALES, RegionDetector, detections


@registered
class MaskRCNNDetector(RegionDetector):
    """What `MaskRCNN` builds."""


@registered
class CascadeMaskRCNNDetector(RegionDetector):
    """What `CascadeMaskRCNN` builds."""

    stages = tuple(
        regions.Stage(stds, overlap, weak=False, giou=True, box_weight=10.0, weight=weight)
        for stds, overlap, weight in (
            ((0.1, 0.1, 0.2, 0.2), 0.5, 1.0),
            ((0.05, 0.05, 0.1, 0.1), 0.6, 0.5),
            ((0.033, 0.033, 0.067, 0.067), 0.7, 0.25),
        )
    )


def _shared(
    *,
    channels=256,
    scales=SCALES,
    ratios=RATIOS,
    candidates=1000,
    proposals=1000,
    proposal_iou=0.7,
    threshold=0.05,
    iou=0.5,
    count=100,
    level_norm="published",
):
    """The arguments that both builders share, beside those of all detectors.

    Args:
        proposals: number of proposals.
        proposal_iou: overlap above which the less likely one of two proposals of a level goes.
    """


@detector.builder(
    Paper("Mask R-CNN", "He et al.", 2017, "https://arxiv.org/abs/1703.06870"), "mask_rcnn", MaskRCNNDetector, _shared
)
def MaskRCNN(backbone, classes=80, *, masks=True, box_width=1024, **options):
    """A backbone in stages as Mask R-CNN, in the form of mmdetection's `MaskRCNN`; without masks it is Faster R-CNN.

    Args:
        masks: whether the detector predicts masks.
        box_width: width of the two dense layers of the box head.
    """
    return _on_backbone(MaskRCNNDetector, backbone, classes, masks, dict(width=box_width), **options)


@detector.builder(
    Paper(
        "Cascade R-CNN: High Quality Object Detection and Instance Segmentation",
        "Cai and Vasconcelos",
        2019,
        "https://arxiv.org/abs/1906.09756",
    ),
    "cascade_mask_rcnn",
    CascadeMaskRCNNDetector,
    _shared,
)
def CascadeMaskRCNN(backbone, classes=80, *, masks=True, box_width=1024, box_convolutions=4, **options):
    """A backbone in stages as Cascade Mask R-CNN: three box heads, each of which refines the boxes of the one before.

    It has the form of mmdetection's `CascadeRCNN` with the heads that the authors of AS-MLP and Swin Transformer use:
    four convolutions with batch norm and one dense layer, trained by GIoU.

    Args:
        masks: whether the detector predicts masks, by a mask head for each box head.
        box_width: width of the dense layer of the box heads.
        box_convolutions: number of convolutions before it.
    """
    box_options = dict(width=box_width, dense=1, convolutions=box_convolutions, channels=options["channels"])
    return _on_backbone(CascadeMaskRCNNDetector, backbone, classes, masks, box_options, **options)


def _on_backbone(kind, backbone, classes, masks, box_options, *, level_norm, channels, **options):
    """The outputs of a detector of some kind, on the maps of a backbone of stride 4 and more."""
    maps, strides = backbones.from_stride(backbone, 4, level_norm)
    heads = dict(masks=masks, channels=channels, box_options=box_options, mask_options=dict(width=channels))
    return detections(backbone.inputs[0], maps, strides, classes, kind.stages, **heads, **options)


def _register(task, of_stages):
    rows = [row for stage, of_stage in enumerate(of_stages) for row in region_heads.rows(stage, of_stage)]
    checkpoints.register(layouts.Joined(task, "OpenMMLab", "torch", (*necks.CHECKPOINT, *rpn.CHECKPOINT, *rows)))


_register("mask_rcnn", [""])
_register("cascade_mask_rcnn", [".0", ".1", ".2"])
