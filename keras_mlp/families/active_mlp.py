"""ActiveMLP: each channel of each position reads at a distance along the width, and along the height, that is computed.

The distances are real numbers. What lies between two positions is interpolated linearly, and there are zeros around the
map. Linear layers of what was read along either axis and of the map itself are joined by split attention, as in
CycleMLP, whose distances are fixed. Some channels share a distance, and some blocks after each other share all of them.
The cost is linear in the number of positions, and any image size works.

The second version of the paper calls the operator "Active Token Mixer", and the models ATMNet.
"""

import functools
import math

import keras
import numpy as np
from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, Score, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.layers import (
    Dense,
    axial_branches,
    drop_path_rates,
    layer_norm,
    mixing_block,
    overlapping_patches,
    padded_conv,
    precision,
    residual,
    showing,
)
from keras_mlp.layers.configs import registered
from keras_mlp.layers.normalization import at_least_float32

__all__ = [
    "ActiveMLP",
    "ActiveMLPXTiny",
    "ActiveMLPTiny",
    "ActiveMLPSmall",
    "ActiveMLPBase",
    "ActiveMLPLarge",
]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_KAIMING = initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
_KAIMING_DEPTHWISE = initializers.RandomNormal(stddev=math.sqrt(2 / 9))  # one output of 3 x 3 positions a channel

family = Family(
    "active_mlp",
    title="ActiveMLP",
    paper=Paper("Active Token Mixer", "Wei et al.", 2022, "https://arxiv.org/abs/2203.06108"),
    level_norm=layer_norm,
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="microsoft/ActiveMLP, main.py's defaults and the README's command (Active-xT). 10 more epochs at the last rate "
        "follow. The variants' own rates of stochastic depth are not there",
        learning_rate=1e-3,
        batch_size=1024,
        epochs=300,
        warmup_epochs=5,
        weight_decay=0.05,
        no_weight_decay=("bias", "beta", "gamma", "position"),
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        repeated_augmentation=3,
        drop_path_rate=0.1,
        ema_decay=0.99996,
    ),
    per_stage=("dims", "depths", "mlp_ratios", "share"),
)


@registered
class ActiveShift(layers.Layer):
    """Channels read at distances that are given for every position, along the width and along the height.

        along the width:   y[h, w] of channel c = x[h, w + o[h, w, c]] of channel c
        along the height:  y[h, w] of channel c = x[h + o'[h, w, c], w] of channel c

    Between two positions the map is interpolated linearly, and it is zero one position outside its border and beyond.
    Neighbouring channels that share a distance are read together. Distances are computed with in float32 at least.

    The map is gathered from, twice for each axis. Distances have no bound, so slices would have to stand at every
    distance that the map has room for, and a product would need a matrix of the map's length squared for each row:
    both take longer, from a few positions on.

    Source: Wei et al. 2022 (ActiveMLP); the order of the channels is that of the authors' code.

    Input shapes: a map `(batch, height, width, channels)`, and distances `(batch, height, width, 2 * channels / share)`,
    first those along the width, each for `share` channels after each other. Height and width may be unknown.
    Output: two tensors of the map's shape, read along the width and along the height.

    Raises:
        ValueError: the distances are not as many for each channel.
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)  # 16 bits are too few for positions

    def build(self, input_shape):
        channels, distances = (shape[-1] for shape in input_shape)
        if 2 * channels % distances:
            raise ValueError(
                f"Two distances for each of {channels} channels are not shared evenly. Received: {distances} distances"
            )
        super().build(input_shape)

    def call(self, inputs):
        x, distances = inputs
        x, distances = ops.cast(x, self.compute_dtype), ops.cast(distances, at_least_float32(self.compute_dtype))
        _, height, width, channels = ops.shape(x)
        share = 2 * channels // distances.shape[-1]
        if channels % share:  # some channels share a distance along the width with others along the height
            distances, share = ops.repeat(distances, share, axis=-1), 1
        groups = channels // share

        # With zeros around it, the map is a table of groups of channels that are read together. A position further
        # along an axis is some rows further on in the table.
        table = ops.reshape(ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (-1, share))
        row = 0
        for axis, (length, border) in enumerate(zip(ops.shape(x)[:3], (0, 1, 1), strict=True)):
            place = ops.reshape(ops.arange(length, dtype="int32") + border, [-1] + [1] * (2 - axis))
            row = row * (length + 2 * border) + place
        row = ops.expand_dims(row * groups, -1) + ops.arange(groups, dtype="int32")

        def read(axis, distance, step):
            length, below = ops.shape(x)[axis], ops.floor(distance)
            place = ops.reshape(ops.arange(length, dtype="int32"), (-1, 1) if axis == 2 else (-1, 1, 1))
            # Integers at once: int8 files round all other numbers, and a 3 that became 2.99 would be cut to 2.
            steps = ops.cast(below, "int32")
            near, far = (
                ops.take(table, row + step * ops.clip(end, -1 - place, length - place), axis=0)
                for end in (steps, steps + 1)
            )
            part = ops.expand_dims(ops.cast(distance - below, x.dtype), -1)
            return ops.reshape(near + (far - near) * part, (-1, height, width, channels))

        return [read(2, distances[..., :groups], groups), read(1, distances[..., groups:], (width + 2) * groups)]

    def compute_output_shape(self, input_shape):
        return [input_shape[0], input_shape[0]]


@showing.made.answer(ActiveShift)
def _distances(layer, inputs):
    caption = "how many positions further channels are read: along the width, then along the height"
    return showing.Pictures(caption, np.moveaxis(showing.array(inputs[1])[0], -1, 0))


def new_distances(x, share, name):
    """The distances of a block and of those after it: norm and linear layer, in float32 at least."""
    with precision.policy(at_least_float32(keras.config.dtype_policy().compute_dtype)):
        y = layer_norm(f"{name}_norm")(x)
        return Dense(2 * x.shape[-1] // share, kernel_initializer=_NORMAL, name=name)(y)


def active_mixing(x, distances, activation, name):
    """The active token mixer: linear layers of the map and of what is read along its axes, joined and projected."""
    read = ActiveShift(name=f"{name}_shift")([x, distances])
    return axial_branches(x, *read, False, activation, _NORMAL, name)


@family.token_mixing
def _mixing(x):
    """Four channels share a distance; the distances are computed in this block."""
    return active_mixing(x, new_distances(x, 4, "distances"), "gelu", "mixing")


@family.builder
def ActiveMLP(
    x,
    patch_size=4,
    dims=(64, 128, 320, 512),
    depths=(2, 2, 4, 2),
    mlp_ratios=(4, 4, 4, 4),
    share=(2, 4, 4, 8),
    interval=2,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """ActiveMLP of any size, for images of any size.

    The first block of a stage, and every `interval`-th after it but the last one, computes distances for its channels
    from its input. The blocks up to the next such block take the same. Before these blocks a depthwise convolution of
    3 x 3 positions, the same throughout a stage, is added to the map.

    Args:
        patch_size: distance of the patches in pixels; they are `2 * patch_size - 1` wide. Even.
        dims: width of each stage. Each stage has half the height and width of the one before, rounded up.
        depths: number of blocks of each stage, at least 2.
        mlp_ratios: hidden width of the channel MLP of each stage, in multiples of the stage's width.
        share: for each stage, how many channels after each other share a distance; a divisor of twice the width.
        interval: after how many blocks new distances are computed.
        activation: of the MLPs and split attention; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP; the reference has none.
    """
    if min(depths) < 2:
        raise ValueError(
            "A stage needs at least 2 blocks: the last one never computes distances, and takes those of a block before it. "
            f"Received: depths={depths!r}"
        )
    if interval < 1:
        raise ValueError(f"`interval` must be at least 1. Received: interval={interval!r}")
    for dim, channels in zip(dims, share, strict=True):
        if channels < 1 or 2 * dim % channels:
            raise ValueError(
                f"`share` must hold divisors of twice the widths of the stages. Received: dims={dims!r}, share={share!r}"
            )
    activation = activation or "gelu"
    x = overlapping_patches(x, dims[0], patch_size, "stem", kernel_initializer=_KAIMING.clone())
    for stage, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
        if stage:
            x = padded_conv(x, dims[stage], 3, 2, 1, f"down_{stage - 1}", kernel_initializer=_KAIMING.clone())
        position = layers.DepthwiseConv2D(
            3, padding="same", depthwise_initializer=_KAIMING_DEPTHWISE.clone(), name=f"stages_{stage}_0_position"
        )
        for i, rate in enumerate(rates):
            name = f"stages_{stage}_{i}"
            if i % interval == 0 and i < len(rates) - 1:
                x = residual(x, position(x), 0.0, f"{name}_position")
                distances = new_distances(x, share[stage], f"{name}_distances")
            x = mixing_block(
                x,
                functools.partial(active_mixing, distances=distances, activation=activation),
                int(mlp_ratios[stage] * dims[stage]),
                activation,
                layer_norm,
                rate,
                dropout_rate,
                name,
                kernel_initializer=_NORMAL,
            )
    return layer_norm("norm")(x)


_SOURCE = "the README of microsoft/ActiveMLP"


def _scores(top1, *ade20k):
    """Top-1; mIoU of UPerNet at one and several scales."""
    metrics, source = ("mIoU", "mIoU, several scales"), "segmentation/README.md of microsoft/ActiveMLP"
    pairs = zip(ade20k, metrics, strict=True)
    return (*imagenet(top1, _SOURCE), *(Score(value, metric, "ADE20K", source=source) for value, metric in pairs))


ActiveMLPXTiny = family.variant(
    "ActiveMLPXTiny", "active_mlp_xtiny", title="ActiveMLP-xT", depths=(2, 2, 4, 2),
    parameters=15_349_128, macs=2_168_136_704, scores=_scores(79.7, 44.27, 45.44),
)  # fmt: skip
ActiveMLPTiny = family.variant(
    "ActiveMLPTiny", "active_mlp_tiny", title="ActiveMLP-T", depths=(2, 3, 10, 3),
    parameters=27_152_232, macs=3_954_178_816, scores=_scores(82.0, 46.46, 47.55),
)  # fmt: skip
ActiveMLPSmall = family.variant(
    "ActiveMLPSmall", "active_mlp_small", title="ActiveMLP-S", depths=(3, 4, 18, 3), mlp_ratios=(8, 8, 4, 4), interval=6,
    parameters=38_631_448, macs=6_888_182_016, scores=_scores(83.1, 48.42, 49.49),
)  # fmt: skip
ActiveMLPBase = family.variant(
    "ActiveMLPBase", "active_mlp_base", title="ActiveMLP-B", depths=(3, 8, 27, 3), mlp_ratios=(8, 8, 4, 4), interval=6,
    parameters=52_154_792, macs=10_112_901_888, scores=_scores(83.5, 48.63, 49.86),
)  # fmt: skip
ActiveMLPLarge = family.variant(
    "ActiveMLPLarge", "active_mlp_large", title="ActiveMLP-L", dims=(96, 192, 384, 768), depths=(3, 4, 24, 3), interval=6,
    parameters=76_238_032, macs=12_347_929_344, scores=_scores(83.8, 50.05, 51.10),
)  # fmt: skip


family.layout(
    "active_mlp",
    convention="torch",
    names=(
        ("patch_embed.proj", "stem"),
        ("pos_blocks.{}.proj", "stages_{}_0_position"),
        ("blocks.{}.{}.offset_layer.0", "stages_{}_{}_distances_norm"),
        ("blocks.{}.{}.offset_layer.1", "stages_{}_{}_distances"),
        ("blocks.{}.{}.norm{}", "stages_{}_{}_norm{}"),
        ("blocks.{}.{}.atm.atm_w", "stages_{}_{}_token_mixing_width"),
        ("blocks.{}.{}.atm.atm_h", "stages_{}_{}_token_mixing_height"),
        ("blocks.{}.{}.atm.atm_c", "stages_{}_{}_token_mixing_channels"),
        ("blocks.{}.{}.atm.fusion.fc{}", "stages_{}_{}_token_mixing_reweight/fc{}"),
        ("blocks.{}.{}.atm.proj", "stages_{}_{}_token_mixing_proj"),
        ("blocks.{}.{}.mlp.fc{}", "stages_{}_{}_channel_mixing_fc{}"),
        # The last block of a stage holds what is between it and the next stage.
        *((f"blocks.{stage}.{{}}.downsample.proj", f"down_{stage}") for stage in range(10)),
        ("norm", "norm"),
        ("norm_{}", "level_{}_norm"),
        ("head", "head"),
    ),
)

_DRIVE = "https://drive.google.com/file/d"

family.publish(
    *(
        Weights(
            f"active_mlp_{size}", "imagenet1k", f"{_DRIVE}/{file}/view?usp=sharing", "pth", "active_mlp", "ImageNet-1k", 1000,
            "MIT", preprocessing=_IMAGENET, scores=imagenet(top1, _SOURCE), key="model_ema", by_hand=True,
            note="The file has plain weights, too. The accuracy is that of the averaged ones, which are loaded. Their name in "
            "the file is that of the authors' code; the file was not opened.",
        )
        for size, file, top1 in (
            ("xtiny", "1JjWFDJM097a2sX9zw2oOisCT-7T43-DV", 79.7),
            ("tiny", "1eFv5SsGr6ZpupY0wB-N2mjVhQLSo92o-", 82.0),
            ("large", "1aIEnq_5-oS8jiLr2W8ryLabmzHTmR3J0", 83.8),
        )
    )
)  # fmt: skip
