"""Semantic FPN: a feature pyramid, each level brought to the finest size by convolutions, and the sum classified."""

from keras import layers

from keras_mlp.cards import Paper
from keras_mlp.layers import Resize
from keras_mlp.tasks import necks
from keras_mlp.tasks.layouts import register
from keras_mlp.tasks.segmentation import segmenter
from keras_mlp.tasks.segmentation.segmenter import conv_unit


@segmenter.builder(
    Paper("Panoptic Feature Pyramid Networks", "Kirillov et al.", 2019, "https://arxiv.org/abs/1901.02446"),
    "semantic_fpn",
)
def SemanticFPN(
    backbone,
    classes,
    *,
    neck_channels=256,
    channels=128,
    dropout_rate=0.1,
    auxiliary=False,
    auxiliary_channels=256,
    level_norm="published",
):
    """A backbone as a segmenter with Semantic FPN, in the form of mmsegmentation's `FPN` and `FPNHead`.

    Args:
        neck_channels: width of the feature pyramid.
        channels: width of the head.
        auxiliary: whether the model has a second output for training, "auxiliary", of a small head on the last map but
            one.
        auxiliary_channels: width of that head.
    """

    def head(maps):
        return semantic_fpn_head(necks.feature_pyramid_network(maps, neck_channels), channels)

    return segmenter.on_levels(backbone, head, classes, auxiliary, auxiliary_channels, dropout_rate, level_norm)


def semantic_fpn_head(maps, channels: int):
    """What comes before the classifier: a level of `2^n` times the finest stride runs through `n` convolutions, at
    least one, each of which is followed by a doubling of the size.

    Args:
        maps: tensors `(batch, height, width, …)`, finest first, each of half the size of the one before it.
        channels: width of the result.

    Returns:
        A map at the size of the finest.
    """
    total = None
    for i, x in enumerate(maps):
        for j in range(max(1, i)):
            x = conv_unit(x, channels, 3, f"decoder_{i}_{j}")
            if i:
                x = Resize(2, name=f"decoder_{i}_{j}_up")(x)
        if total is None:
            total = x
        else:
            total = layers.Add(name=f"decoder_{i}_add")([total, Resize(name=f"decoder_{i}_resize")([x, total])])
    return total


# In the published list of a level's steps, doublings stand between the convolutions and have numbers of their own.
_HEAD = [
    (f"scale_heads.{{}}.{2 * j}.{part}", f"decoder_{{}}_{j}{ours}")
    for j in range(4)
    for part, ours in (("conv", ""), ("bn", "_norm"))
]

register("semantic_fpn", (*_HEAD, ("conv_seg", "head")), necks.CHECKPOINT)
