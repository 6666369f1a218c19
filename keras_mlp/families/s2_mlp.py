"""S²-MLP and S²-MLPv2: tokens see their neighbours by a shift of channels, which has no weights.

The channels are cut into four groups. Each group moves by one token, another way each. At the border the tokens keep what
they had. All that is learned works on the channels of one token. S²-MLP has the shift between the two layers of an MLP.
S²-MLPv2 makes three maps of the channels, shifts two of them in different orders, and joins them by split attention. Its
trunk is Vision Permutator's pyramid. Both take images of any size that the patches divide.

The authors published neither code nor weights, so both families follow the papers. Inferred here, where a paper is silent:
    both: the first two groups move along the height and the next two along the width, as the second paper says; the first
    calls its first axis the width. The form of GELU is the exact one.
    S²-MLP: the epsilon of layer norm, 1e-6. The deep model has affine maps in place of all norms, the stem's too. Initial
    weights and the rise of stochastic depth are DeiT's. No norm follows the last block, because the paper names none.
    S²-MLPv2: norms and their epsilon, initial weights and the norm after the last block are Vision Permutator's, whose
    pyramid the paper takes over. The hidden layer of split attention is a quarter as wide as the map, with which the model
    has as many parameters as the paper says. Split attention pools the mean over the tokens, as the paper's text has it.
    The paper's formula has the sum, which saturates the softmax.
"""

import functools

from keras import initializers, layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, imagenet
from keras_mlp.families.vip import permutator, permutator_block
from keras_mlp.family import Family
from keras_mlp.layers import (
    TOKEN_NORMS,
    Dense,
    PatchEmbedding,
    PixelShift,
    SplitAttention,
    activations,
    drop_path_rates,
    mixing_block,
    norm_named,
)

__all__ = [
    "S2MLP",
    "S2MLPWide",
    "S2MLPDeep",
    "S2MLPV2",
    "S2MLPV2Small7",
    "S2MLPV2Medium7",
    "S2MLPV2Small14",
]

_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_FIRST, _SECOND = ("down", "up", "right", "left"), ("right", "left", "down", "up")
_STRENGTHS = "strengths of the augmentations, which the paper does not give, are DeiT's"
_LIKE_DEIT = dict(
    epochs=300,
    weight_decay=0.05,
    mixup=0.8,
    cutmix=1.0,
    rand_augment=(2, 9),
    random_erasing=0.25,
    drop_path_rate=0.1,
)

family = Family(
    "s2_mlp",
    title="S²-MLP",
    paper=Paper(
        "S²-MLP: Spatial-Shift MLP Architecture for Vision", "Yu et al.", 2021, "https://arxiv.org/abs/2106.07477"
    ),
    preprocessing=Preprocessing(crop_pct=0.875, interpolation="bicubic"),
    recipe=Recipe(
        source=f"the paper, which follows DeiT; warm-up, rate of stochastic depth and {_STRENGTHS}",
        learning_rate=1e-3,
        batch_size=1024,
        repeated_augmentation=3,
        **_LIKE_DEIT,
    ),
)
v2 = Family(
    "s2_mlp_v2",
    title="S²-MLPv2",
    paper=Paper(
        "S²-MLPv2: Improved Spatial-Shift MLP Architecture for Vision",
        "Yu et al.",
        2021,
        "https://arxiv.org/abs/2108.01072",
    ),
    preprocessing=Preprocessing(crop_pct=0.875, interpolation="bicubic"),
    recipe=Recipe(
        source=(
            "the paper, for the small models (medium: batch 744); random erasing stands for its CutOut; decay of the "
            f"moving average and {_STRENGTHS}"
        ),
        learning_rate=2e-3,
        learning_rate_rule="constant",
        batch_size=1024,
        warmup_epochs=10,
        ema_decay=0.99996,
        **_LIKE_DEIT,
    ),
    per_stage=("dims", "depths", "transitions", "mlp_ratios"),
)


def spatial_shift(x, moves, name):
    """The four quarters of the channels, each moved by one token its own way; borders keep what they had.

    Raises:
        ValueError: four does not divide the channels.
    """
    if x.shape[-1] % 4:
        raise ValueError(
            "A spatial shift moves four groups of channels: widths must be multiples of 4. "
            f"Received: {x.shape[-1]} channels"
        )
    return PixelShift(4, moves, "replicate", name=name)(x)


def shift_mlp(x, activation, name):
    """S²-MLP's token mixing: `fc2(shift(activation(fc1(x))))`, as wide as the tokens throughout."""
    linear, dim = dict(kernel_initializer=_NORMAL), x.shape[-1]
    x = Dense(dim, activation=activations.get(activation), **linear, name=f"{name}_fc1")(x)
    x = spatial_shift(x, _FIRST, f"{name}_shift")
    return Dense(dim, **linear, name=f"{name}_fc2")(x)


@family.token_mixing
def _mixing(x):
    """All channels move, a quarter each way."""
    return shift_mlp(x, "gelu", "mixing")


@family.builder
def S2MLP(
    x,
    patch_size=16,
    dim=768,
    depth=12,
    mlp_ratio=4,
    norm="layer",
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """S²-MLP of any size, for images of any size.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`; the image's height and width must be multiples of it.
        dim: width of the tokens, a multiple of 4.
        depth: number of blocks.
        mlp_ratio: hidden width of the channel MLP, in multiples of `dim`.
        norm: "layer" for layer norm, as in the wide model, "affine" for a scale and a shift of each channel, as in the
            deep one, or a function that makes a layer of its name.
        activation: of the MLPs; "gelu" (exact) by default.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    norm, activation = norm_named(TOKEN_NORMS, norm), activation or "gelu"
    x = PatchEmbedding(dim, patch_size, kernel_initializer=_NORMAL, name="stem")(x)
    x = norm("stem_norm")(x)
    for i, rate in enumerate(*drop_path_rates(drop_path_rate, [depth])):
        x = mixing_block(
            x,
            functools.partial(shift_mlp, activation=activation),
            int(mlp_ratio * dim),
            activation,
            norm,
            rate,
            dropout_rate,
            f"blocks_{i}",
            kernel_initializer=_NORMAL,
        )
    return x


def three_shifts(x, split_attention, reduction, pooling, activation, name):
    """S²-MLPv2's token mixing: three linear maps of the channels, of which two are shifted, joined and projected.

    The paper has one linear layer that is three times as wide, and cuts its output in three, which is the same.
    """
    linear, dim, maps = dict(kernel_initializer=_NORMAL), x.shape[-1], []
    for i, moves in enumerate((_FIRST, _SECOND, None)):
        y = Dense(dim, **linear, name=f"{name}_expand{i}")(x)
        maps.append(spatial_shift(y, moves, f"{name}_shift{i}") if moves else y)
    if split_attention:
        options = dict(use_bias=False, pooling=pooling, branch_major=True, **linear)
        y = SplitAttention(activation, reduction, **options, name=f"{name}_reweight")(maps)
    else:
        y = layers.Average(name=f"{name}_mean")(maps)
    return Dense(dim, **linear, name=f"{name}_proj")(y)


@v2.token_mixing
def _mixing_v2(x):
    """Three maps, of which two move."""
    return three_shifts(x, True, 4, "mean", "gelu", "mixing")


@v2.builder
def S2MLPV2(
    x,
    patch_size=7,
    dims=(192, 384),
    depths=(4, 14),
    transitions=(True, False),
    mlp_ratios=(3, 3),
    split_attention=True,
    reduction=4,
    attention_pooling="mean",
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """S²-MLPv2 of any size, for images of any size.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`; the image's height and width must be multiples of
            it, and of twice that where the size is halved once.
        dims: width of each stage, multiples of 4.
        depths: number of blocks of each stage.
        transitions: for each stage, whether the height and width are halved after it.
        mlp_ratios: hidden width of the channel MLP, in multiples of the stage's width.
        split_attention: join the three maps by split attention, not by their mean (an ablation of the paper).
        reduction: how many times narrower the hidden layer of split attention is than the map. The paper does not say;
            with 4 the parameters are the published ones.
        attention_pooling: how split attention pools the tokens: by their "mean", as the paper says, or by their "sum",
            as its formula has it.
        activation: of the MLPs and split attention; "gelu" (exact) by default.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    activation = activation or "gelu"
    mixing = functools.partial(
        three_shifts,
        split_attention=split_attention,
        reduction=reduction,
        pooling=attention_pooling,
        activation=activation,
    )
    blocks = []
    for dim, depth, ratio in zip(dims, depths, mlp_ratios, strict=True):
        block = functools.partial(
            permutator_block,
            token_mixing=mixing,
            channel_dim=int(ratio * dim),
            activation=activation,
            dropout_rate=dropout_rate,
        )
        blocks.append([block] * depth)
    return permutator(x, blocks, patch_size, dims, transitions, drop_path_rate)


_SOURCE = "the paper"  # of the settings, too
_COUNTED = "The paper's count of parameters has neither norms nor the classifier"
_NOTE = "The paper leaves some details open: the docstring of keras_mlp.families.s2_mlp lists what is inferred."

S2MLPWide = family.variant(
    "S2MLPWide", "s2_mlp_wide", title="S²-MLP-wide", dim=768, depth=12,
    parameters=72_241_384, macs=13_989_033_984, scores=imagenet(80.0, _SOURCE), note=f"{_NOTE} {_COUNTED}: 71M.",
)  # fmt: skip
S2MLPDeep = family.variant(
    "S2MLPDeep", "s2_mlp_deep", title="S²-MLP-deep", dim=384, depth=36, norm="affine",
    parameters=53_917_288, macs=10_462_682_112, scores=imagenet(80.7, _SOURCE),
    note=f"{_NOTE} {_COUNTED}: 51M, probably in units of 2^20.",
)  # fmt: skip
S2MLPV2Small7 = v2.variant(
    "S2MLPV2Small7", "s2_mlp_v2_small7", title="S²-MLPv2-Small/7", patch_size=7, dims=(192, 384), depths=(4, 14),
    drop_path_rate=0.1, parameters=25_113_448, macs=6_901_767_168, scores=imagenet(82.0, _SOURCE), note=_NOTE,
)  # fmt: skip
S2MLPV2Medium7 = v2.variant(
    "S2MLPV2Medium7", "s2_mlp_v2_medium7", title="S²-MLPv2-Medium/7", patch_size=7, dims=(256, 512), depths=(7, 17),
    drop_path_rate=0.1, parameters=55_269_864, macs=16_284_307_456, scores=imagenet(83.6, _SOURCE), note=_NOTE,
)  # fmt: skip
S2MLPV2Small14 = v2.variant(
    "S2MLPV2Small14", "s2_mlp_v2_small14", title="S²-MLPv2-Small/14", patch_size=14, dims=(384, 384), depths=(4, 14),
    transitions=(False, False), drop_path_rate=0.1, parameters=29_891_176, macs=6_855_613_440,
    scores=imagenet(80.9, _SOURCE), note=f"{_NOTE} The paper counts 5.7G multiply-adds for it.",
)  # fmt: skip
