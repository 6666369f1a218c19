"""HorNet: recursive gated convolution, a product of linear maps of the token with wider and wider neighbourhoods.

A convolution of order n multiplies n times: one depthwise convolution looks at the neighbourhood of all widths at once,
its parts multiply one after the other, and a linear layer doubles the width between two products. So the token is mixed
with its neighbours to the power of n at the cost of about one convolution and two linear layers. The convolution is 7 x 7,
or, in the later stages of the "GF" models, half of it is 3 x 3 and half a global filter, GFNet's, as large as the map.
Filters are kept for the grid of the training, and interpolated for any other at each call. So any image size works.
"""

import functools

from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, Score, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.heads import average_norm_and_classify
from keras_mlp.layers import (
    Dense,
    DepthwiseConv2D,
    GlobalFilter,
    LayerScale,
    Rescaling,
    channel_mlp,
    drop_path_rates,
    layer_norm,
    residual,
)
from keras_mlp.layers.configs import registered

__all__ = [
    "HorNet",
    "HorNetTiny",
    "HorNetTinyGF",
    "HorNetSmall",
    "HorNetSmallGF",
    "HorNetBase",
    "HorNetBaseGF",
    "HorNetBaseGF384",
    "HorNetLarge",
    "HorNetLargeGF",
    "HorNetLargeGF384",
]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_AT_384 = Preprocessing(crop_pct=1.0, interpolation="bicubic", squash=True)  # the authors warp to a square
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_norm = functools.partial(layer_norm, epsilon=1e-6)

family = Family(
    "hornet",
    title="HorNet",
    paper=Paper(
        "HorNet: Efficient High-Order Spatial Interactions with Recursive Gated Convolutions",
        "Rao et al.",
        2022,
        "https://arxiv.org/abs/2207.14284",
    ),
    level_norm=_norm,
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="raoyongming/HorNet, TRAINING.md: HorNet-T 7x7 on ImageNet-1k (gradients are clipped at 1 with GF, at 5 in S "
        "and B 7x7; magnitude 12 in S-GF and 15 in B-GF; stochastic depth is their builders' default)",
        learning_rate=4e-3,
        batch_size=4096,
        epochs=300,
        warmup_epochs=20,
        final_learning_rate=1e-6,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        drop_path_rate=0.2,
        gradient_clip_norm=100.0,
        ema_decay=0.9999,
    ),
    per_stage=("depths", "orders", "filter_sizes"),
    head=average_norm_and_classify(_norm),
)


@registered
class ChannelSplit(layers.Layer):
    """The channels in parts, one after the other.

    Args:
        widths: channels of each part; their sum is that of the input.

    Input shape: `(..., channels)`. Output: a list of tensors `(..., width)`.

    Raises:
        ValueError: the widths are not all of the channels.
    """

    def __init__(self, widths, **kwargs):
        super().__init__(**kwargs)
        self.widths = tuple(widths)

    def build(self, input_shape):
        if sum(self.widths) != input_shape[-1]:
            raise ValueError(
                f"The widths must have the sum of the channels. Received: widths={self.widths}, {input_shape[-1]} channels"
            )
        super().build(input_shape)

    def call(self, x):
        ends = [sum(self.widths[: i + 1]) for i in range(len(self.widths) - 1)]
        return list(ops.split(x, ends, axis=-1))

    def compute_output_shape(self, input_shape):
        return [(*input_shape[:-1], width) for width in self.widths]


@registered
class Interleave(layers.Layer):
    """The channels of several maps in turn: the first of each, then the second of each, and so on.

    Input shapes: a list of `(batch, height, width, channels)`, all the same; height and width may be unknown.
    Output shape: `(batch, height, width, maps * channels)`.
    """

    def call(self, inputs):
        shape = ops.shape(inputs[0])
        return ops.reshape(ops.stack(inputs, axis=-1), (*shape[:-1], len(inputs) * shape[-1]))

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], len(input_shape) * input_shape[0][-1])


def global_local_filter(x, size, name):
    """ "GF": a norm, half of the channels 3 x 3 and half through a global filter, in turn; a norm."""
    half = x.shape[-1] // 2
    local, spectral = ChannelSplit((half, half), name=f"{name}_halves")(_norm(f"{name}_norm1")(x))
    window = dict(padding="same", use_bias=False, depthwise_initializer=_NORMAL.clone())
    local = layers.DepthwiseConv2D(3, **window, name=f"{name}_local")(local)
    spectral = GlobalFilter(size, name=f"{name}_filter")(spectral)
    return _norm(f"{name}_norm2")(Interleave(name=f"{name}_interleave")([local, spectral]))


def gn_conv(x, order, filter_size, scale, name):
    """Recursive gated convolution of order n.

        p, q = W_in x;    q_0, …, q_(n-1) = scale * conv(q);    y_0 = p * q_0;    y_(i+1) = W_i y_i * q_(i+1)

    and `W_out y_(n-1)`. The width of `p` and `q_0` is `C / 2^(n-1)`, and that of each further `q_i` twice as much.
    """
    dim = x.shape[-1]
    widths = [dim // 2**i for i in reversed(range(order))]
    x = Dense(2 * dim, kernel_initializer=_NORMAL, name=f"{name}_in")(x)
    x, q = ChannelSplit((widths[0], sum(widths)), name=f"{name}_split")(x)
    if filter_size:
        q = global_local_filter(q, filter_size, f"{name}_conv")
    else:
        window = dict(padding="same", depthwise_initializer=_NORMAL.clone())
        q = DepthwiseConv2D(7, **window, name=f"{name}_conv")(q)
    if scale != 1:
        q = Rescaling(scale, name=f"{name}_rescale")(q)
    first, *others = ChannelSplit(widths, name=f"{name}_orders")(q)
    x = layers.Multiply(name=f"{name}_gate0")([x, first])
    for i, gate in enumerate(others):
        x = Dense(widths[i + 1], kernel_initializer=_NORMAL, name=f"{name}_fc{i}")(x)
        x = layers.Multiply(name=f"{name}_gate{i + 1}")([x, gate])
    return Dense(dim, kernel_initializer=_NORMAL, name=f"{name}_out")(x)


def hornet_block(x, token_mixing, layer_scale, activation, drop_path_rate, dropout_rate, name):
    """Recursive gated convolution, then channel MLP, each on the normalised input, scaled and added to it."""

    def add(x, y, i):
        y = LayerScale(layer_scale, name=f"{name}_scale{i}")(y) if layer_scale else y
        return residual(x, y, drop_path_rate, name, i)

    x = add(x, token_mixing(_norm(f"{name}_norm1")(x), name=f"{name}_token_mixing"), 1)
    y, hidden = _norm(f"{name}_norm2")(x), 4 * x.shape[-1]
    y = channel_mlp(y, hidden, activation, f"{name}_channel_mixing", dropout_rate, kernel_initializer=_NORMAL)
    return add(x, y, 2)


@family.token_mixing
def _mixing(x):
    """Recursive gated convolution of order three, with windows of 7 x 7 positions."""
    return gn_conv(x, 3, None, 1, "mixing")


@family.builder
def HorNet(
    x,
    patch_size=4,
    dim=64,
    depths=(2, 3, 18, 2),
    orders=(2, 3, 4, 5),
    filter_sizes=(None, None, None, None),
    scale=1 / 3,
    layer_scale=1e-6,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """HorNet of any size, for images of any size: rows and columns that fill no patch are dropped.

    Args:
        patch_size: side of a patch in pixels; 4 in all published models.
        dim: width of the first stage, a multiple of `2^(order - 1)`; every further one is twice as wide at half the height
            and width.
        depths: number of blocks of each stage.
        orders: of the recursive gated convolutions of each stage.
        filter_sizes: for each stage `(height, width)` of the grid that its global filters are kept for, or `None` for
            convolutions of 7 x 7.
        scale: factor on what comes out of the convolutions.
        layer_scale: what the scale of each channel of the branches starts from; `None` for no such scale.
        activation: of the MLPs; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.

    Raises:
        ValueError: the width of a stage cannot be halved as often as its order asks.
    """
    rates = drop_path_rates(drop_path_rate, depths)
    for stage, (order, filter_size) in enumerate(zip(orders, filter_sizes, strict=True)):
        width = dim * 2**stage
        if order < 1 or width % 2 ** (order - 1):
            raise ValueError(
                f"Order n needs a width that is a multiple of 2^(n-1). Received: orders={tuple(orders)}, dim={dim}, which "
                f"makes stage {stage} {width} wide. Take a smaller order, or a `dim` that is a multiple of "
                f"{2 ** max(order - 1, 0)}."
            )
        patch = dict(kernel_initializer=_NORMAL.clone())
        if stage:
            x = _norm(f"down_{stage}_norm")(x)
            x = layers.Conv2D(width, 2, 2, **patch, name=f"down_{stage}")(x)
        else:
            x = layers.Conv2D(width, patch_size, patch_size, **patch, name="stem")(x)
            x = _norm("stem_norm")(x)
        mixing = functools.partial(gn_conv, order=order, filter_size=filter_size, scale=scale)
        for i, rate in enumerate(rates[stage]):
            x = hornet_block(x, mixing, layer_scale, activation or "gelu", rate, dropout_rate, f"stages_{stage}_{i}")
    return x


_SOURCE = "the authors' README and the paper's tables of ImageNet, COCO and ADE20K"
_GF = dict(filter_sizes=(None, None, (14, 14), (7, 7)))
_GF_384 = dict(filter_sizes=(None, None, (24, 24), (12, 12)), input_shape=(384, 384, 3))


def _scores(top1, coco, ade20k, data=""):
    """Top-1; box and mask AP of a Cascade Mask R-CNN (3x); mIoU of UPerNet at one and several scales."""
    trained = dict(training=data, source=_SOURCE)
    return (
        *imagenet(top1, _SOURCE),
        *(Score(value, metric, "COCO", **trained) for value, metric in zip(coco, ("box AP", "mask AP"), strict=True)),
        *(Score(value, metric, "ADE20K", **trained) for value, metric in zip(ade20k, ("mIoU", "mIoU, several scales"), strict=True)),
    )  # fmt: skip


HorNetTiny = family.variant(
    "HorNetTiny", "hornet_tiny", title="HorNet-T 7x7", dim=64, drop_path_rate=0.2,
    parameters=22_409_512, macs=3_968_389_312, scores=_scores(82.8, (51.7, 44.8), (48.1, 48.9)),
)  # fmt: skip
HorNetTinyGF = family.variant(
    "HorNetTinyGF", "hornet_tiny_gf", title="HorNet-T GF", dim=64, drop_path_rate=0.2, **_GF,
    parameters=22_991_848, macs=3_888_705_120, scores=_scores(83.0, (52.4, 45.6), (49.2, 49.3)),
)  # fmt: skip
HorNetSmall = family.variant(
    "HorNetSmall", "hornet_small", title="HorNet-S 7x7", dim=96, drop_path_rate=0.4,
    parameters=49_528_264, macs=8_813_970_720, scores=_scores(83.8, (52.7, 45.6), (49.2, 49.8)),
)  # fmt: skip
HorNetSmallGF = family.variant(
    "HorNetSmallGF", "hornet_small_gf", title="HorNet-S GF", dim=96, drop_path_rate=0.4, **_GF,
    parameters=50_401_768, macs=8_694_444_432, scores=_scores(84.0, (53.3, 46.3), (50.0, 50.5)),
)  # fmt: skip
HorNetBase = family.variant(
    "HorNetBase", "hornet_base", title="HorNet-B 7x7", dim=128, drop_path_rate=0.5,
    parameters=87_256_680, macs=15_567_143_296, scores=_scores(84.2, (53.3, 46.1), (50.0, 50.5)),
)  # fmt: skip
HorNetBaseGF = family.variant(
    "HorNetBaseGF", "hornet_base_gf", title="HorNet-B GF", dim=128, drop_path_rate=0.5, **_GF,
    parameters=88_421_352, macs=15_407_774_912, scores=_scores(84.3, (54.0, 46.9), (50.5, 50.9)),
)  # fmt: skip
HorNetBaseGF384 = family.variant(
    "HorNetBaseGF384", "hornet_base_gf_384", title="HorNet-B GF at 384", dim=128, drop_path_rate=0.4, **_GF_384,
    parameters=92_099_560, macs=45_278_006_272,
    note="The authors' code has it; no figure and no weights are published.",
)  # fmt: skip
_22K = "ImageNet-22k"
_LARGE = "The authors count its parameters with a head of about 10,450 classes: {} M."
HorNetLarge = family.variant(
    "HorNetLarge", "hornet_large", title="HorNet-L 7x7", dim=192, drop_path_rate=0.2,
    parameters=194_542_504, macs=34_796_261_952, scores=_scores(None, (55.4, 48.0), (54.1, 54.5), _22K),
    note=_LARGE.format(209),
)  # fmt: skip
HorNetLargeGF = family.variant(
    "HorNetLargeGF", "hornet_large_gf", title="HorNet-L GF", dim=192, drop_path_rate=0.2, **_GF,
    parameters=196_289_512, macs=34_557_209_376, scores=_scores(None, (56.0, 48.6), (55.0, 55.2), _22K),
    note=_LARGE.format(211),
)  # fmt: skip
HorNetLargeGF384 = family.variant(
    "HorNetLargeGF384", "hornet_large_gf_384", title="HorNet-L GF at 384", dim=192, drop_path_rate=0.4, **_GF_384,
    parameters=201_806_824, macs=101_552_902_656, note=_LARGE.format(216),
)  # fmt: skip


def _window(kernel):
    """A depthwise kernel (channels, 1, k, k) as (k, k, channels, 1)."""
    return kernel.transpose(2, 3, 0, 1)


_BLOCK = (
    ("norm{}", "norm{}"),
    ("gamma{}", "scale{}/gamma"),
    ("gnconv.proj_in", "token_mixing_in"),
    ("gnconv.dwconv.weight", "token_mixing_conv/kernel", _window),
    ("gnconv.dwconv.bias", "token_mixing_conv/bias"),
    ("gnconv.dwconv.pre_norm", "token_mixing_conv_norm1"),
    ("gnconv.dwconv.dw.weight", "token_mixing_conv_local/kernel", _window),
    ("gnconv.dwconv.complex_weight", "token_mixing_conv_filter/filter", lambda weight: weight.transpose(1, 2, 0, 3)),
    ("gnconv.dwconv.post_norm", "token_mixing_conv_norm2"),
    ("gnconv.pws.{}", "token_mixing_fc{}"),
    ("gnconv.proj_out", "token_mixing_out"),
    ("pwconv1", "channel_mixing_fc1"),
    ("pwconv2", "channel_mixing_fc2"),
)
family.layout(
    "hornet",
    convention="torch",
    names=(
        ("downsample_layers.0.0", "stem"),
        ("downsample_layers.0.1", "stem_norm"),
        ("downsample_layers.{}.0", "down_{}_norm"),
        ("downsample_layers.{}.1", "down_{}"),
        *(("stages.{}.{}." + theirs, "stages_{}_{}_" + ours, *how) for theirs, ours, *how in _BLOCK),
        ("norm{}", "level_{}_norm"),  # backbones of detectors and segmentors
        ("norm", "head_norm"),
        ("head", "head"),
    ),
)


def _share(model, file, top1):
    """One of the authors' files, from the cloud that their README names."""
    return Weights(
        model, "imagenet1k", f"https://cloud.tsinghua.edu.cn/f/{file}/?dl=1", "pth", "hornet", "ImageNet-1k", 1000, "MIT",
        preprocessing=_IMAGENET, scores=imagenet(top1, "the authors' README"), key="model",
    )  # fmt: skip


def _large(model, file, preprocessing=_IMAGENET, input_size=(224, 224)):
    """One of those that were trained on ImageNet-22k only."""
    return Weights(
        model, "imagenet22k", f"https://cloud.tsinghua.edu.cn/f/{file}/?dl=1", "pth", "hornet", _22K, 10_459, "MIT",
        preprocessing=preprocessing, input_size=input_size, key="model",
        note="The number of classes is inferred: the authors' in1k_to_21k_map.pth, which lists the 1000 classes of "
        "ImageNet-1k among them, goes up to number 10458. With `new_head=True` it does not matter.",
    )  # fmt: skip


family.publish(
    _share("hornet_tiny", "bac9690c72944d19aca1", 82.8),
    _share("hornet_tiny_gf", "460e759c82324ea6bfa3", 83.0),
    _share("hornet_small", "8ef64277da0e469ea857", 83.8),
    _share("hornet_small_gf", "959603ca287d4c09ad49", 84.0),
    _share("hornet_base", "13a748487711492e9704", 84.2),
    _share("hornet_base_gf", "c212d1d8a3914b47a5c1", 84.3),
    _large("hornet_large", "c2fc23caae084a3aa73d"),
    _large("hornet_large_gf", "8600206ebdfa485f98d0"),
    _large("hornet_large_gf_384", "eec48d5eca5a48d98fd2", _AT_384, (384, 384)),
)
