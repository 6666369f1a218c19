"""GFNet: tokens are mixed by a product in the spectrum, each frequency of each channel with a weight of its own.

A global filter is a circular convolution as large as the map; a fast Fourier transform computes it in the time of
O(N log N) for N tokens. A block has one residual connection around filter and MLP. The filters and the position embedding
belong to one grid. For another one they are interpolated as the authors' fine-tuning does it, the filters by the number
of the frequency, not by the frequency.
"""

import functools

from keras import initializers, layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.layers import (
    GlobalFilter,
    LayerScale,
    PatchEmbedding,
    PositionEmbedding,
    channel_mlp,
    drop_path_rates,
    layer_norm,
    residual,
)

__all__ = ["GFNet", "GFNetTi", "GFNetXS", "GFNetS", "GFNetB", "GFNetHTi", "GFNetHS", "GFNetHB"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default, which convolutions keep
_norm = functools.partial(layer_norm, epsilon=1e-6)

family = Family(
    "gfnet",
    title="GFNet",
    paper=Paper(
        "Global Filter Networks for Image Classification", "Rao et al.", 2021, "https://arxiv.org/abs/2107.00645"
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="raoyongming/GFNet, main_gfnet.py and README (stochastic depth: Ti and XS 0, S 0.15, B 0.25, H-Ti 0.1, "
        "H-S 0.2, H-B 0.4)",
        learning_rate=1e-3,
        batch_size=1024,
        epochs=300,
        warmup_epochs=5,
        weight_decay=0.05,
        no_weight_decay=("bias", "beta", "gamma", "embedding"),
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        gradient_clip_norm=1.0,
    ),
    per_stage=("dims", "depths", "mlp_ratios"),
)


def gfnet_block(x, mlp_ratio, layer_scale, activation, drop_path_rate, dropout_rate, name):
    """Global filter, then channel MLP, each on the normalised input; one shortcut around both."""
    y = GlobalFilter(name=f"{name}_filter")(_norm(f"{name}_norm1")(x))
    y = _norm(f"{name}_norm2")(y)
    hidden = int(mlp_ratio * x.shape[-1])
    y = channel_mlp(y, hidden, activation, f"{name}_channel_mixing", dropout_rate, kernel_initializer=_NORMAL)
    if layer_scale:
        y = LayerScale(layer_scale, name=f"{name}_scale")(y)
    return residual(x, y, drop_path_rate, name)


@family.token_mixing
def _mixing(x):
    """One filter as large as the map for each channel."""
    return GlobalFilter()(x)


@family.builder
def GFNet(
    x,
    patch_size=16,
    dims=(384,),
    depths=(12,),
    mlp_ratios=(4,),
    layer_scale=None,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """GFNet of any size, flat with one stage or a pyramid with several.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`. The image's height and width must be multiples of it,
            and of twice as much for each further stage.
        dims: width of each stage. Every further one has half the height and width.
        depths: number of blocks of each stage.
        mlp_ratios: hidden width of the channel MLP of each stage, in multiples of the stage's width.
        layer_scale: what the scale of each channel of the branches starts from; `None` for no such scale, as in the
            flat models.
        activation: of the MLPs; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after the position embedding and after each linear layer of the MLPs.
    """
    x = PatchEmbedding(dims[0], patch_size, kernel_initializer=_UNIFORM, name="stem")(x)
    x = PositionEmbedding(interpolated=True, name="position")(x)
    if dropout_rate:
        x = layers.Dropout(dropout_rate, name="position_drop")(x)
    for stage, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
        if stage:
            x = PatchEmbedding(dims[stage], 2, kernel_initializer=_UNIFORM, name=f"down_{stage}")(x)
        for i, rate in enumerate(rates):
            name = f"stages_{stage}_{i}"
            x = gfnet_block(x, mlp_ratios[stage], layer_scale, activation or "gelu", rate, dropout_rate, name)
    return _norm("norm")(x)


_SOURCE = "the paper's table of ImageNet results and the authors' README"
_PYRAMID = dict(patch_size=4, mlp_ratios=(4, 4, 4, 4))

GFNetTi = family.variant(
    "GFNetTi", "gfnet_ti", title="GFNet-Ti", dims=(256,), depths=(12,),
    parameters=7_511_784, macs=1_271_916_544, scores=imagenet(74.6, _SOURCE),
)  # fmt: skip
GFNetXS = family.variant(
    "GFNetXS", "gfnet_xs", title="GFNet-XS", dims=(384,), depths=(12,),
    parameters=15_985_768, macs=2_832_718_848, scores=imagenet(78.6, _SOURCE),
)  # fmt: skip
GFNetS = family.variant(
    "GFNetS", "gfnet_s", title="GFNet-S", dims=(384,), depths=(19,), drop_path_rate=0.15,
    parameters=24_869_608, macs=4_451_195_904, scores=imagenet(80.0, _SOURCE),
)  # fmt: skip
GFNetB = family.variant(
    "GFNetB", "gfnet_b", title="GFNet-B", dims=(512,), depths=(19,), drop_path_rate=0.25,
    parameters=43_120_616, macs=7_887_376_384, scores=imagenet(80.7, _SOURCE),
)  # fmt: skip
GFNetHTi = family.variant(
    "GFNetHTi", "gfnet_h_ti", title="GFNet-H-Ti", dims=(64, 128, 256, 512), depths=(3, 3, 10, 3), layer_scale=1e-3,
    drop_path_rate=0.1, parameters=15_085_096, macs=2_039_664_640, scores=imagenet(80.1, _SOURCE), **_PYRAMID,
)  # fmt: skip
GFNetHS = family.variant(
    "GFNetHS", "gfnet_h_s", title="GFNet-H-S", dims=(96, 192, 384, 768), depths=(3, 3, 10, 3), layer_scale=1e-5,
    drop_path_rate=0.2, parameters=32_162_632, macs=4_581_636_096, scores=imagenet(81.5, _SOURCE), **_PYRAMID,
)  # fmt: skip
GFNetHB = family.variant(
    "GFNetHB", "gfnet_h_b", title="GFNet-H-B", dims=(96, 192, 384, 768), depths=(3, 3, 27, 3), layer_scale=1e-6,
    drop_path_rate=0.4, parameters=53_744_200, macs=8_512_223_232, scores=imagenet(82.9, _SOURCE), **_PYRAMID,
)  # fmt: skip


_BLOCK = (
    ("norm{}", "norm{}"),
    ("filter.complex_weight", "filter/filter", lambda weight: weight),
    ("mlp.fc{}", "channel_mixing_fc{}"),
    ("gamma", "scale/gamma"),
)
family.layout(
    "gfnet",
    convention="torch",
    names=(
        ("patch_embed.proj", "stem"),
        ("patch_embed.0.proj", "stem"),
        ("patch_embed.{}.proj", "down_{}"),
        ("pos_embed", "position/embedding", lambda embedding: embedding[0]),
        *(("blocks.{}." + theirs, "stages_0_{}_" + ours, *how) for theirs, ours, *how in _BLOCK),
        *(("blocks.{}.{}." + theirs, "stages_{}_{}_" + ours, *how) for theirs, ours, *how in _BLOCK),
        ("norm", "norm"),
        ("head", "head"),
    ),
)


def _share(model, file, top1):
    """One of the authors' files, from the cloud that their README names."""
    return Weights(
        model, "imagenet1k", f"https://cloud.tsinghua.edu.cn/f/{file}/?dl=1", "pth", "gfnet", "ImageNet-1k", 1000, "MIT",
        preprocessing=_IMAGENET, scores=imagenet(top1, "the authors' README"), key="model",
    )  # fmt: skip


family.publish(
    _share("gfnet_ti", "3d0c1579aa524a0a99dd", 74.6),
    _share("gfnet_xs", "e0ab5b1583954a1fa9b2", 78.6),
    _share("gfnet_s", "e5561fa070c44d9399bf", 80.0),
    _share("gfnet_b", "2fbf264597af4d72afb3", 80.7),
    _share("gfnet_h_ti", "b22dd45eccbe462cbbfb", 80.1),
    _share("gfnet_h_s", "5229cb4d1daf48e69675", 81.5),
    _share("gfnet_h_b", "954c5af21e824ba6b40c", 82.9),
)
