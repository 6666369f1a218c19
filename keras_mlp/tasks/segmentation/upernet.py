"""UPerNet: a pooling pyramid on the coarsest map, a feature pyramid over all, and one classifier of the sum of both."""

from keras import layers

from keras_mlp.cards import Paper
from keras_mlp.layers import AdaptiveAveragePooling, Resize
from keras_mlp.tasks.layouts import register
from keras_mlp.tasks.segmentation import segmenter
from keras_mlp.tasks.segmentation.segmenter import conv_unit


@segmenter.builder(
    Paper(
        "Unified Perceptual Parsing for Scene Understanding", "Xiao et al.", 2018, "https://arxiv.org/abs/1807.10221"
    ),
    "upernet",
)
def UPerNet(
    backbone,
    classes,
    *,
    channels=512,
    pool_sizes=(1, 2, 3, 6),
    dropout_rate=0.1,
    auxiliary=False,
    auxiliary_channels=256,
    level_norm="published",
):
    """A backbone as a segmenter with the head of UPerNet, in the form of mmsegmentation's `UPerHead`.

    Args:
        channels: width of the head.
        pool_sizes: parts a side of the averages of the coarsest map.
        auxiliary: whether the model has a second output for training, "auxiliary", of a small head on the last map but
            one.
        auxiliary_channels: width of that head.
    """

    def head(maps):
        return upernet_head(maps, channels, pool_sizes)

    return segmenter.on_levels(backbone, head, classes, auxiliary, auxiliary_channels, dropout_rate, level_norm)


def upernet_head(maps, channels: int, pool_sizes=(1, 2, 3, 6)):
    """What comes before the classifier.

    Args:
        maps: tensors `(batch, height, width, …)`, finest first.
        channels: width of the result.
        pool_sizes: parts a side of the averages of the coarsest map.

    Returns:
        A map at the size of the finest.
    """
    *finer, coarsest = maps
    pooled = [AdaptiveAveragePooling(size, name=f"decoder_pool_{i}")(coarsest) for i, size in enumerate(pool_sizes)]
    pooled = [conv_unit(x, channels, 1, f"decoder_pool_{i}_conv") for i, x in enumerate(pooled)]
    merged = [conv_unit([coarsest, *pooled], channels, 3, "decoder_bottleneck")]
    for i, x in reversed(list(enumerate(finer))):
        lateral = conv_unit(x, channels, 1, f"decoder_lateral_{i}")
        down = Resize(name=f"decoder_top_down_{i}")([merged[0], lateral])
        merged.insert(0, layers.Add(name=f"decoder_top_down_{i}_add")([lateral, down]))
    *finer, coarsest = merged
    finer = [conv_unit(x, channels, 3, f"decoder_fpn_{i}") for i, x in enumerate(finer)]
    return conv_unit([*finer, coarsest], channels, 3, "decoder_fpn_bottleneck")


register(
    "upernet",
    (
        ("psp_modules.{}.1.conv", "decoder_pool_{}_conv"),
        ("psp_modules.{}.1.bn", "decoder_pool_{}_conv_norm"),
        ("bottleneck.conv", "decoder_bottleneck"),
        ("bottleneck.bn", "decoder_bottleneck_norm"),
        ("lateral_convs.{}.conv", "decoder_lateral_{}"),
        ("lateral_convs.{}.bn", "decoder_lateral_{}_norm"),
        ("fpn_convs.{}.conv", "decoder_fpn_{}"),
        ("fpn_convs.{}.bn", "decoder_fpn_{}_norm"),
        ("fpn_bottleneck.conv", "decoder_fpn_bottleneck"),
        ("fpn_bottleneck.bn", "decoder_fpn_bottleneck_norm"),
        ("conv_seg", "head"),
    ),
)
