"""ConvNeXt: a convolutional network with the measures of a Swin Transformer.

A block is one depthwise convolution of 7 x 7, which mixes the positions of each channel, and an MLP along the channels,
with one layer norm between them and one residual connection around all. It is the network that vision MLPs and
transformers are measured against. Every part is a convolution or works on each position by itself, so any image size
goes. The isotropic variants have the blocks of the others in the shape of a vision transformer: one width, patches of
16 pixels, and nothing between blocks.
"""

import functools

from keras import initializers, layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet, timm_hub
from keras_mlp.family import Family
from keras_mlp.heads import average_norm_and_classify
from keras_mlp.layers import DepthwiseConv2D, LayerScale, channel_mlp, drop_path_rates, layer_norm, residual

__all__ = [
    "ConvNeXt",
    "ConvNeXtTiny",
    "ConvNeXtSmall",
    "ConvNeXtBase",
    "ConvNeXtLarge",
    "ConvNeXtXLarge",
    "ConvNeXtIsotropicSmall",
    "ConvNeXtIsotropicBase",
    "ConvNeXtIsotropicLarge",
]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_AT_384 = Preprocessing(crop_pct=1.0, interpolation="bicubic", squash=True)  # from 384 pixels on, the authors warp
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_norm = functools.partial(layer_norm, epsilon=1e-6)

family = Family(
    "convnext",
    title="ConvNeXt",
    paper=Paper("A ConvNet for the 2020s", "Liu et al.", 2022, "https://arxiv.org/abs/2201.03545"),
    level_norm=_norm,
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="facebookresearch/ConvNeXt, TRAINING.md and main.py's defaults: ConvNeXt-T on ImageNet-1k. Other variants "
        "have other rates of stochastic depth (their builders' defaults); isotropic ones warm up for 50 epochs",
        learning_rate=4e-3,
        batch_size=4096,
        epochs=300,
        warmup_epochs=20,
        final_learning_rate=1e-6,
        weight_decay=0.05,
        label_smoothing=0.1,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        drop_path_rate=0.1,
        ema_decay=0.9999,
    ),
    per_stage=("dims", "depths"),
    head=average_norm_and_classify(_norm),  # the norm is after the average: there is one vector
)


def convnext_block(x, layer_scale, activation, drop_path_rate, dropout_rate, name):
    """A block: depthwise convolution, norm, MLP, scale; all on one residual branch."""
    y = DepthwiseConv2D(7, padding="same", depthwise_initializer=_NORMAL.clone(), name=f"{name}_token_mixing")(x)
    y = _norm(f"{name}_norm")(y)
    hidden = 4 * x.shape[-1]
    y = channel_mlp(y, hidden, activation, f"{name}_channel_mixing", dropout_rate, kernel_initializer=_NORMAL)
    if layer_scale:
        y = LayerScale(layer_scale, name=f"{name}_scale")(y)
    return residual(x, y, drop_path_rate, name)


def patches(x, dim, size, name):
    """Patches that do not overlap, each projected to one vector; surplus rows and columns are dropped."""
    return layers.Conv2D(dim, size, size, kernel_initializer=_NORMAL.clone(), name=name)(x)


@family.token_mixing
def _mixing(x):
    """The convolution of 7 x 7 positions."""
    return DepthwiseConv2D(7, padding="same")(x)


@family.builder
def ConvNeXt(
    x,
    patch_size=4,
    dims=(96, 192, 384, 768),
    depths=(3, 3, 9, 3),
    stem_norm=True,
    layer_scale=1e-6,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """ConvNeXt of any size, for images of any size.

    A block computes, with the depthwise convolution `D` of 7 x 7 and zeros around the map,

        y = x + gamma * (W2 activation(W1 norm(D x) + b1) + b2),    W1: (4C, C), W2: (C, 4C).

    Args:
        patch_size: side of a patch in pixels; rows and columns that are left over at the end are dropped.
        dims: width of each stage. Each stage has half the height and width of the one before, rounded down.
        depths: number of blocks of each stage.
        stem_norm: whether a norm follows the patch embedding; the isotropic variants have none.
        layer_scale: what the scale `gamma` of a block's channels starts from; `None` or 0 for no scale.
        activation: of the MLPs. "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the MLPs; the reference has none.
    """
    activation, rates = activation or "gelu", drop_path_rates(drop_path_rate, depths)
    for stage, (dim, stage_rates) in enumerate(zip(dims, rates, strict=True)):
        if stage == 0:
            x = patches(x, dim, patch_size, "stem")
            x = _norm("stem_norm")(x) if stem_norm else x
        else:
            x = patches(_norm(f"down_{stage}_norm")(x), dim, 2, f"down_{stage}")
        for i, rate in enumerate(stage_rates):
            x = convnext_block(x, layer_scale, activation, rate, dropout_rate, f"stages_{stage}_{i}")
    return x


_SOURCE = "the README of facebookresearch/ConvNeXt"
_IMAGENET_1K, _IMAGENET_22K = "ImageNet-1k", "ImageNet-22k"
_BOTH = f"{_IMAGENET_22K}, then {_IMAGENET_1K}"

ConvNeXtTiny = family.variant(
    "ConvNeXtTiny", "convnext_tiny", title="ConvNeXt-T", depths=(3, 3, 9, 3),
    parameters=28_589_128, macs=4_455_531_264, scores=imagenet({_IMAGENET_1K: 82.1, _BOTH: 82.9}, _SOURCE),
)  # fmt: skip
ConvNeXtSmall = family.variant(
    "ConvNeXtSmall", "convnext_small", title="ConvNeXt-S", depths=(3, 3, 27, 3), drop_path_rate=0.4,
    parameters=50_223_688, macs=8_683_712_256, scores=imagenet({_IMAGENET_1K: 83.1, _BOTH: 84.6}, _SOURCE),
)  # fmt: skip
ConvNeXtBase = family.variant(
    "ConvNeXtBase", "convnext_base", title="ConvNeXt-B", dims=(128, 256, 512, 1024), depths=(3, 3, 27, 3),
    drop_path_rate=0.5, parameters=88_591_464, macs=15_354_729_472,
    scores=imagenet({_IMAGENET_1K: 83.8, _BOTH: 85.8}, _SOURCE),
)  # fmt: skip
ConvNeXtLarge = family.variant(
    "ConvNeXtLarge", "convnext_large", title="ConvNeXt-L", dims=(192, 384, 768, 1536), depths=(3, 3, 27, 3),
    drop_path_rate=0.5, parameters=197_767_336, macs=34_361_433_600,
    scores=imagenet({_IMAGENET_1K: 84.3, _BOTH: 86.6}, _SOURCE),
)  # fmt: skip
ConvNeXtXLarge = family.variant(
    "ConvNeXtXLarge", "convnext_xlarge", title="ConvNeXt-XL", dims=(256, 512, 1024, 2048), depths=(3, 3, 27, 3),
    drop_path_rate=0.2, parameters=350_196_968, macs=60_921_030_656, scores=imagenet({_BOTH: 87.0}, _SOURCE),
    note="The rate of stochastic depth is that of its training on ImageNet-22k.",
)  # fmt: skip

_ISOTROPIC = dict(patch_size=16, stem_norm=False)

ConvNeXtIsotropicSmall = family.variant(
    "ConvNeXtIsotropicSmall", "convnext_isotropic_small", title="ConvNeXt-S (isotropic)", **_ISOTROPIC, dims=(384,),
    depths=(18,), layer_scale=None, parameters=22_308_712, macs=4_286_367_744, scores=imagenet(78.7, _SOURCE),
)  # fmt: skip
ConvNeXtIsotropicBase = family.variant(
    "ConvNeXtIsotropicBase", "convnext_isotropic_base", title="ConvNeXt-B (isotropic)", **_ISOTROPIC, dims=(768,),
    depths=(18,), layer_scale=None, drop_path_rate=0.2, parameters=87_083_752, macs=16_896_331_776,
    scores=imagenet(82.0, _SOURCE),
)  # fmt: skip
ConvNeXtIsotropicLarge = family.variant(
    "ConvNeXtIsotropicLarge", "convnext_isotropic_large", title="ConvNeXt-L (isotropic)", **_ISOTROPIC, dims=(1024,),
    depths=(36,), drop_path_rate=0.5, parameters=305_942_504, macs=59_699_224_576, scores=imagenet(82.6, _SOURCE),
    note="That it has layer scale, which the smaller isotropic variants have not, is inferred from the command in "
    "TRAINING.md: it leaves the default where theirs switch it off.",
)  # fmt: skip


_BLOCK = (
    ("dwconv", "token_mixing"),
    ("norm", "norm"),
    ("pwconv1", "channel_mixing_fc1"),
    ("pwconv2", "channel_mixing_fc2"),
    ("gamma", "scale/gamma"),
)
_HEAD = (("norm", "head_norm"), ("head", "head"))

TORCH = (
    ("downsample_layers.0.0", "stem"),
    ("downsample_layers.0.1", "stem_norm"),
    ("downsample_layers.{}.0", "down_{}_norm"),
    ("downsample_layers.{}.1", "down_{}"),
    *((f"stages.{{}}.{{}}.{theirs}", f"stages_{{}}_{{}}_{ours}") for theirs, ours in _BLOCK),
    *_HEAD,
)
"""The authors' names, which networks with these blocks share."""

# Backbones of detectors and segmentors have a norm for each map.
family.layout("convnext", convention="torch", names=(*TORCH, ("norm{}", "level_{}_norm")))
family.layout(
    "timm",
    convention="torch",
    names=(
        ("stem.0", "stem"),
        ("stem.1", "stem_norm"),
        ("stages.{}.downsample.0", "down_{}_norm"),
        ("stages.{}.downsample.1", "down_{}"),
        ("stages.{}.blocks.{}.conv_dw", "stages_{}_{}_token_mixing"),
        ("stages.{}.blocks.{}.norm", "stages_{}_{}_norm"),
        ("stages.{}.blocks.{}.mlp.fc{}", "stages_{}_{}_channel_mixing_fc{}"),
        ("stages.{}.blocks.{}.gamma", "stages_{}_{}_scale/gamma"),
        ("head.norm", "head_norm"),
        ("head.fc", "head"),
    ),
)
family.layout(
    "isotropic",
    convention="torch",
    names=(
        ("stem", "stem"),
        *((f"blocks.{{}}.{theirs}", f"stages_0_{{}}_{ours}") for theirs, ours in _BLOCK),
        *_HEAD,
    ),
)


def _weights(size, tag, file, data, top1=None, classes=1000, layout="convnext", side=224):
    """One of the authors' files."""
    url = f"https://dl.fbaipublicfiles.com/convnext/convnext_{file}.pth"
    return Weights(
        f"convnext_{size}", tag, url, "pth", layout, data, classes, "MIT",
        preprocessing=_IMAGENET if side < 384 else _AT_384, input_size=(side, side),
        scores=imagenet(top1, _SOURCE), key="model",
    )  # fmt: skip


_HUB = dict(preprocessing=_IMAGENET)


def _hub_22k(size, top1, top1_384):
    """timm's copies of those that saw ImageNet-22k."""
    model, name, at_384 = f"convnext_{size}", f"convnext_{size}.fb_in22k", {"input_size": (384, 384)}
    yield timm_hub(model, "imagenet22k_timm_hf", name, _IMAGENET_22K, classes=21841, **_HUB)
    yield timm_hub(model, "imagenet22k_1k_timm_hf", f"{name}_ft_in1k", _BOTH, top1, **_HUB)
    name += "_ft_in1k_384"
    yield timm_hub(model, "imagenet22k_1k_384_timm_hf", name, _BOTH, top1_384, preprocessing=_AT_384, **at_384)


family.publish(
    *(
        _weights(size, "imagenet1k", f"{size}_1k_224_ema", _IMAGENET_1K, top1)
        for size, top1 in (("tiny", 82.1), ("small", 83.1), ("base", 83.8), ("large", 84.3))
    ),
    *(
        _weights(size, "imagenet1k_384", f"{size}_1k_384", _IMAGENET_1K, top1, side=384)
        for size, top1 in (("base", 85.1), ("large", 85.5))
    ),
    *(
        _weights(size, "imagenet22k", f"{size}_22k_224", _IMAGENET_22K, classes=21841)
        for size in ("tiny", "small", "base", "large", "xlarge")
    ),
    *(
        _weights(size, f"imagenet22k_1k{at}", f"{size}_22k_1k_{side}{ema}", _BOTH, top1, side=side)
        for size, ema, *top1s in (
            ("tiny", "", 82.9, 84.1),
            ("small", "", 84.6, 85.8),
            ("base", "", 85.8, 86.8),
            ("large", "", 86.6, 87.5),
            ("xlarge", "_ema", 87.0, 87.8),
        )
        for top1, side, at in zip(top1s, (224, 384), ("", "_384"), strict=True)
    ),
    *(
        _weights(f"isotropic_{size}", "imagenet1k", f"iso_{size}_1k_224_ema", _IMAGENET_1K, top1, layout="isotropic")
        for size, top1 in (("small", 78.7), ("base", 82.0), ("large", 82.6))
    ),
    *(
        timm_hub(f"convnext_{size}", "imagenet_timm_hf", f"convnext_{size}.fb_in1k", _IMAGENET_1K, top1, **_HUB)
        for size, top1 in (("tiny", 82.066), ("small", 83.144), ("base", 83.838), ("large", 84.304))
    ),
    *(
        weights
        for size, top1, top1_384 in (
            ("tiny", 82.9, 84.098),
            ("small", 84.582, 85.752),
            ("base", 85.814, 86.826),
            ("large", 86.612, 87.456),
            ("xlarge", 86.97, 87.764),
        )
        for weights in _hub_22k(size, top1, top1_384)
    ),
)
