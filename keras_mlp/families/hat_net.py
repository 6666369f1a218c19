"""HAT-Net: attention in two steps, in small windows first, then from every position to a pooled map.

Attention among all positions costs the square of their number. HAT-Net splits it into a hierarchy. In the first step a
position sees those of its window. In the second step it sees the whole map, of which squares were averaged to one
position each. Where the map is small, in the last stage, attention is among all positions at once. The channel MLP has
a depthwise convolution in its middle. There is no position code. Every norm is over the whole map, so each position
depends on all others.
"""

import functools

from keras import initializers, layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.heads import average_and_classify
from keras_mlp.layers import Dense, DepthwiseConv2D, MapAttention, drop_path_rates, image_norm, padded_conv, residual
from keras_mlp.layers.sizes import check_windows

__all__ = ["HATNet", "HATNetTiny", "HATNetSmall", "HATNetMedium", "HATNetLarge"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_STEM_DIM = 16
_norm = functools.partial(image_norm, epsilon=1e-6)


def head(features, classes, activation, *, head_dropout_rate=0.2):
    """The average over the positions, dropout, and one dense layer.

    Args:
        head_dropout_rate: dropout before the classifier.
    """
    return average_and_classify(features, classes, activation, dropout_rate=head_dropout_rate)


family = Family(
    "hat_net",
    title="HAT-Net",
    paper=Paper(
        "Vision Transformers with Hierarchical Attention", "Liu et al.", 2024, "https://arxiv.org/abs/2106.03180"
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="inferred: the README of yun-liu/HAT-Net says that training follows PVT, whose settings these are. The "
        "repository has no training code and states no rate of stochastic depth; the warm-up is this package's default",
        learning_rate=1e-3,
        batch_size=1024,
        epochs=300,
        weight_decay=0.05,
        label_smoothing=0.1,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
    ),
    per_stage=("dims", "depths", "windows", "pools", "mlp_ratios", "kernel_sizes"),
    head=head,
)


def dense(x, units, name, use_bias=True):
    """A linear layer along the channels."""
    return Dense(units, use_bias=use_bias, kernel_initializer=_NORMAL, name=name)(x)


def attention(x, heads, window, pool, name):
    """Hierarchical attention: inside windows, and then to the average of squares; or to all positions (window 1)."""
    dim = x.shape[-1]
    qkv = dense(_norm(f"{name}_norm")(x), 3 * dim, f"{name}_qkv")
    if window == 1:
        return dense(MapAttention(heads, name=f"{name}_global")(qkv), dim, f"{name}_proj")
    local = MapAttention(heads, window, name=f"{name}_local")(qkv)
    x = _norm(f"{name}_local_norm")(layers.Add(name=f"{name}_local_add")([x, local]))
    pooled = layers.AveragePooling2D(pool, name=f"{name}_pool")(x) if pool > 1 else x
    q = dense(x, dim, f"{name}_q")
    kv = dense(_norm(f"{name}_pool_norm")(pooled), 2 * dim, f"{name}_kv")
    y = MapAttention(heads, name=f"{name}_global")([q, kv])
    return dense(layers.Add(name=f"{name}_global_add")([y, x]), dim, f"{name}_proj")


def channel_mixing(x, hidden_dim, kernel_size, dropout_rate, name):
    """The channel MLP with a depthwise convolution in its middle and a norm at both ends; no linear layer has a bias."""
    dim = x.shape[-1]
    x = dense(_norm(f"{name}_norm1")(x), hidden_dim, f"{name}_fc1", use_bias=False)
    x = layers.Activation("silu", name=f"{name}_act1")(x)
    conv = dict(padding="same", use_bias=False, depthwise_initializer=_NORMAL.clone())
    x = DepthwiseConv2D(kernel_size, **conv, name=f"{name}_conv")(x)
    x = dropout(layers.Activation("silu", name=f"{name}_act2")(x), dropout_rate, f"{name}_drop1")
    return _norm(f"{name}_norm2")(dense(x, dim, f"{name}_fc2", use_bias=False))


def dropout(x, rate, name):
    """Dropout of whole channels of a map; nothing at 0."""
    return layers.SpatialDropout2D(rate, name=name)(x) if rate else x


def hat_net_block(x, heads, window, pool, hidden_dim, kernel_size, drop_path_rate, dropout_rate, name):
    """Attention, then channel mixing, each added to its input."""
    y = attention(x, heads, window, pool, f"{name}_token_mixing")
    x = residual(x, dropout(y, dropout_rate, f"{name}_token_mixing_drop"), drop_path_rate, name, 1)
    y = channel_mixing(x, hidden_dim, kernel_size, dropout_rate, f"{name}_channel_mixing")
    return residual(x, dropout(y, dropout_rate, f"{name}_channel_mixing_drop2"), drop_path_rate, name, 2)


def check(dims, head_dim, windows, pools, kernel_sizes, size):
    """Refuse settings and sizes that cannot work."""
    if wrong := [dim for dim in dims if dim % head_dim]:
        raise ValueError(
            f"`head_dim` must divide the width of each stage. Received: head_dim={head_dim!r}, dims={dims!r}, of which "
            f"{wrong[0]} is no multiple"
        )
    if any(size < 1 or size % 2 == 0 for size in kernel_sizes):
        raise ValueError(f"`kernel_sizes` must be positive odd numbers. Received: kernel_sizes={kernel_sizes!r}")
    for name, sides in (("windows", windows), ("pools", pools)):
        if any(side < 1 for side in sides):
            raise ValueError(f"`{name}` must be positive whole numbers. Received: {name}={sides!r}")
    check_windows(size, windows, range(2, 2 + len(dims)))
    for stage, (window, pool) in enumerate(zip(windows, pools, strict=True)):
        shortest = min((-(-side // 2 ** (2 + stage)) for side in size if side), default=pool)
        if window > 1 and pool > shortest:
            raise ValueError(
                f"`pools` must be no larger than the smaller side of the stage's map. Received: pools={pools!r}, and a "
                f"map whose smaller side is {shortest} positions in stage {stage}"
            )


@family.builder
def HATNet(
    x,
    dims=(64, 128, 320, 512),
    head_dim=64,
    depths=(2, 3, 8, 3),
    windows=(8, 7, 7, 1),
    pools=(8, 4, 2, 1),
    mlp_ratios=(8, 8, 4, 4),
    kernel_sizes=(3, 3, 3, 3),
    *,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """HAT-Net of any size.

    A block computes, with attention `A(q, k, v)` and the norm `n` over the whole map,

        l = n(x + A_window(W n(x))),    y = x + W_p (A(W_q l, W_k p, W_v p) + l),    p = n(pool(l)),
        z = y + n(W_2 silu(D silu(W_1 n(y)))),

    where each `n` has a scale and a shift of its own, and `D` is a depthwise convolution. In a stage of windows of one
    position, `y = x + W_p A(W n(x))` with attention among all positions.

    Args:
        dims: width of each stage. The first stage has a quarter of the image's height and width, each further one half
            of the one before, rounded up.
        head_dim: channels of a head of attention, the same in all stages. It divides all widths.
        depths: number of blocks of each stage.
        windows: side of the windows in positions, for each stage. It divides the height and width of the stage's map. 1
            for attention among all positions at once.
        pools: side of the squares in positions that are averaged for the second step of attention, for each stage;
            surplus rows and columns are left out. Not used where the window is 1.
        mlp_ratios: hidden width of the channel MLP, in multiples of the stage's width.
        kernel_sizes: side of the depthwise convolution, odd, for each stage.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout of whole channels, after attention and twice in the channel MLP. The authors use none.
    """
    check(dims, head_dim, windows, pools, kernel_sizes, x.shape[1:3])
    conv = dict(kernel_size=3, strides=2, padding=1)
    x = padded_conv(x, _STEM_DIM, **conv, name="stem_conv", kernel_initializer=_NORMAL.clone())
    x = layers.Activation("silu", name="stem_act")(_norm("stem_norm")(x))
    x = padded_conv(x, dims[0], **conv, name="stem", kernel_initializer=_NORMAL.clone())
    for stage, (dim, rates) in enumerate(zip(dims, drop_path_rates(drop_path_rate, depths), strict=True)):
        if stage:
            x = padded_conv(x, dim, **conv, name=f"down_{stage}", kernel_initializer=_NORMAL.clone())
            x = _norm(f"down_{stage}_norm")(x)
        for i, rate in enumerate(rates):
            x = hat_net_block(
                x,
                dim // head_dim,
                windows[stage],
                pools[stage],
                int(mlp_ratios[stage] * dim),
                kernel_sizes[stage],
                rate,
                dropout_rate,
                f"stages_{stage}_{i}",
            )
    return x


_SOURCE = "the README of yun-liu/HAT-Net"
_COUNT = "The authors' models have a further norm in each block, which they never use; its parameters are not counted."

HATNetTiny = family.variant(
    "HATNetTiny", "hat_net_tiny", title="HAT-Net-Tiny", dims=(48, 96, 240, 384), head_dim=48, depths=(2, 2, 6, 3),
    parameters=12_650_152, macs=2_128_134_912, scores=imagenet(79.8, _SOURCE), note=_COUNT,
)  # fmt: skip
HATNetSmall = family.variant(
    "HATNetSmall", "hat_net_small", title="HAT-Net-Small", depths=(2, 3, 8, 3),
    parameters=25_738_568, macs=4_548_314_112, scores=imagenet(82.6, _SOURCE), note=_COUNT,
)  # fmt: skip
HATNetMedium = family.variant(
    "HATNetMedium", "hat_net_medium", title="HAT-Net-Medium", depths=(3, 6, 18, 3), kernel_sizes=(5, 3, 5, 3),
    parameters=42_925_960, macs=8_777_348_096, scores=imagenet(84.0, _SOURCE), note=_COUNT,
)  # fmt: skip
HATNetLarge = family.variant(
    "HATNetLarge", "hat_net_large", title="HAT-Net-Large", dims=(64, 128, 320, 640), depths=(3, 8, 27, 3),
    parameters=63_108_936, macs=12_074_854_656, scores=imagenet(84.2, _SOURCE), note=_COUNT,
)  # fmt: skip


_MOST_STAGES = 10

family.layout(
    "hat_net",
    convention="torch",
    names=(
        ("patch_embed.0", "stem_conv"),
        ("patch_embed.1", "stem_norm"),
        ("patch_embed.3", "stem"),
        *(
            (f"blocks.{{}}.{{}}.attn.{theirs}", f"stages_{{}}_{{}}_token_mixing_{ours}")
            for theirs, ours in (
                ("norm", "norm"),
                ("qkv", "qkv"),
                ("grid_norm", "local_norm"),
                ("ds_norm", "pool_norm"),
                ("q", "q"),
                ("kv", "kv"),
                ("proj", "proj"),
            )
        ),
        *(
            (f"blocks.{{}}.{{}}.conv.{theirs}", f"stages_{{}}_{{}}_channel_mixing_{ours}")
            for theirs, ours in (
                ("conv1.0", "norm1"),
                ("conv1.1", "fc1"),
                ("conv2.0", "conv"),
                ("conv3.0", "fc2"),
                ("conv3.1", "norm2"),
            )
        ),
        # The authors number what is between two stages as the second of them, from 1 on.
        *(
            (f"ds{stage + 1}.{theirs}", f"down_{stage}{ours}")
            for stage in range(1, _MOST_STAGES)
            for theirs, ours in (("conv", ""), ("norm", "_norm"))
        ),
        ("classifier.1", "head"),
    ),
    # Made and saved by the authors' code, and never used by it.
    ignored=("blocks.{}.{}.attn.proj_norm.weight", "blocks.{}.{}.attn.proj_norm.bias"),
)

family.publish(
    *(
        Weights(
            f"hat_net_{size.lower()}", "imagenet1k",
            f"https://github.com/yun-liu/HAT-Net/releases/download/v2.0/HAT-Net_{size}.pth", "pth", "hat_net",
            "ImageNet-1k", 1000, "none stated", preprocessing=_IMAGENET, scores=imagenet(top1, _SOURCE),
            note="How images were resized for evaluation is inferred from PVT, whose code the authors name as theirs.",
        )
        for size, top1 in (("Tiny", 79.8), ("Small", 82.6), ("Medium", 84.0), ("Large", 84.2))
    ),
)  # fmt: skip
