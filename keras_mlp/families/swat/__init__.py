"""SWAT: tokens that keep their inside, in the blocks of MLP-Mixer, ResMLP, DeiT and Swin.

Usually the channels of a token have no order. A token of SWAT is `segments` channels of a small `sub_grid x sub_grid`
picture, cut from a finer map. A convolution inside the token's own sub-grid accompanies whatever a block does to tokens,
and channel mixing has a depthwise convolution over the grid of tokens. The order inside a token is segment, row, column,
the segment slowest.
"""

from keras import layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, imagenet
from keras_mlp.families.g_mlp import g_mlp_block
from keras_mlp.families.mlp_mixer import mixer_block
from keras_mlp.families.res_mlp import res_mlp_block
from keras_mlp.families.swat import names
from keras_mlp.families.swat.structured import (
    FoldTokens,
    PeriodicPositionEmbedding,
    StructuredAttention,
    StructuredTokenMixing,
)
from keras_mlp.family import Family
from keras_mlp.heads import average_and_classify, classify, map_of, pooled, precise
from keras_mlp.layers import (
    TOKEN_NORMS,
    Activation,
    Dense,
    DepthwiseConv2D,
    LayerScale,
    PatchEmbedding,
    PositionEmbedding,
    activations,
    drop_path_rates,
    layer_norm,
    norm_named,
    residual,
)
from keras_mlp.layers.sizes import SIDES, check_known, check_length, check_multiples

__all__ = [
    "SWAT",
    "SWATMixerTi",
    "SWATMixerS",
    "SWATMixerB32",
    "SWATResMLPS12",
    "SWATDeiTTi",
    "SWATDeiTS",
    "SWATDeiTB32",
    "SWATSwinT",
    "SWATSwinS",
]

_IMAGENET = Preprocessing(crop_pct=0.9, interpolation="bicubic")
KINDS = ("mixer", "resmlp", "deit", "swin", "gmlp")


def head(features, classes, activation, *, representation_size=None):
    """The average over the positions, a dense layer with tanh where there is one, and one dense layer.

    Args:
        representation_size: width of a dense layer with tanh before the classifier; `None` for no such layer, as in all
            models of the paper. The authors' code has it for "deit" only.
    """
    if representation_size is None:
        return average_and_classify(features, classes, activation)
    x = pooled(map_of(features), "avg", precise())
    before = dict(activation="tanh", kernel_initializer="lecun_normal", dtype=precise())
    x = layers.Dense(representation_size, **before, name="head_pre_logits")(x)
    return classify(x, classes, activation)


family = Family(
    "swat",
    title="SWAT",
    paper=Paper(
        "SWAT: Spatial Structure Within and Among Tokens",
        "Kahatapitiya and Ryoo",
        2023,
        "https://arxiv.org/abs/2111.13677",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="kkahatapitiya/SWAT, config/*.yaml (Swin: rate 0.5625e-3, 96 images on each of 8 devices)",
        learning_rate=0.75e-3,
        learning_rate_rule="constant",
        batch_size=2048,
        epochs=310,
        warmup_epochs=8,
        weight_decay=0.3,
        mixup=0.5,
        cutmix=1.0,
        rand_augment=(2, 15),
        gradient_clip_norm=1.0,
        ema_decay=0.99992,
    ),
    per_stage=("depths", "heads", "token_kernels", "channel_kernels"),
    head=head,
)


def check_size(size, unit, stages, window):
    """Refuse a height or width of which a stage's map is no whole number of tokens or windows.

    Args:
        size: `(height, width)` of the input in pixels.
        unit: side of a token of the first stage in pixels; each further stage halves the map.
        stages: number of stages.
        window: side of the windows, where a map is not smaller; `None` for no windows.

    Raises:
        ValueError: names the nearest sides that work.
    """
    last = unit * 2 ** (stages - 1)
    if window is None:
        check_multiples(size, last, f"The height and width of the input must be multiples of {last}")
        return

    def works(size):
        maps = ([side // unit // 2**stage for side in size] for stage in range(stages))
        return not any(side % last for side in size) and all(
            side % min(window, *sides) == 0 for sides in maps for side in sides
        )

    rule = f"The height and width of each stage's map must be multiples of its window, {window}"
    for side, length in zip(SIDES, size, strict=True):
        check_length(side, length, lambda n: works((n, n)), rule, last, last * window)
    if not works(size):  # each side would be one of a square
        check_multiples(size, last * window, rule)


def tokens(x, kind, segments, sub_grid, stem_dim, stem_patch, norm, activation):
    """Section 3.1: structure-aware tokenisation, a fine map whose cells are the tokens; `norm` is `None` for no norms."""
    if kind == "deit":
        x = layers.ZeroPadding2D(1, name="stem_pad")(x)
        x = layers.Conv2D(stem_dim, 4, 2, name="stem_conv")(x)
        x = PeriodicPositionEmbedding(sub_grid * stem_patch, name="stem_position")(x)
    else:
        x = PatchEmbedding(stem_dim, 2, name="stem_conv")(x)
    x = Activation(activation, name="stem_act")(x)
    x = norm("stem_conv_norm")(x) if norm else x
    x = PatchEmbedding(segments, stem_patch, name="stem")(x)
    x = FoldTokens(sub_grid, name="stem_fold")(x)
    return norm("stem_norm")(x) if norm else x


def channel_mixing(x, hidden_dim, kernel_size, activation, dropout_rate, name):
    """Section 3.2: the channel MLP with a depthwise convolution over the grid of tokens in its middle."""
    dim = x.shape[-1]
    x = Dense(hidden_dim, activation=activation, name=f"{name}_fc1")(x)
    x = DepthwiseConv2D(kernel_size, padding="same", name=f"{name}_conv")(x)
    x = Activation(activation, name=f"{name}_act")(x)
    if dropout_rate:
        x = layers.Dropout(dropout_rate, name=f"{name}_drop1")(x)
    x = Dense(dim, name=f"{name}_fc2")(x)
    return layers.Dropout(dropout_rate, name=f"{name}_drop2")(x) if dropout_rate else x


def swat_block(x, norm, mixing, hidden_dim, kernel_size, initial_scale, activation, drop_path_rate, dropout_rate, name):
    """Token mixing, then channel mixing, each on the normalised input and added to it."""

    def add(x, y, i):
        if initial_scale is not None:
            y = LayerScale(initial_scale, name=f"{name}_scale{i}")(y)
        return residual(x, y, drop_path_rate, name, i)

    x = add(x, mixing(norm(f"{name}_norm1")(x)), 1)
    y = norm(f"{name}_norm2")(x)
    y = channel_mixing(y, hidden_dim, kernel_size, activation, dropout_rate, f"{name}_channel_mixing")
    return add(x, y, 2)


@family.token_mixing
def _mixing(x):
    """Of a Mixer block with sub-grids of two positions; the hidden layer is half as wide as the tokens."""
    return StructuredTokenMixing(2, 3, hidden_dim=x.shape[-1] // 2)(x)


@family.builder
def SWAT(
    x,
    kind="mixer",
    segments=4,
    sub_grid=8,
    stem_dim=64,
    stem_patch=1,
    depths=(8,),
    heads=None,
    token_dim=None,
    mlp_ratio=4,
    token_kernels=(3,),
    channel_kernels=(5,),
    merge_kernels=(),
    window=7,
    initial_scale=1e-4,
    qkv_bias=True,
    stem_norm=None,
    position_embedding=None,
    norm=None,
    plain_blocks=False,
    stem_activation=None,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """SWAT of any size. The width of a token is `segments * sub_grid ** 2`.

    Args:
        kind: whose blocks: "mixer" (MLP-Mixer), "resmlp", "deit" or "swin"; or "gmlp" for gMLP's own blocks, without
            convolutions, on structured tokens. The authors' code has the last, no model of the paper.
        segments: number of channels of a token's sub-grid; "swin" halves it from stage to stage.
        sub_grid: side of a token's sub-grid; "swin" doubles it from stage to stage. The height and width must be
            multiples of `2 * stem_patch * sub_grid`, for "swin" also of what its windows and stages need.
        stem_dim: width of the first convolution.
        stem_patch: side of the patches of the second convolution.
        depths: number of blocks of each stage; only "swin" has more than one.
        heads: for "deit" and "swin", number of attention heads in each stage.
        token_dim: for "mixer", hidden width of token mixing. By default half of the tokens' width.
        mlp_ratio: hidden width of the channel MLP, in multiples of the tokens' width.
        token_kernels: for each stage the side of the convolution inside the tokens.
        channel_kernels: for each stage the side of the convolution over the grid of tokens.
        merge_kernels: for "swin", the side of the convolution between each two stages.
        window: for "swin", the side of the windows in positions; where a stage's map is smaller, the map's shorter side.
        initial_scale: for "resmlp", what layer scale starts from.
        qkv_bias: for "deit" and "swin", whether attention's first layers have a bias, and the convolution at its end.
        stem_norm: whether norms follow the first convolution's activation and the tokens. By default for "swin" only;
            never for "deit".
        position_embedding: whether a learned vector for each position is added to the tokens. By default for "deit" only.
        norm: "layer", "affine" for a scale and a shift of each channel, or a function that makes a layer of its name. By
            default "affine" for "resmlp" and "layer" for the others.
        plain_blocks: for "mixer" and "resmlp", blocks without convolutions: those of MLP-Mixer and ResMLP, on
            structured tokens. The authors' code has them, no model of the paper.
        stem_activation: between the two convolutions of the stem; by default as `activation`. In the authors' code it
            is always "gelu".
        activation: "gelu" (exact) by default, as in all models of the paper.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: kind={kind!r}")
    if kind == "swin" and len(merge_kernels) != len(depths) - 1:
        raise ValueError(
            f"`merge_kernels` must have one value between each two of the {len(depths)} stages. "
            f"Received: merge_kernels={merge_kernels!r}"
        )
    if kind in ("deit", "swin") and heads is None:
        raise ValueError(f'`heads` must have one value for each stage where kind is "{kind}". Received: heads=None')
    if kind == "deit" and stem_norm:
        raise ValueError(f'There are no norms in the stem where kind is "deit". Received: stem_norm={stem_norm!r}')
    if kind == "gmlp" and int(mlp_ratio * segments * sub_grid**2) % 2:
        raise ValueError(
            "The hidden width of gMLP's blocks must be even to be halved. Received: "
            f"mlp_ratio={mlp_ratio!r} for tokens of width {segments * sub_grid**2}"
        )
    if kind not in ("mixer", "resmlp") and plain_blocks:
        raise ValueError(
            f'`plain_blocks` are those of "mixer" and "resmlp". Received: plain_blocks=True, kind="{kind}"'
        )
    check_known(x.shape, "SWAT mixes the positions of a fixed grid")
    check_size(x.shape[1:3], 2 * stem_patch * sub_grid, len(depths), window if kind == "swin" else None)
    activation = activations.get(activation or "gelu")
    norms = TOKEN_NORMS | ({"layer": layer_norm} if kind == "swin" else {})  # of another epsilon
    norm = norm_named(norms, ("affine" if kind == "resmlp" else "layer") if norm is None else norm)
    normalised = kind == "swin" if stem_norm is None else stem_norm
    stem_act = activations.get(stem_activation or activation)
    x = tokens(x, kind, segments, sub_grid, stem_dim, stem_patch, norm if normalised else None, stem_act)
    if kind == "deit" if position_embedding is None else position_embedding:
        x = PositionEmbedding(name="position")(x)
    for stage, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
        dim, p = x.shape[-1], sub_grid * 2**stage
        for i, rate in enumerate(rates):
            name = f"stages_{stage}_{i}"
            hidden_dim = int(mlp_ratio * dim)
            if kind == "gmlp":
                x = g_mlp_block(x, hidden_dim, norm, activation, rate, dropout_rate, name)
                continue
            if plain_blocks:
                if kind == "mixer":
                    tokens_dim = token_dim or dim // 2
                    x = mixer_block(x, tokens_dim, hidden_dim, activation, rate, dropout_rate, name, norm)
                else:
                    x = res_mlp_block(x, hidden_dim, activation, initial_scale, False, norm, rate, dropout_rate, name)
                continue
            inside = dict(sub_grid=p, kernel_size=token_kernels[stage], name=f"{name}_token_mixing")
            if kind == "mixer":
                mixing = StructuredTokenMixing(hidden_dim=token_dim or dim // 2, activation=activation, **inside)
            elif kind == "resmlp":
                mixing = StructuredTokenMixing(activation=activation, **inside)
            elif kind == "deit":
                mixing = StructuredAttention(heads[stage], qkv_bias=qkv_bias, **inside)
            else:
                # Every other block moves its windows, unless one window is all there is.
                side = min(window, *x.shape[1:3])
                shifted = i % 2 == 1 and min(x.shape[1:3]) > window
                inside = {"name": inside["name"]} if shifted else inside
                inside |= dict(window=side, shift=side // 2 * shifted)
                mixing = StructuredAttention(heads[stage], qkv_bias=qkv_bias, **inside)
            x = swat_block(
                x,
                norm,
                mixing,
                hidden_dim,
                channel_kernels[stage],
                initial_scale if kind == "resmlp" else None,
                activation,
                rate,
                dropout_rate,
                name,
            )
        if stage + 1 < len(depths):
            name, k = f"down_{stage}", merge_kernels[stage]
            x = FoldTokens(p, inverse=True, name=f"{name}_unfold")(x)
            x = norm(f"{name}_norm")(x)
            x = layers.Conv2D(x.shape[-1] // 2, k, padding="same", use_bias=False, name=name)(x)
            x = FoldTokens(2 * p, name=f"{name}_fold")(x)
    return norm("norm")(x)


# The authors' commented settings.
_READ_OFF = dict(source="read off figs/performance.png of the authors' repository, to about 0.1", exact=False)


def _variant(builder, name, title, parameters, macs, top1, **config):
    scores = imagenet(top1, **_READ_OFF)
    return family.variant(builder, name, title=title, parameters=parameters, macs=macs, scores=scores, **config)


# fmt: off
SWATMixerTi = _variant("SWATMixerTi", "swat_mixer_ti", "SWAT-Mixer-Ti/16", 5_098_572, 980_445_184, 72.3, kind="mixer", segments=4, sub_grid=8, stem_dim=64, depths=(8,))
SWATMixerS = _variant("SWATMixerS", "swat_mixer_s", "SWAT-Mixer-S/16", 18_583_696, 3_821_719_552, 77.9, kind="mixer", segments=8, sub_grid=8, stem_dim=128, depths=(8,))
SWATMixerB32 = _variant("SWATMixerB32", "swat_mixer_b32", "SWAT-Mixer-B/32", 58_423_863, 3_250_931_712, 77.1, kind="mixer", segments=3, sub_grid=16, stem_dim=128, depths=(12,), token_kernels=(5,), channel_kernels=(3,))
SWATResMLPS12 = _variant("SWATResMLPS12", "swat_resmlp_s12", "SWAT-ResMLP-S12", 15_560_766, 3_079_283_712, 77.5, kind="resmlp", segments=6, sub_grid=8, stem_dim=128, depths=(12,))
SWATDeiTTi = _variant("SWATDeiTTi", "swat_deit_ti", "SWAT-DeiT-Ti", 5_827_883, 1_393_479_168, 75.7, kind="deit", segments=3, sub_grid=8, stem_dim=128, depths=(12,), heads=(3,))
SWATDeiTS = _variant("SWATDeiTS", "swat_deit_s", "SWAT-DeiT-S", 22_264_910, 4_888_329_216, 80.5, kind="deit", segments=6, sub_grid=8, stem_dim=128, depths=(12,), heads=(6,))
SWATDeiTB32 = _variant("SWATDeiTB32", "swat_deit_b32", "SWAT-DeiT-B/32", 86_339_252, 4_514_500_608, 76.2, kind="deit", segments=12, sub_grid=8, stem_dim=128, stem_patch=2, depths=(12,), heads=(12,), channel_kernels=(3,))
_SWIN = dict(
    kind="swin", segments=24, sub_grid=2, stem_dim=128, heads=(3, 6, 12, 24), token_kernels=(1, 1, 3, 5),
    channel_kernels=(5, 5, 5, 3), merge_kernels=(3, 5, 9), window=7,
)
SWATSwinT = _variant("SWATSwinT", "swat_swin_t", "SWAT-Swin-T", 27_110_704, 4_679_554_560, 81.7, depths=(2, 2, 6, 2), **_SWIN)
SWATSwinS = _variant(
    "SWATSwinS", "swat_swin_s", "SWAT-Swin-S", 48_915_760, 9_117_722_112, 83.3, depths=(2, 2, 18, 2), **_SWIN,
    note="Its setting is inferred: the repository has Swin-T's, whose numbers fit it.",
)
# fmt: on


# The authors published no weights; these are the names that their code saves.
family.layout(
    "swat",
    convention="torch",
    names=names.SWAT,
    ignored=("layers.{}.blocks.{}.attn.relative_position_index", "layers.{}.blocks.{}.attn_mask"),
)
# Blocks of gMLP have an MLP of the same name and two layers.
family.layout("gmlp", convention="torch", names=names.GMLP)
