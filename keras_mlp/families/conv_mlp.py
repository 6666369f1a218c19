"""ConvMLP: MLPs over the channels, and between them a depthwise convolution that connects neighbouring positions.

A convolutional tokenizer and a stage of convolutions make the first maps. In the stages that follow, each block has two
channel MLPs. A depthwise 3 x 3 convolution connects them, without a shortcut: its output replaces the map. Any image size
works.
"""

from keras import initializers, layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Score, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.layers import (
    Activation,
    Dense,
    batch_norm,
    channel_mlp,
    drop_path_rates,
    layer_norm,
    padded_conv,
    residual,
)

__all__ = ["ConvMLP", "ConvMLPS", "ConvMLPM", "ConvMLPL"]

_IMAGENET = Preprocessing(crop_pct=0.9, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_KAIMING = initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
# PyTorch counts the outputs of all groups of a depthwise convolution as one output's, which Keras calls the fan-in.
_KAIMING_DEPTHWISE = initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")

family = Family(
    "conv_mlp",
    title="ConvMLP",
    paper=Paper(
        "ConvMLP: Hierarchical Convolutional MLPs for Vision", "Li et al.", 2021, "https://arxiv.org/abs/2109.04454"
    ),
    level_norm="raw",
    level_starts=(0, 1, 2),  # the tokenizer's map, and then those of the convolutions that halve the size
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="SHI-Labs/Convolutional-MLPs, configs/classification; the README's command has 8 GPUs with 128 images "
        "each. 10 more epochs at the last rate follow.",
        learning_rate=5e-4,
        batch_size=1024,
        epochs=300,
        warmup_epochs=5,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        drop_path_rate=0.1,
        ema_decay=0.99996,
    ),
    per_stage=("dims", "depths", "mlp_ratios"),
)


def norm_relu(x, name, number):
    """Batch norm and ReLU, which follow each convolution of the tokenizer and the convolution stage."""
    x = batch_norm(f"{name}_norm{number}")(x)
    return Activation("relu", name=f"{name}_act{number}")(x)


def conv(x, filters, strides, name, **options):
    """Convolution of 3 x 3 positions with one row or column of zeros on each side."""
    return padded_conv(x, filters, 3, strides, 1, name, kernel_initializer=_KAIMING.clone(), **options)


def conv_tokenizer(x, dim):
    """The tokenizer: three convolutions, the first of stride 2, and the maximum of every second 3 x 3 positions."""
    for number, (filters, strides) in enumerate(((dim // 2, 2), (dim // 2, 1), (dim, 1)), 1):
        x = norm_relu(conv(x, filters, strides, f"stem_conv{number}", use_bias=False), "stem", number)
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)  # after a ReLU, zeros never are the only maximum
    return layers.MaxPooling2D(3, 2, name="stem_pool")(x)


def conv_block(x, hidden_dim, name):
    """A block of the convolution stage: 1 x 1, 3 x 3 and 1 x 1 convolutions, each with batch norm and ReLU, added to the input."""
    pointwise = dict(use_bias=False, kernel_initializer=_KAIMING)
    y = norm_relu(Dense(hidden_dim, **pointwise, name=f"{name}_conv1")(x), name, 1)
    y = norm_relu(conv(y, hidden_dim, 1, f"{name}_conv2", use_bias=False), name, 2)
    y = norm_relu(Dense(x.shape[-1], **pointwise, name=f"{name}_conv3")(y), name, 3)
    return residual(x, y, 0.0, name)


def conv_mlp_block(x, hidden_dim, activation, drop_path_rate, dropout_rate, name):
    """A block of MLPs: `x + mlp1(norm(x))`, then `connect(norm(x))` in its place, then `x + mlp2(norm(x))`."""

    def add_mlp(x, i):
        y = layer_norm(f"{name}_norm{i}")(x)
        mixing = f"{name}_channel_mixing{i}"
        y = channel_mlp(y, hidden_dim, activation, mixing, dropout_rate, kernel_initializer=_NORMAL)
        return residual(x, y, drop_path_rate, name, i)

    x = layer_norm(f"{name}_connect_norm")(add_mlp(x, 1))
    start = _KAIMING_DEPTHWISE.clone()
    connect = dict(padding="same", use_bias=False, depthwise_initializer=start)
    x = layers.DepthwiseConv2D(3, **connect, name=f"{name}_connect")(x)
    return add_mlp(x, 2)


@family.token_mixing
def _mixing(x):
    """The convolution between the two MLPs of a block."""
    return layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)


@family.builder
def ConvMLP(
    x,
    dim=64,
    conv_depth=2,
    dims=(128, 256, 512),
    depths=(2, 4, 2),
    mlp_ratios=(2, 2, 2),
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """ConvMLP of any size, for images of any size: sides are halved and rounded up.

    Args:
        dim: width of the tokenizer and the convolution stage, even.
        conv_depth: number of blocks of the convolution stage.
        dims: width of each stage of MLPs. The first one is also the inner width of the convolution stage.
        depths: number of blocks of each stage of MLPs.
        mlp_ratios: hidden width of the channel MLPs, in multiples of the stage's width.
        activation: of the channel MLPs; "gelu" (exact) by default, as in all published models. Convolutions have ReLU.
        drop_path_rate: stochastic depth of the last block of each stage of MLPs; it rises linearly from 0 at the stage's
            first block. The convolution stage has none.
        dropout_rate: dropout after each linear layer of the channel MLPs. The authors' code has none.
    """
    if dim < 2 or dim % 2:
        raise ValueError(
            f"`dim` must be a positive even number, because the tokenizer begins with half of it. Received: dim={dim!r}"
        )
    x = conv_tokenizer(x, dim)
    for i in range(conv_depth):
        x = conv_block(x, dims[0], f"stages_0_{i}")
    for stage, (width, depth, ratio) in enumerate(zip(dims, depths, mlp_ratios, strict=True), 1):
        x = conv(x, width, 2, f"down_{stage}")
        for i, rate in enumerate(drop_path_rates(drop_path_rate, (depth,))[0]):
            hidden = int(ratio * width)
            x = conv_mlp_block(x, hidden, activation or "gelu", rate, dropout_rate, f"stages_{stage}_{i}")
    return layer_norm("norm")(x)


_SOURCE = "the authors' README and code"  # of the settings, too

ConvMLPS = family.variant(
    "ConvMLPS", "conv_mlp_s", title="ConvMLP-S", dim=64, conv_depth=2, dims=(128, 256, 512), depths=(2, 4, 2),
    mlp_ratios=(2, 2, 2), drop_path_rate=0.1,
    parameters=9_022_920, macs=2_385_327_104, scores=imagenet(76.8, _SOURCE),
)  # fmt: skip
ConvMLPM = family.variant(
    "ConvMLPM", "conv_mlp_m", title="ConvMLP-M", dim=64, conv_depth=3, dims=(128, 256, 512), depths=(3, 6, 3),
    mlp_ratios=(3, 3, 3), drop_path_rate=0.1,
    parameters=17_410_504, macs=3_928_765_952, scores=imagenet(79.0, _SOURCE),
)  # fmt: skip
ConvMLPL = family.variant(
    "ConvMLPL", "conv_mlp_l", title="ConvMLP-L", dim=96, conv_depth=3, dims=(192, 384, 768), depths=(4, 8, 3),
    mlp_ratios=(3, 3, 3), drop_path_rate=0.1,
    parameters=42_728_440, macs=9_869_797_632, scores=imagenet(80.2, _SOURCE),
)  # fmt: skip


def _mlp_stage(stage):
    """The names in the authors' stage of MLPs, which is our next one: the stage of convolutions is our first."""
    theirs, ours = f"stages.{stage}.blocks.{{}}", f"stages_{stage + 1}_{{}}"
    return (
        (f"{theirs}.norm{{}}", f"{ours}_norm{{}}"),
        (f"{theirs}.channel_mlp{{}}.fc{{}}", f"{ours}_channel_mixing{{}}_fc{{}}"),
        (f"{theirs}.connect_norm", f"{ours}_connect_norm"),
        # The kernel (channels, 1, 3, 3) becomes (3, 3, channels, 1).
        (f"{theirs}.connect.weight", f"{ours}_connect/kernel", lambda kernel: kernel.transpose(2, 3, 0, 1)),
        (f"stages.{stage}.downsample_mlp.downsample", f"down_{stage + 2}"),
    )


_MOST_STAGES = 6
"""So many stages of MLPs halve an image of 224 pixels to one position."""

family.layout(
    "conv_mlp",
    convention="torch",
    names=(
        # Sequences of convolution, norm and ReLU, numbered in one row.
        *((f"tokenizer.block.{3 * i - 3}", f"stem_conv{i}") for i in (1, 2, 3)),
        *((f"tokenizer.block.{3 * i - 2}", f"stem_norm{i}") for i in (1, 2, 3)),
        *((f"conv_stages.conv_blocks.{{}}.{3 * i - 3}", f"stages_0_{{}}_conv{i}") for i in (1, 2, 3)),
        *((f"conv_stages.conv_blocks.{{}}.{3 * i - 2}", f"stages_0_{{}}_norm{i}") for i in (1, 2, 3)),
        ("conv_stages.downsample", "down_1"),
        *(row for stage in range(_MOST_STAGES) for row in _mlp_stage(stage)),
        ("norm", "norm"),
        ("head", "head"),
    ),
)

_CIFAR10 = Preprocessing((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616), crop_pct=1.0)
_CIFAR100 = Preprocessing((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761), crop_pct=1.0)
_FLOWERS = Preprocessing((0.4353, 0.3773, 0.2872), (0.2966, 0.2455, 0.2698), crop_pct=1.0)


def _published(size, data, classes, top1, preprocessing):
    """One of the authors' files: of ImageNet-1k, or fine-tuned on another data set at 224 pixels."""
    tag = "imagenet1k" if data == "ImageNet-1k" else data.lower().replace("-", "")
    file = f"convmlp_{size}_{'imagenet' if tag == 'imagenet1k' else tag}.pth"
    return Weights(
        f"conv_mlp_{size}", tag, f"https://shi-labs.com/projects/convmlp/checkpoints/{file}", "pth", "conv_mlp",
        data if tag == "imagenet1k" else f"ImageNet-1k, then {data}", classes, "Apache-2.0", preprocessing=preprocessing,
        scores=(Score(top1, dataset=data, source=_SOURCE),),
    )  # fmt: skip


family.publish(
    *(
        _published(size, data, classes, top1, preprocessing)
        for data, classes, preprocessing, scores in (
            ("ImageNet-1k", 1000, _IMAGENET, (76.8, 79.0, 80.2)),
            ("CIFAR-10", 10, _CIFAR10, (98.0, 98.6, 98.6)),
            ("CIFAR-100", 100, _CIFAR100, (87.4, 89.1, 88.6)),
            ("Flowers-102", 102, _FLOWERS, (99.5, 99.5, 99.5)),
        )
        for size, top1 in zip("sml", scores, strict=True)
    )
)
