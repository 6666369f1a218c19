"""SPACH: one frame, three token mixers, to compare them with nothing else different.

Every block mixes the channels with the same MLP and adds a depthwise 3 x 3 convolution. Its token mixing is an MLP over
all positions, self-attention over all positions, or nothing. Blocks of different kinds can follow each other, in one
stage or in four. Between stages the size is halved and the width doubled. The paper's hybrids convolve first and attend
later.
"""

from keras import initializers, layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.layers import (
    TOKEN_NORMS,
    LayerScale,
    PatchEmbedding,
    SelfAttention,
    TokenMLP,
    batch_norm,
    channel_mlp,
    drop_path_rates,
    norm_named,
    residual,
)
from keras_mlp.layers.patch_embedding import sides

__all__ = [
    "SPACH",
    "SPACHMLPXXS",
    "SPACHConvXXS",
    "SPACHTransXXS",
    "SPACHMLPXS",
    "SPACHConvXS",
    "SPACHTransXS",
    "SPACHMLPS",
    "SPACHConvS",
    "SPACHTransS",
    "SPACHMLPMSXXS",
    "SPACHConvMSXXS",
    "SPACHTransMSXXS",
    "SPACHMLPMSXS",
    "SPACHConvMSXS",
    "SPACHTransMSXS",
    "SPACHHybridMSXS",
    "SPACHMLPMSS",
    "SPACHConvMSS",
    "SPACHTransMSS",
    "SPACHHybridMSS",
    "SPACHHybridMSSPlus",
]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_FAN_OUT = initializers.VarianceScaling(2, "fan_out", "untruncated_normal")
KINDS = ("mlp", "conv", "attention")

family = Family(
    "spach",
    title="SPACH",
    paper=Paper(
        "A Battle of Network Structures: An Empirical Study of CNN, Transformer, and MLP",
        "Zhao et al.",
        2021,
        "https://arxiv.org/abs/2108.13002",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="microsoft/SPACH, main.py's defaults (DeiT style); the variants' own rates of stochastic depth are not there",
        learning_rate=5e-4,
        batch_size=512,
        epochs=300,
        warmup_epochs=20,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        repeated_augmentation=3,
        drop_path_rate=0.1,
        ema_decay=0.99996,
    ),
    per_stage=("stages", "token_dims"),
)


def stem(x, dim, patch_size, convolutions, norm):
    """One convolution of the patch's size, or (section 3.3) three of 64 channels before one of half its size."""
    if convolutions == 4:
        x = layers.ZeroPadding2D(3, name="stem_pad")(x)
        for i, (window, stride, padding) in enumerate([(7, 2, "valid"), (3, 1, "same"), (3, 1, "same")], 1):
            x = layers.Conv2D(
                64, window, stride, padding, use_bias=False, kernel_initializer=_FAN_OUT.clone(), name=f"stem_conv{i}"
            )(x)
            x = batch_norm(f"stem_norm{i}")(x)
            x = layers.ReLU(name=f"stem_relu{i}")(x)
        patch_size = tuple(side // 2 for side in sides(patch_size))
    x = PatchEmbedding(dim, patch_size, kernel_initializer=_FAN_OUT, name="stem")(x)
    return norm("stem_norm")(x)


def _half(x):
    """Half the number of positions of `x`, or `None` where that is unknown."""
    height, width = x.shape[1:3]
    return height * width // 2 if height and width else None


def spach_block(
    x, token_mixing, channel_dim, initial_scale, convolve, norm, activation, drop_path_rate, dropout_rate, name
):
    """Section 3.1: token mixing, beside it the convolution of the same input, then the channel MLP."""
    y = x
    if token_mixing:
        y = token_mixing(norm(f"{name}_norm1")(x))
        if initial_scale is not None:
            y = LayerScale(initial_scale, name=f"{name}_scale")(y)
        y = residual(x, y, drop_path_rate, name, 1)
    if convolve:
        local = layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=_FAN_OUT.clone(), name=f"{name}_conv")(
            x
        )
        y = layers.Add(name=f"{name}_add_conv")([y, local])
    x = y
    y = norm(f"{name}_norm2")(x)
    y = channel_mlp(y, channel_dim, activation, f"{name}_channel_mixing", dropout_rate)
    return residual(x, y, drop_path_rate, name, 2)


@family.token_mixing
def _mixing(x):
    """The MLP over all positions, whose hidden layer is half as wide as they are many."""
    return TokenMLP(_half(x))(x)


@family.builder
def SPACH(
    x,
    patch_size=16,
    dim=384,
    stages=((("mlp", 12),),),
    heads=12,
    token_dims=None,
    mlp_ratio=2,
    stem_convolutions=1,
    convolve=True,
    initial_scale=1e-4,
    qkv_bias=True,
    share_token_mixing=False,
    qk_scale=None,
    norm="layer",
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """SPACH of any size and any mixture of its three kinds of block.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`; the image's height and width must be multiples of
            it, times two for each further stage.
        dim: width of the first stage; every further one is twice as wide at half the height and width.
        stages: for each stage its blocks in order, as `(kind, number)` with the kinds "mlp" (an MLP over all
            positions), "attention" (self-attention over all positions) and "conv" (only the depthwise convolution).
        heads: number of heads of attention, the same in all stages.
        token_dims: for each stage the hidden width of the MLP over the positions. By default half their number, as all
            published models have it at 224 x 224, which they keep at other sizes.
        mlp_ratio: hidden width of the channel MLP, in multiples of the stage's width.
        stem_convolutions: 1 for one convolution of the patch's size, 4 for three of 64 channels before it.
        convolve: whether blocks have the depthwise convolution.
        initial_scale: what layer scale of the token mixing starts from; `None` for no layer scale.
        qkv_bias: whether the first linear layer of attention has a bias.
        share_token_mixing: use one token mixer for all blocks of a stage (an ablation; no published model does).
        qk_scale: factor on attention's products of queries and keys, positive. By default one over the square root of a
            head's width, as in all published models.
        norm: "layer", "affine" for a scale and a shift of each channel, or a function that makes a layer of its name;
            published models have the first. Those between the stages are always group norms with one group.
        activation: of the MLPs; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth: with one stage, of every block; with more, of the last block, rising linearly
            from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    for kind in {kind for stage in stages for kind, _ in stage}:
        if kind not in KINDS:
            raise ValueError(f"The kinds of blocks in `stages` must be among {KINDS}. Received: {kind!r}")
    if stem_convolutions not in (1, 4):
        raise ValueError(f"`stem_convolutions` must be 1 or 4. Received: stem_convolutions={stem_convolutions!r}")
    norm, activation = norm_named(TOKEN_NORMS, norm), activation or "gelu"
    x = stem(x, dim, patch_size, stem_convolutions, norm)
    depths = [sum(count for _, count in stage) for stage in stages]
    rates = [[drop_path_rate] * depths[0]] if len(stages) == 1 else drop_path_rates(drop_path_rate, depths)
    for number, (stage, token_dim) in enumerate(zip(stages, token_dims or [None] * len(stages), strict=True), 1):
        if number > 1:
            x = PatchEmbedding(2 * x.shape[-1], 2, use_bias=False, kernel_initializer=_FAN_OUT, name=f"down_{number}")(
                x
            )
            x = layers.GroupNormalization(1, epsilon=1e-5, name=f"down_{number}_norm")(x)
        shared = {}
        # The published checkpoints count the halving as the first layer of its stage.
        kinds = [kind for kind, count in stage for _ in range(count)]
        for i, (kind, rate) in enumerate(zip(kinds, rates[number - 1], strict=True), int(number > 1)):
            name = f"stages_{number}_{i}"
            mixing = shared.get(kind)
            if mixing is None and kind == "mlp":
                mixing = TokenMLP(token_dim or _half(x), activation, name=f"{name}_token_mixing")
            elif mixing is None and kind == "attention":
                mixing = SelfAttention(heads, qkv_bias, scale=qk_scale, name=f"{name}_token_mixing")
            if share_token_mixing:
                shared[kind] = mixing
            hidden = int(mlp_ratio * x.shape[-1])
            x = spach_block(x, mixing, hidden, initial_scale, convolve, norm, activation, rate, dropout_rate, name)
    return norm("norm")(x)


def _pure(kind, *counts):
    """Stages of one kind of block; of several stages the first only convolves."""
    kinds = [kind] if len(counts) == 1 else ["conv"] + [kind] * (len(counts) - 1)
    return tuple(((kind, count),) for kind, count in zip(kinds, counts, strict=True))


_SOURCE = "the README of the authors' repository"


def _variant(kind, size, parameters, macs, top1=None, plus=False, **config):
    """A variant as the paper names them: kind, then MS for four stages, then size."""
    names = {"mlp": "MLP", "conv": "Conv", "attention": "Trans", "hybrid": "Hybrid"}
    multi = len(config["stages"]) > 1
    builder = f"SPACH{names[kind]}{'MS' if multi else ''}{size}{'Plus' if plus else ''}"
    model = f"spach_{names[kind]}_{'ms_' if multi else ''}{size}{'_plus' if plus else ''}".lower()
    title = f"SPACH-{names[kind]}-{'MS-' if multi else ''}{size}{'+' if plus else ''}"
    return family.variant(
        builder, model, title=title, parameters=parameters, macs=macs, scores=imagenet(top1, _SOURCE),
        patch_size=4 if multi else 16, token_dims=(1568, 392, 98, 24) if multi else (98,), **config,
    )  # fmt: skip


# models/registry.py of the authors' repository. Accuracies of the single-stage models and of the XS ones are only in the
# paper's tables, which were not at hand.
SPACHMLPXXS = _variant("mlp", "XXS", 8_307_184, 1_630_602_240, dim=384, heads=12, mlp_ratio=2, stages=_pure("mlp", 12))
SPACHConvXXS = _variant(
    "conv", "XXS", 7_828_840, 1_453_581_312, dim=384, heads=12, mlp_ratio=2, stages=_pure("conv", 12)
)
SPACHTransXXS = _variant(
    "attention", "XXS", 3_931_048, 903_811_584, dim=192, heads=6, mlp_ratio=2, stages=_pure("attention", 12)
)
SPACHMLPXS = _variant("mlp", "XS", 15_932_536, 3_203_017_728, dim=384, heads=12, mlp_ratio=2, stages=_pure("mlp", 24))
SPACHConvXS = _variant(
    "conv", "XS", 14_975_848, 2_848_975_872, dim=384, heads=12, mlp_ratio=2, stages=_pure("conv", 24)
)
SPACHTransXS = _variant(
    "attention", "XS", 14_938_984, 3_194_889_216, dim=384, heads=12, mlp_ratio=2, stages=_pure("attention", 12)
)
SPACHMLPS = _variant("mlp", "S", 39_820_024, 7_970_066_432, dim=512, heads=16, mlp_ratio=3, stages=_pure("mlp", 24))
SPACHConvS = _variant("conv", "S", 38_854_120, 7_498_010_624, dim=512, heads=16, mlp_ratio=3, stages=_pure("conv", 24))
SPACHTransS = _variant(
    "attention", "S", 32_507_368, 6_726_103_040, dim=512, heads=16, mlp_ratio=3, stages=_pure("attention", 12)
)
# fmt: off
SPACHMLPMSXXS = _variant("mlp", "XXS", 6_562_446, 931_126_272, 74.5, dim=64, heads=2, mlp_ratio=2, stages=_pure("mlp", 2, 2, 6, 2))
SPACHConvMSXXS = _variant("conv", "XXS", 5_085_224, 712_358_912, 73.1, dim=64, heads=2, mlp_ratio=2, stages=_pure("conv", 2, 2, 6, 2))
SPACHTransMSXXS = _variant("attention", "XXS", 2_372_744, 530_039_296, 65.4, dim=32, heads=1, mlp_ratio=2, stages=_pure("attention", 2, 2, 6, 2))
SPACHMLPMSXS = _variant("mlp", "XS", 20_260_283, 3_409_135_872, dim=96, heads=3, mlp_ratio=2, stages=_pure("mlp", 3, 4, 12, 3))
SPACHConvMSXS = _variant("conv", "XS", 17_302_120, 2_754_640_128, dim=96, heads=3, mlp_ratio=2, stages=_pure("conv", 3, 4, 12, 3))
SPACHTransMSXS = _variant("attention", "XS", 14_479_080, 3_081_744_896, dim=64, heads=2, mlp_ratio=2, stages=_pure("attention", 3, 4, 12, 3))
SPACHHybridMSXS = _variant(
    "hybrid", "XS", 27_956_584, 4_444_316_928, dim=96, heads=3, mlp_ratio=2,
    stages=((("conv", 3),), (("conv", 4),), (("conv", 2), ("attention", 10)), (("conv", 1), ("attention", 2))),
)
SPACHMLPMSS = _variant("mlp", "S", 46_542_011, 8_013_679_616, 82.1, dim=128, heads=4, mlp_ratio=3, stages=_pure("mlp", 3, 4, 12, 3))
SPACHConvMSS = _variant("conv", "S", 43_576_168, 7_141_018_624, 81.6, dim=128, heads=4, mlp_ratio=3, stages=_pure("conv", 3, 4, 12, 3))
SPACHTransMSS = _variant("attention", "S", 39_537_544, 7_532_022_528, 82.9, dim=96, heads=3, mlp_ratio=3, stages=_pure("attention", 3, 4, 12, 3))
_HYBRID_S = dict(
    dim=128, heads=4, mlp_ratio=3,
    stages=((("conv", 3),), (("conv", 2), ("attention", 2)), (("conv", 2), ("attention", 10)), (("conv", 1), ("attention", 2))),
)
SPACHHybridMSS = _variant("hybrid", "S", 63_028_584, 11_050_933_248, 83.7, **_HYBRID_S)
SPACHHybridMSSPlus = _variant("hybrid", "S", 63_138_728, 12_177_284_096, 83.9, plus=True, stem_convolutions=4, **_HYBRID_S)
# fmt: on


_BLOCK = (
    ("norm{}", "norm{}"),
    ("gamma_1", "scale/gamma", lambda gamma: gamma.reshape(-1)),
    ("spatial_func.fc{}", "token_mixing/fc{}"),
    ("spatial_func.qkv", "token_mixing/qkv"),
    ("spatial_func.proj", "token_mixing/proj"),
    ("cpe_net.net.1", "conv"),
    ("channel_func.fc{}", "channel_mixing_fc{}"),
)

family.layout(
    "spach",
    convention="torch",
    names=(
        ("stem.proj", "stem"),
        ("stem.proj.9", "stem"),
        *((f"stem.proj.{index}", name) for index, name in (
            (0, "stem_conv1"), (1, "stem_norm1"), (3, "stem_conv2"), (4, "stem_norm2"), (6, "stem_conv3"), (7, "stem_norm3"),
        )),
        ("norm1", "stem_norm"),
        ("layer{}.0.net.1.0", "down_{}"),
        ("layer{}.0.net.1.1", "down_{}_norm"),
        *(("blocks.{}." + theirs, "stages_1_{}_" + ours, *how) for theirs, ours, *how in _BLOCK),
        *(("layer{}.{}." + theirs, "stages_{}_{}_" + ours, *how) for theirs, ours, *how in _BLOCK),
        ("norm2", "norm"),
        ("head", "head"),
    ),
)  # fmt: skip


def _release(model, file, top1):
    """One of the authors' files, which their repository releases."""
    return Weights(
        model, "imagenet1k", f"https://github.com/microsoft/SPACH/releases/download/v1.0/{file}.pth", "pth", "spach",
        "ImageNet-1k", 1000, "MIT", preprocessing=_IMAGENET, scores=imagenet(top1, _SOURCE), key="model",
    )  # fmt: skip


family.publish(
    _release("spach_conv_ms_xxs", "spach_ms_conv_xxs", 73.1),
    _release("spach_trans_ms_xxs", "spach_ms_trans_xxs", 65.4),
    _release("spach_mlp_ms_xxs", "spach_ms_mlp_xxs", 74.5),
    _release("spach_conv_ms_s", "spach_ms_conv_s", 81.6),
    _release("spach_trans_ms_s", "spach_ms_trans_s", 82.9),
    _release("spach_mlp_ms_s", "spach_ms_mlp_s", 82.1),
    _release("spach_hybrid_ms_s", "spach_ms_hybrid_s", 83.7),
    _release("spach_hybrid_ms_s_plus", "spach_ms_hybrid_s+", 83.9),
)
