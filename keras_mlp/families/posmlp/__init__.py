"""PosMLP: a gating unit whose mixing across tokens follows from their relative positions, in windows.

Where gMLP learns a number for each pair of tokens, PosMLP learns a few numbers for each group of channels. They say
where the group looks from a token, and how far around. The linear layers around the gate are the only channel mixing of
a block. Windows see each other only through the downsampling.
"""

import functools
import itertools

import numpy as np
from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.families.posmlp.gates import ChunkedSpatialGating, PositionalSpatialGating
from keras_mlp.family import Family
from keras_mlp.heads import classify, map_of, pooled, precise
from keras_mlp.layers import (
    Activation,
    Dense,
    PatchEmbedding,
    PositionEmbedding,
    WindowMerge,
    WindowPartition,
    activations,
    batch_norm,
    drop_path_rates,
    layer_norm,
    padded_conv,
    residual,
)
from keras_mlp.layers.sizes import check_windows

__all__ = ["PosMLP", "PosMLPT", "PosMLPS", "PosMLPB"]

_IMAGENET = Preprocessing(crop_pct=0.9, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_POOLINGS = ("avg", "max", "avgmax", "catavgmax")


def head(features, classes, activation, *, head_pooling="avg"):
    """A number for each channel of the map, and one dense layer.

    Args:
        head_pooling: what the classifier sees of each channel: its average over the positions ("avg"), its maximum
            ("max"), the mean of both ("avgmax"), or both side by side ("catavgmax"). Published models have the first.
    """
    if head_pooling not in _POOLINGS:
        raise ValueError(f"`head_pooling` must be one of {_POOLINGS}. Received: head_pooling={head_pooling!r}")
    kinds = [kind for kind in ("avg", "max") if kind in head_pooling]
    x, *others = [pooled(map_of(features), kind, precise()) for kind in kinds]
    if others:
        join = layers.Concatenate if head_pooling == "catavgmax" else layers.Average
        x = join(dtype=precise(), name="head_pool")([x, *others])
    return classify(x, classes, activation)


family = Family(
    "posmlp",
    title="PosMLP",
    paper=Paper(
        "Parameterization of Cross-Token Relations with Relative Positional Encoding for Vision MLP",
        "Wang et al.",
        2022,
        "https://arxiv.org/abs/2207.07284",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="Zhicaiwww/PosMLP, the YAML files (learning rate: Tiny; RandAugment's three operations)",
        learning_rate=2e-3,
        batch_size=1024,
        epochs=300,
        warmup_epochs=10,
        weight_decay=0.067,
        mixup=0.5,
        cutmix=1.0,
        rand_augment=(3, 6),
        gradient_clip_norm=1.0,
        drop_path_rate=0.1,
        ema_decay=0.99992,
    ),
    per_stage=("dims", "depths", "windows", "groups", "mlp_ratios"),
    head=head,
)


_NORMS = {"batch": functools.partial(batch_norm, epsilon=1e-6), "layer": functools.partial(layer_norm, epsilon=1e-6)}


def conv_stem(x, dim, norm, activation):
    """A quarter of the height and width, by two convolutions, and a linear layer."""
    for i, filters in enumerate((dim // 2, dim)):
        x = padded_conv(x, filters, 3, 2, 1, f"stem_conv{i}", kernel_initializer=_NORMAL.clone())
        x = Activation(activation, name=f"stem_act{i}")(norm(f"stem_norm{i}")(x))
    return norm("stem_norm2")(Dense(dim, kernel_initializer=_NORMAL, name="stem_conv2")(x))


def downsample(x, dim, depthwise, norm, name):
    """Half the height and width, each channel on its own where `depthwise`."""
    if depthwise:
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
        multiplier = dim // x.shape[-1]
        conv = dict(depth_multiplier=multiplier, depthwise_initializer=_NORMAL.clone())
        x = layers.DepthwiseConv2D(3, 2, **conv, name=name)(x)
    else:
        x = padded_conv(x, dim, 3, 2, 1, name, kernel_initializer=_NORMAL.clone())
    return norm(f"{name}_norm")(x)


@family.token_mixing
def _mixing(x):
    """The gate in windows of four positions, with eight groups of channels; both of its halves are the same map."""
    windows = WindowPartition(4)(ops.concatenate([x, x], axis=-1))
    return WindowMerge(4)([PositionalSpatialGating(4, 8)(windows), x])


@family.builder
def PosMLP(
    x,
    dims=(96, 192, 384, 768),
    depths=(2, 2, 18, 2),
    windows=(14, 14, 14, 7),
    groups=(8, 16, 32, 64),
    mlp_ratios=(4, 4, 4, 2),
    gate="positional",
    encoding="quadratic",
    chunks=2,
    symmetric=True,
    softmax=True,
    position_bias=True,
    token_weight=False,
    stem="conv",
    stem_norm="batch",
    depthwise_downsampling=True,
    downsampling_norm="layer",
    position_embedding=False,
    biased_gates=None,
    norm_epsilon=1e-6,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """PosMLP of any size, for images whose maps are whole windows in every stage.

    Windows that move are left out: the authors' code has them, and they do not run.

    Args:
        dims: width of each stage; each is at half the height and width of the one before.
        depths: number of blocks of each stage.
        windows: side of the windows in each stage, in positions.
        groups: number of groups of channels, each with its own positional encoding, in each stage.
        mlp_ratios: hidden width of the blocks, in multiples of the stage's width, for each stage.
        gate: "positional" or "linear" (gMLP's spatial gating unit, in windows).
        encoding: of positions, for the positional gate: "quadratic", "isotropic" or "relative".
        chunks: parts that the hidden channels are cut into for gating: 2, or 1 (positional: a map gates itself; linear:
            nothing does), or more (linear).
        symmetric: whether the quadratic encoding's matrix is symmetric.
        softmax: whether quadratic encodings go through a softmax.
        position_bias: whether a bias by position is added after quadratic mixing.
        token_weight: add a matrix of all pairs of tokens to the relative encoding.
        stem: "conv" (three convolutions, a quarter of the size) or "patch" (patches of 16 pixels).
        stem_norm: "batch" or "layer", for the convolutional stem.
        depthwise_downsampling: whether downsampling takes each channel on its own.
        downsampling_norm: "layer" or "batch".
        position_embedding: add a learned vector for each position after the stem, which ties the model to one size. No
            published model does.
        biased_gates: for the linear gate, how many blocks, from the first, have gates with a bias. By default all; the
            authors' code leaves the bias out after 26.
        norm_epsilon: of the layer norms of blocks and linear gates and of the last; those of stem and downsampling have
            their own.
        activation: of stem and blocks; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout at the end of each block.
    """
    for what, value, allowed in (
        ("gate", gate, ("positional", "linear")),
        ("stem", stem, ("conv", "patch")),
        ("stem_norm", stem_norm, tuple(_NORMS)),
        ("downsampling_norm", downsampling_norm, tuple(_NORMS)),
        ("chunks", chunks, (1, 2) if gate == "positional" else range(1, 100)),
    ):
        if value not in allowed:
            raise ValueError(f"`{what}` must be one of {allowed}. Received: {what}={value!r}")
    if biased_gates is not None and not (isinstance(biased_gates, int) and biased_gates >= 0):
        raise ValueError(f"`biased_gates` must be a number of blocks or None. Received: biased_gates={biased_gates!r}")
    if depthwise_downsampling and any(after % before for before, after in itertools.pairwise(dims)):
        raise ValueError(
            "With `depthwise_downsampling`, each of `dims` must be a multiple of the one before. "
            f"Received: dims={tuple(dims)}"
        )
    norm = functools.partial(layer_norm, epsilon=norm_epsilon)
    activation = activations.get(activation or "gelu")
    first = 2 if stem == "conv" else 4
    check_windows(x.shape[1:3], windows, range(first, first + len(dims)))
    if stem == "conv":
        x = conv_stem(x, dims[0], _NORMS[stem_norm], activation)
    else:
        x = PatchEmbedding(dims[0], 16, kernel_initializer=_NORMAL, name="stem_conv")(x)
        x = layer_norm("stem_norm")(x)
    if position_embedding:
        x = PositionEmbedding(name="position")(x)
    ramp = drop_path_rates(drop_path_rate, depths)
    for stage, (dim, rates, window, group, ratio) in enumerate(
        zip(dims, ramp, windows, groups, mlp_ratios, strict=True)
    ):
        if stage:
            x = downsample(x, dim, depthwise_downsampling, _NORMS[downsampling_norm], f"down_{stage}")
        y = WindowPartition(window, name=f"stages_{stage}_windows")(x)
        for i, rate in enumerate(rates):
            name = f"stages_{stage}_{i}"
            if gate == "linear":
                biased = biased_gates is None or sum(depths[:stage]) + i < biased_gates
                gating = ChunkedSpatialGating(chunks, biased, norm_epsilon, name=f"{name}_gate")
            else:
                gating = PositionalSpatialGating(
                    window,
                    group,
                    encoding,
                    chunks == 2,
                    symmetric,
                    softmax,
                    position_bias,
                    token_weight,
                    name=f"{name}_gate",
                )
            hidden = Dense(int(ratio * dim), activation=activation, kernel_initializer=_NORMAL, name=f"{name}_in")
            z = gating(hidden(norm(f"{name}_norm")(y)))
            z = Dense(dim, kernel_initializer=_NORMAL, name=f"{name}_out")(z)
            if dropout_rate:
                z = layers.Dropout(dropout_rate, name=f"{name}_drop")(z)
            y = residual(y, z, rate, name)
        x = WindowMerge(window, name=f"stages_{stage}_map")([y, x])
    return norm("norm")(x)


_SOURCE = "table 2 of the paper and the authors' README"  # of the settings, too

PosMLPT = family.variant(
    "PosMLPT", "posmlp_t", title="PosMLP-T", dims=(96, 192, 384, 768), drop_path_rate=0.1,
    parameters=20_925_538, macs=5_176_936_448, scores=imagenet(82.1, _SOURCE),
)  # fmt: skip
PosMLPS = family.variant(
    "PosMLPS", "posmlp_s", title="PosMLP-S", dims=(128, 256, 512, 1024), drop_path_rate=0.1,
    parameters=36_816_450, macs=8_705_380_608, scores=imagenet(83.0, _SOURCE),
    note="The authors published no checkpoint of this size.",
)  # fmt: skip
PosMLPB = family.variant(
    "PosMLPB", "posmlp_b", title="PosMLP-B", dims=(192, 384, 768, 1536), drop_path_rate=0.1,
    parameters=81_976_834, macs=18_527_167_232, scores=imagenet(83.6, _SOURCE),
    note="The authors published neither code nor weights of this size; its widths are inferred from its parameters.",
)  # fmt: skip


family.layout(
    "posmlp",
    convention="torch",
    names=(
        ("patch_embed.projs.{}", "stem_conv{}"),
        ("patch_embed.norms.{}", "stem_norm{}"),
        ("patch_embed.proj", "stem_conv"),
        # The authors read the numbers of (1, positions, channels) as (channels, height, width).
        ("absolute_pos_embed", "position/embedding", lambda embedding: embedding.reshape(embedding.shape[-1], -1).T),
        ("patch_embed.norm", "stem_norm"),
        ("levels.{}.pool.conv", "down_{}"),
        ("levels.{}.pool.norm", "down_{}_norm"),
        ("levels.{}.encoder.{}.norm", "stages_{}_{}_norm"),
        ("levels.{}.encoder.{}.proj_c_e", "stages_{}_{}_in"),
        ("levels.{}.encoder.{}.proj_c_s", "stages_{}_{}_out"),
        ("levels.{}.encoder.{}.gate_unit.pos.attention_centers", "stages_{}_{}_gate/centers", np.asarray),
        ("levels.{}.encoder.{}.gate_unit.pos.attention_spreads", "stages_{}_{}_gate/spreads", np.asarray),
        (
            "levels.{}.encoder.{}.gate_unit.pos.window_relative_position_bias_table",
            "stages_{}_{}_gate/table",
            np.asarray,
        ),
        ("levels.{}.encoder.{}.gate_unit.pos.token_proj_n_bias", "stages_{}_{}_gate/bias", np.ravel),
        ("levels.{}.encoder.{}.gate_unit.token_proj_n_weight", "stages_{}_{}_gate/pairs", np.squeeze),
        ("levels.{}.encoder.{}.gate_unit.norm_list.{}", "stages_{}_{}_gate/norm{}"),
        ("levels.{}.encoder.{}.gate_unit.proj_list.{}.weight", "stages_{}_{}_gate/kernel{}", np.asarray),
        ("levels.{}.encoder.{}.gate_unit.proj_list.{}.bias", "stages_{}_{}_gate/bias{}", np.asarray),
        ("norm", "norm"),
        ("head", "head"),
    ),
    ignored=(
        "levels.{}.encoder.{}.gate_unit.pos.rel_indices",
        "levels.{}.encoder.{}.gate_unit.pos.window_relative_position_index",
    ),
)

family.publish(
    Weights(
        "posmlp_t", "imagenet1k", "https://drive.google.com/file/d/1wl0JzFqmdbhRAp2WEgl0dVFW5jnoS6bM/view?usp=share_link",
        "pth", "posmlp", "ImageNet-1k", 1000, "MIT", preprocessing=_IMAGENET,
        scores=imagenet(82.1, _SOURCE), key="state_dict_ema", by_hand=True,
    )
)  # fmt: skip
