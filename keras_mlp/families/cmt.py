"""CMT: transformer blocks with convolutions in them: before attention, on its keys, and in the channel MLP.

A block has three residual parts. A depthwise convolution looks at the neighbours. Attention looks from every position
at a map that another depthwise convolution has made smaller. The channel MLP has a third one, with a shortcut of its
own, in its middle. The activation stands before the norm everywhere but in the head. A learned number for each pair of a
position and a position of the smaller map is added in attention. The blocks of a stage share these numbers, which tie a
model to its grid.
"""

import functools
import math

from keras import initializers, layers, ops

from keras_mlp import names
from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.heads import average_and_classify
from keras_mlp.layers import (
    Activation,
    Dense,
    GridLayer,
    MapAttention,
    PatchEmbedding,
    activations,
    batch_norm,
    drop_path_rates,
    fusing,
    layer_norm,
    padded_conv,
    residual,
    showing,
)
from keras_mlp.layers.configs import registered
from keras_mlp.layers.sizes import check_known, check_multiples

__all__ = ["CMT", "CMTTi", "CMTXS", "CMTS", "CMTB"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_HE = initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
# PyTorch counts a depthwise convolution's outputs over all channels; Keras' count of inputs is that number.
_HE_DEPTHWISE = initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
_norm = functools.partial(layer_norm, epsilon=1e-6)


def head(features, classes, activation, *, head_dim=1280, head_dropout_rate=0.1):
    """A linear layer, batch norm, SiLU, the average over the positions, dropout, and one dense layer.

    Args:
        head_dim: width of the linear layer before the average.
        head_dropout_rate: dropout before the classifier.
    """
    x = Dense(head_dim, kernel_initializer=_HE, name=names.HEAD_PROJECTION)(features)
    x = layers.Activation("silu", name="head_act")(batch_norm(names.HEAD_NORM)(x))
    return average_and_classify(x, classes, activation, dropout_rate=head_dropout_rate)


family = Family(
    "cmt",
    title="CMT",
    paper=Paper(
        "CMT: Convolutional Neural Networks Meet Vision Transformers",
        "Guo et al.",
        2021,
        "https://arxiv.org/abs/2107.06263",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="ggjy/CMT.pytorch, README and train.py's defaults: CMT-S. By their commands, Ti trains for 800 epochs at "
        "3.2e-3 for 2048 images without an average of the weights; XS for 400 at 2.8e-3 for 2048, weight decay 0.04, "
        "stochastic depth 0.08, average 0.9998; B at 5e-4 for 512, stochastic depth 0.25",
        learning_rate=1e-3,
        batch_size=1024,
        epochs=300,
        warmup_epochs=20,
        final_learning_rate=1e-5,
        weight_decay=0.05,
        label_smoothing=0.1,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        repeated_augmentation=3,
        drop_path_rate=0.1,
        ema_decay=0.99996,
    ),
    per_stage=("dims", "depths", "heads", "mlp_ratios", "reductions"),
    head=head,
)


@registered
class PairPositions(GridLayer):
    """A learned number for each pair of a position and a position of a smaller grid, for each head of attention.

    The numbers are interpolated for another grid, by cubic convolution, over the positions and over those of the
    smaller grid. Source: Guo et al. 2021 for the numbers; the interpolation is this package's, the authors' code has
    none.

    Args:
        heads: number of heads.
        reduction: how many positions of a side are one of the smaller grid.

    Input shape: `(batch, height, width, channels)`, all but the batch known; height and width are multiples of
        `reduction`. Only the height and the width matter.
    Output shape: `(heads, height * width, height * width / reduction ** 2)`, positions in row-major order.

    Raises:
        ValueError: the height or width is no multiple of `reduction`.
    """

    grid_axes = {"positions": (None, "embedding", "reduced embedding")}

    def __init__(self, heads, reduction=1, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.reduction = heads, reduction

    def build(self, input_shape):
        super().build(input_shape)
        rule = f"The height and width of the map must be multiples of the reduction, {self.reduction}"
        check_multiples(self.grid, self.reduction, rule)
        shape = self.compute_output_shape(input_shape)
        start = initializers.RandomNormal(stddev=1.0)
        self.positions = self.add_weight(name="positions", shape=shape, initializer=start)

    def call(self, x):
        return ops.cast(self.positions, self.compute_dtype)  # a variable itself would be read in the model's precision

    def compute_output_shape(self, input_shape):
        positions = input_shape[1] * input_shape[2]
        return (self.heads, positions, positions // self.reduction**2)


@showing.weights.answer(PairPositions)
def _of_the_centre(layer):
    height, width = layer.grid
    of_centre = showing.array(layer.positions)[:, height // 2 * width + width // 2]
    reduced = [side // layer.reduction for side in layer.grid]
    return showing.Pictures("what a head adds for each key, seen from the centre", of_centre.reshape(-1, *reduced))


@fusing.sizes.answer(PairPositions)
def _only_the_size(layer):
    return (0,)


def dense(x, units, name, **options):
    """A linear layer along the channels."""
    return Dense(units, **{"kernel_initializer": _NORMAL} | options, name=name)(x)


def depthwise(x, size, name, stride=1):
    """A depthwise convolution of `size` x `size`: on each position, or of squares that do not overlap."""
    padding = "same" if stride == 1 else "valid"
    return layers.DepthwiseConv2D(size, stride, padding, depthwise_initializer=_HE_DEPTHWISE.clone(), name=name)(x)


def dropout(x, rate, name):
    """Dropout; nothing at 0."""
    return layers.Dropout(rate, name=name)(x) if rate else x


def stem(x, dim, activation):
    """Three convolutions, each with activation and norm. The first halves the height and width."""
    for i in (1, 2, 3):
        x = padded_conv(x, dim, 3, 2 if i == 1 else 1, 1, f"stem_conv{i}", kernel_initializer=_HE.clone())
        x = batch_norm(f"stem_norm{i}")(Activation(activation, name=f"stem_act{i}")(x))
    return x


def attention(x, positions, heads, qk_ratio, reduction, qkv_bias, name):
    """Lightweight attention: from every position to those of a map that a depthwise convolution makes smaller."""
    dim = x.shape[-1]
    q = dense(x, dim // qk_ratio, f"{name}_q", use_bias=qkv_bias)
    if reduction > 1:
        x = batch_norm(f"{name}_reduction_norm")(depthwise(x, reduction, f"{name}_reduction", reduction))
    k = dense(x, dim // qk_ratio, f"{name}_k", use_bias=qkv_bias)
    v = dense(x, dim, f"{name}_v", use_bias=qkv_bias)
    # The scale is that of the values' depth, which is the queries' own only where `qk_ratio` is 1.
    y = MapAttention(heads, scale=(dim // heads) ** -0.5, name=f"{name}_attention")([q, k, v, positions])
    return dense(y, dim, f"{name}_proj")


def channel_mixing(x, hidden_dim, activation, dropout_rate, name):
    """Inverted residual feed-forward network: the channel MLP with a depthwise convolution and its shortcut inside."""
    dim = x.shape[-1]
    x = dense(x, hidden_dim, f"{name}_fc1", kernel_initializer=_HE)
    x = batch_norm(f"{name}_norm1")(Activation(activation, name=f"{name}_act1")(x))
    x = dropout(x, dropout_rate, f"{name}_drop1")
    x = layers.Add(name=f"{name}_conv_add")([x, depthwise(x, 3, f"{name}_conv")])
    x = batch_norm(f"{name}_norm2")(Activation(activation, name=f"{name}_act2")(x))
    x = batch_norm(f"{name}_norm3")(dense(x, dim, f"{name}_fc2", kernel_initializer=_HE))
    return dropout(x, dropout_rate, f"{name}_drop2")


def cmt_block(
    x, positions, heads, qk_ratio, reduction, qkv_bias, hidden_dim, activation, drop_path_rate, dropout_rate, name
):
    """Local perception, attention, channel mixing, each added to its input; the first without a norm."""
    x = layers.Add(name=f"{name}_local_add")([x, depthwise(x, 3, f"{name}_local")])
    y = attention(_norm(f"{name}_norm1")(x), positions, heads, qk_ratio, reduction, qkv_bias, f"{name}_token_mixing")
    x = residual(x, dropout(y, dropout_rate, f"{name}_token_mixing_drop"), drop_path_rate, name, 1)
    y = channel_mixing(_norm(f"{name}_norm2")(x), hidden_dim, activation, dropout_rate, f"{name}_channel_mixing")
    return residual(x, y, drop_path_rate, name, 2)


def check(dims, heads, qk_ratio, reductions, size):
    """Refuse settings and sizes that cannot work."""
    for dim, count in zip(dims, heads, strict=True):
        if dim % (count * qk_ratio):
            raise ValueError(
                f"The width of each stage must be a multiple of its `heads` times `qk_ratio`. Received: dims={dims!r}, "
                f"heads={heads!r}, qk_ratio={qk_ratio!r}, of which {dim} is no multiple of {count * qk_ratio}"
            )
    if any(reduction < 1 for reduction in reductions):
        raise ValueError(f"`reductions` must be positive whole numbers. Received: reductions={reductions!r}")
    unit = math.lcm(*(2 ** (stage + 2) * reduction for stage, reduction in enumerate(reductions)))
    check_multiples(size, unit, f"The height and width of the input must be multiples of {unit}")


@family.builder
def CMT(
    x,
    dims=(64, 128, 256, 512),
    depths=(3, 3, 16, 3),
    stem_dim=32,
    heads=(1, 2, 4, 8),
    mlp_ratios=(4, 4, 4, 4),
    reductions=(8, 4, 2, 1),
    qk_ratio=1,
    qkv_bias=True,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """CMT of any size.

    A block computes, with depthwise convolutions `D`, batch norm `B`, layer norm `n` and the numbers `P` of the stage,

        u = x + D x,    y = u + W_p softmax(s q k^T + P) v,    q = W_q n(u),    k, v = W_k r, W_v r,    r = B(D_r n(u)),
        z = y + B(W_2 B(g(h + D h))),    h = B(g(W_1 n(y))),

    where each `D`, `B` and `n` has weights of its own, `g` is the activation and `s = 1 / sqrt(d)` with `d` channels a
    head in the values. Without a reduction, `r = n(u)`.

    Args:
        dims: width of each stage. The first stage has a quarter of the image's height and width, each further one half
            of the one before. The image's must be multiples of all of it, and of what `reductions` needs.
        depths: number of blocks of each stage.
        stem_dim: width of the stem's convolutions.
        heads: number of heads of attention, for each stage.
        mlp_ratios: hidden width of the channel MLP, in multiples of the stage's width, rounded down.
        reductions: by how much the sides of attention's keys and values are shorter than the map's, for each stage.
        qk_ratio: how many times narrower than the stage the queries and keys are.
        qkv_bias: whether the linear layers of queries, keys and values have a bias.
        activation: "gelu" (exact) by default, as in all published models; the head's is SiLU.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after attention and twice in the channel MLP. The authors use none.
    """
    check_known(x.shape, "CMT has numbers for the pairs of positions of a fixed grid")
    check(dims, heads, qk_ratio, reductions, x.shape[1:3])
    activation = activations.get(activation or "gelu")
    x = stem(x, stem_dim, activation)
    for stage, (dim, rates) in enumerate(zip(dims, drop_path_rates(drop_path_rate, depths), strict=True)):
        name = f"down_{stage}" if stage else "stem"
        x = PatchEmbedding(dim, 2, kernel_initializer=_HE, name=name)(x)
        x = layer_norm(f"{name}_norm")(x)
        positions = PairPositions(heads[stage], reductions[stage], name=f"{name}_position")(x)
        for i, rate in enumerate(rates):
            x = cmt_block(
                x,
                positions,
                heads[stage],
                qk_ratio,
                reductions[stage],
                qkv_bias,
                int(mlp_ratios[stage] * dim),
                activation,
                rate,
                dropout_rate,
                f"stages_{stage}_{i}",
            )
    return x


_SOURCE = "the README of ggjy/CMT.pytorch"

CMTTi = family.variant(
    "CMTTi", "cmt_ti", title="CMT-Ti", input_shape=(160, 160, 3), dims=(46, 92, 184, 368), depths=(2, 2, 10, 2),
    stem_dim=16, mlp_ratios=(3.6,) * 4, parameters=9_492_426, macs=638_904_600, scores=imagenet(79.0, _SOURCE),
)  # fmt: skip
CMTXS = family.variant(
    "CMTXS", "cmt_xs", title="CMT-XS", input_shape=(192, 192, 3), dims=(52, 104, 208, 416), depths=(3, 3, 12, 3),
    stem_dim=16, mlp_ratios=(3.77,) * 4, parameters=15_247_208, macs=1_546_873_472, scores=imagenet(81.8, _SOURCE),
)  # fmt: skip
CMTS = family.variant(
    "CMTS", "cmt_s", title="CMT-S", depths=(3, 3, 16, 3), parameters=26_256_160, macs=4_031_742_464,
    scores=imagenet(83.5, _SOURCE),
    note="The paper states 25.1 million parameters. The count is that of the authors' code.",
)  # fmt: skip
CMTB = family.variant(
    "CMTB", "cmt_b", title="CMT-B", input_shape=(256, 256, 3), dims=(76, 152, 304, 608), depths=(4, 4, 20, 4),
    stem_dim=38, head_dropout_rate=0.3, parameters=45_715_076, macs=9_317_124_096, scores=imagenet(84.5, _SOURCE),
)  # fmt: skip


def _names(stage, letter):
    """Names in a stage, which the authors' code has a letter for."""
    before, block = f"down_{stage}" if stage else "stem", f"stages_{stage}_{{}}"
    yield f"patch_embed_{letter}.proj", before
    yield f"patch_embed_{letter}.norm", f"{before}_norm"
    yield f"relative_pos_{letter}", f"{before}_position/positions"
    for theirs, ours in (
        ("proj", "local"),
        ("norm1", "norm1"),
        ("attn.q", "token_mixing_q"),
        ("attn.k", "token_mixing_k"),
        ("attn.v", "token_mixing_v"),
        ("attn.sr.0", "token_mixing_reduction"),
        ("attn.sr.1", "token_mixing_reduction_norm"),
        ("attn.proj", "token_mixing_proj"),
        ("norm2", "norm2"),
        ("mlp.conv1.0", "channel_mixing_fc1"),
        ("mlp.conv1.2", "channel_mixing_norm1"),
        ("mlp.proj", "channel_mixing_conv"),
        ("mlp.proj_bn", "channel_mixing_norm2"),
        ("mlp.conv2.0", "channel_mixing_fc2"),
        ("mlp.conv2.1", "channel_mixing_norm3"),
    ):
        yield f"blocks_{letter}.{{}}.{theirs}", f"{block}_{ours}"


family.layout(
    "cmt",
    convention="torch",
    names=(
        ("stem_conv{}", "stem_conv{}"),
        ("stem_norm{}", "stem_norm{}"),
        *(row for stage, letter in enumerate("abcd") for row in _names(stage, letter)),
        ("_fc", names.HEAD_PROJECTION),
        ("_bn", names.HEAD_NORM),
        ("head", "head"),
    ),
)

family.publish(
    *(
        Weights(
            f"cmt_{size}", "imagenet1k", f"https://github.com/ggjy/CMT.pytorch/releases/download/release-v1/cmt_{file}.pth",
            "pth", "cmt", "ImageNet-1k", 1000, "MIT (the README's badge; there is no licence file)",
            preprocessing=_IMAGENET, input_size=(side, side), scores=imagenet(top1, _SOURCE),
        )
        for size, file, side, top1 in (
            ("ti", "tiny", 160, 79.0), ("xs", "xs", 192, 81.8), ("s", "small", 224, 83.5), ("b", "base", 256, 84.5),
        )
    ),
)  # fmt: skip
