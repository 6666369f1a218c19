"""Semantic FPN: a feature pyramid, each level brought to the finest size by convolutions, and the sum classified."""

import keras
from keras import layers

from keras_mlp.layers import Resize
from keras_mlp.tasks import segmenter
from keras_mlp.tasks.layouts import register
from keras_mlp.tasks.segmenter import conv_unit


def SemanticFPN(
    backbone: keras.Model,
    classes: int,
    *,
    neck_channels: int = 256,
    channels: int = 128,
    dropout_rate: float = 0.1,
    auxiliary: bool = False,
    auxiliary_channels: int = 256,
    level_norm="published",
    weights=None,
    new_head: bool = False,
    name: str = "semantic_fpn",
) -> keras.Model:
    """A backbone of the zoo as a segmenter with the head of Semantic FPN.

    Source: Kirillov et al. 2019, Panoptic Feature Pyramid Networks, https://arxiv.org/abs/1901.02446, in the form of
    mmsegmentation's `FPN` and `FPNHead`.

    Args:
        backbone: a model of the zoo of several levels, without its top.
        classes: number of classes, at least 2.
        neck_channels: width of the feature pyramid.
        channels: width of the head.
        dropout_rate: dropout before the classifiers.
        auxiliary: whether the model has a second output for training, of a small head on the last map but one.
        auxiliary_channels: width of that head.
        level_norm: the norm of each of the backbone's maps: "published" for that of the family's authors, `None`, or a
            function that makes a layer of its name.
        weights: path of a checkpoint, such as the authors' `.pth`.
        new_head: keep all of the checkpoint but the classifiers, which start fresh with any number of `classes`.
        name: name of the model.

    Returns:
        A functional model from the backbone's input to logits `(batch, height, width, classes)` at the images' size;
        with `auxiliary` to `{"logits": …, "auxiliary": …}`.

    Raises:
        ValueError: an argument is wrong, or the weights do not fit.
    """

    def make():
        def head(maps):
            return semantic_fpn_head(feature_pyramid_network(maps, neck_channels), channels)

        return segmenter.on_levels(backbone, head, classes, auxiliary, auxiliary_channels, dropout_rate, level_norm)

    return segmenter.build(backbone, make, classes, weights=weights, new_head=new_head, name=name)


def feature_pyramid_network(maps, channels: int):
    """FPN: every map in one width, with what the coarser ones know added to it.

    Args:
        maps: tensors `(batch, height, width, …)`, finest first.
        channels: width of the results.

    Returns:
        As many maps of the same sizes.

    Source: Lin et al. 2017, https://arxiv.org/abs/1612.03144, in the form of mmdetection's and mmsegmentation's `FPN`.
    """
    conv = dict(data_format="channels_last", padding="same", kernel_initializer="glorot_uniform")
    merged = []
    for i, x in reversed(list(enumerate(maps))):
        y = layers.Conv2D(channels, 1, **conv, name=f"neck_lateral_{i}")(x)
        if merged:
            down = Resize(interpolation="nearest", name=f"neck_top_down_{i}")([merged[0], y])
            y = layers.Add(name=f"neck_top_down_{i}_add")([y, down])
        merged.insert(0, y)
    return [layers.Conv2D(channels, 3, **conv, name=f"neck_{i}")(x) for i, x in enumerate(merged)]


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

register(
    "semantic_fpn",
    (*_HEAD, ("conv_seg", "head")),
    (
        ("neck.lateral_convs.{}.conv", "neck_lateral_{}"),
        ("neck.fpn_convs.{}.conv", "neck_{}"),
    ),
)
