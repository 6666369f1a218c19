"""MS-MLP (Mix-Shift-MLP): pieces of the channels move by different distances, and are mixed in windows of different sizes.

The channels are cut into pieces. Each moves around the map by its own distance, along the width and, side by side with
that, along the height, and a depthwise convolution of its own size mixes the neighbours of where it has come to. The
sum of both goes through norm and channel MLP, as in ConvNeXt. What is far away is seen in a wider window. The cost is
linear in the number of positions, and any image size works.

The README of the authors mixes first and moves afterwards. Their code, which the weights follow, does it the other way
round.
"""

import functools
import math

import numpy as np
from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.heads import average_norm_and_classify
from keras_mlp.layers import (
    Composite,
    LayerScale,
    channel_mlp,
    drop_path_rates,
    layer_norm,
    residual,
    showing,
    whole_patches,
)
from keras_mlp.layers.configs import registered
from keras_mlp.layers.parts import pieces, rolled

__all__ = ["MSMLP", "MSMLPTiny", "MSMLPSmall", "MSMLPBase"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_norm = functools.partial(layer_norm, epsilon=1e-6)

family = Family(
    "ms_mlp",
    title="MS-MLP",
    paper=Paper(
        "Mixing and Shifting: Exploiting Global and Local Dependencies in Vision MLPs",
        "Zheng et al.",
        2022,
        "https://arxiv.org/abs/2202.06510",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="JegZheng/MS-MLP, config.py and the README's commands; rates of stochastic depth: its configs",
        learning_rate=1e-3,
        batch_size=1024,
        epochs=300,
        warmup_epochs=20,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        gradient_clip_norm=5.0,
        drop_path_rate=0.1,
    ),
    per_stage=("depths", "kernel_sizes"),
    head=average_norm_and_classify(_norm),  # the norm is after the average: there is one vector
)


def _uniform(inputs):
    """PyTorch's default for weights and biases of a convolution whose outputs have so many inputs each."""
    return initializers.RandomUniform(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs))


@registered
class MixShift(Composite):
    """Pieces of the channels, moved around the map and mixed by depthwise convolutions, along both axes.

    Piece `g` of the channels, `x_g`, becomes the sum of two depthwise convolutions of `k_g` x `k_g` positions:

        y_g = W_g (x_g moved by s_g along the width) + H_g (x_g moved by s_g along the height) + biases

    What leaves the map at one end comes in at the other. The convolutions see zeros around the moved map. The pieces
    have `ceil(channels / pieces)` channels, the last one fewer where that does not divide them.

    Source: Zheng et al. 2022 (MS-MLP); the order is that of the authors' code.

    Args:
        shifts: the distances `s_g`, one for each piece, towards larger indices.
        kernel_sizes: the sides `k_g`, one for each piece, odd.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown, and less than the distances.
    Output shape: the same.

    Raises:
        ValueError: there are not as many shifts as sizes, a size is not odd, or the channels make fewer pieces.
    """

    def __init__(self, shifts, kernel_sizes, **kwargs):
        if not shifts or len(shifts) != len(kernel_sizes):
            raise ValueError(
                "There must be one shift and one kernel size for each piece of the channels. "
                f"Received: shifts={shifts!r}, kernel_sizes={kernel_sizes!r}"
            )
        if any(size < 1 or size % 2 == 0 for size in kernel_sizes):
            raise ValueError(f"Kernel sizes must be positive odd numbers. Received: kernel_sizes={kernel_sizes!r}")
        super().__init__(**kwargs)
        self.shifts, self.kernel_sizes = tuple(shifts), tuple(kernel_sizes)

    def build(self, input_shape):
        channels = input_shape[-1]
        self.pieces = pieces(channels, len(self.shifts))
        if len(self.pieces) < len(self.shifts):
            raise ValueError(
                f"Pieces of {self.pieces[0][1]} channels, which {channels} are cut into for {len(self.shifts)} shifts, are "
                f"only {len(self.pieces)}. Use more channels, or as many shifts. Received: shifts={self.shifts}"
            )

        def convolution(name, size, width):
            start = _uniform(size * size)
            return self.sublayer(
                layers.DepthwiseConv2D,
                size,
                padding="same",
                data_format="channels_last",
                depthwise_initializer=start,
                bias_initializer=start.clone(),
                name=name,
                input_shape=(None, None, None, width),
            )

        of_piece = list(zip(self.kernel_sizes, self.pieces, strict=True))
        self.width = [convolution(f"width_{g}", size, width) for g, (size, (_, width)) in enumerate(of_piece)]
        self.height = [convolution(f"height_{g}", size, width) for g, (size, (_, width)) in enumerate(of_piece)]
        super().build(input_shape)

    def call(self, x):
        mixed = []
        for piece, shift, along_width, along_height in zip(
            self.pieces, self.shifts, self.width, self.height, strict=True
        ):
            y = along_width(rolled(x, shift, 2, {3: piece}))
            mixed.append(y + along_height(rolled(x, shift, 1, {3: piece})))
        return ops.concatenate(mixed, axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape


@showing.weights.answer(MixShift)
def _windows(layer):
    """All as large as the largest of them, with zeros around."""
    kernels = [showing.array(convolution.kernel)[..., 0] for convolution in (*layer.width, *layer.height)]
    borders = [(max(layer.kernel_sizes) - len(kernel)) // 2 for kernel in kernels]
    kernels = [np.pad(kernel, [(n, n), (n, n), (0, 0)]) for kernel, n in zip(kernels, borders, strict=True)]
    caption = "the window of one channel, on a map that was moved before"
    return showing.largest_first(caption, np.moveaxis(np.concatenate(kernels, axis=-1), -1, 0))


def mix_shift_block(x, shifts, kernel_sizes, mlp_ratio, layer_scale, activation, drop_path_rate, name):
    """A block: mixing and shifting of the map as it is, norm, MLP, scale; all on one residual branch."""
    y = MixShift(shifts, kernel_sizes, name=f"{name}_token_mixing")(x)
    hidden = int(mlp_ratio * x.shape[-1])
    y = _norm(f"{name}_norm")(y)
    y = channel_mlp(y, hidden, activation, f"{name}_channel_mixing", kernel_initializer=_NORMAL)
    if layer_scale:
        y = LayerScale(layer_scale, name=f"{name}_scale")(y)
    return residual(x, y, drop_path_rate, name)


def patches(x, dim, size, name):
    """Patches that do not overlap, each projected to one vector; surplus rows and columns are dropped."""
    start = _uniform(size * size * x.shape[-1])
    return whole_patches(x, dim, size, name, kernel_initializer=start, bias_initializer=start.clone())


@family.token_mixing
def _mixing(x):
    """The convolutions of the first stage; the norm and the channel MLP come after them."""
    return MixShift((-2, -1, 0, 1, 2), (1, 1, 3, 5, 7))(x)


@family.builder
def MSMLP(
    x,
    patch_size=4,
    dim=96,
    depths=(3, 3, 9, 3),
    shifts=(-2, -1, 0, 1, 2),
    kernel_sizes=((1, 1, 3, 5, 7), (1, 3, 3, 5, 7), (1, 5, 5, 5, 7), (1, 7, 7, 7, 7)),
    mlp_ratio=4,
    stem_norm=True,
    layer_scale=1e-6,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """MS-MLP of any size, for images of any size.

    A block computes, with the mixing and shifting `M` of `MixShift`,

        y = x + gamma * (W2 activation(W1 norm(M x) + b1) + b2),    W1: (mlp_ratio C, C), W2: (C, mlp_ratio C).

    Args:
        patch_size: side of a patch in pixels; rows and columns that are left over at the end are dropped.
        dim: width of the first stage; every further one is twice as wide at half the height and width, rounded down.
        depths: number of blocks of each stage.
        shifts: for each piece of the channels, by how many positions it moves; the same in all stages.
        kernel_sizes: for each stage, the sides of the windows in which the pieces are mixed, odd.
        mlp_ratio: hidden width of the channel MLP, in multiples of the stage's width.
        stem_norm: whether a norm follows the patch embedding.
        layer_scale: what the scale `gamma` of a block's channels starts from; `None` or 0 for no scale.
        activation: of the MLPs; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after the patch embedding, the only one that the reference has.
    """
    activation, rates = activation or "gelu", drop_path_rates(drop_path_rate, depths)
    x = patches(x, dim, patch_size, "stem")
    if stem_norm:
        x = _norm("stem_norm")(x)
    if dropout_rate:
        x = layers.Dropout(dropout_rate, name="stem_drop")(x)
    for stage, (stage_rates, sizes) in enumerate(zip(rates, kernel_sizes, strict=True)):
        if stage:
            down = f"down_{stage - 1}"
            x = _norm(f"{down}_norm")(patches(x, 2 * x.shape[-1], 2, down))
        for i, rate in enumerate(stage_rates):
            x = mix_shift_block(x, shifts, sizes, mlp_ratio, layer_scale, activation, rate, f"stages_{stage}_{i}")
    return x


_SOURCE = "the README of JegZheng/MS-MLP"

MSMLPTiny = family.variant(
    "MSMLPTiny", "ms_mlp_tiny", title="MS-MLP-Tiny", dim=96, depths=(3, 3, 9, 3), drop_path_rate=0.1,
    parameters=28_656_232, macs=4_437_768_960, scores=imagenet(82.1, _SOURCE),
)  # fmt: skip
MSMLPSmall = family.variant(
    "MSMLPSmall", "ms_mlp_small", title="MS-MLP-Small", dim=96, depths=(3, 3, 27, 3), drop_path_rate=0.4,
    parameters=50_303_752, macs=8_667_135_360, scores=imagenet(83.4, _SOURCE),
)  # fmt: skip
MSMLPBase = family.variant(
    "MSMLPBase", "ms_mlp_base", title="MS-MLP-Base", dim=128, depths=(3, 3, 27, 3), drop_path_rate=0.5,
    parameters=88_696_792, macs=15_334_215_328, scores=imagenet(83.8, _SOURCE),
)  # fmt: skip


family.layout(
    "ms_mlp",
    convention="torch",
    names=(
        ("patch_embed.proj", "stem"),
        ("patch_embed.norm", "stem_norm"),
        ("layers.{}.blocks.{}.dwconv_lr.{}", "stages_{}_{}_token_mixing/width_{}"),
        ("layers.{}.blocks.{}.dwconv_td.{}", "stages_{}_{}_token_mixing/height_{}"),
        ("layers.{}.blocks.{}.norm", "stages_{}_{}_norm"),
        ("layers.{}.blocks.{}.pwconv{}", "stages_{}_{}_channel_mixing_fc{}"),
        ("layers.{}.blocks.{}.gamma", "stages_{}_{}_scale/gamma"),
        ("layers.{}.downsample.proj", "down_{}"),
        ("layers.{}.downsample.norm", "down_{}_norm"),
        ("norm", "head_norm"),
        ("head", "head"),
    ),
)

_RELEASE = "https://tsciencescu.blob.core.windows.net/projectshzheng/MSMLP/released_model"

family.publish(
    *(
        Weights(
            f"ms_mlp_{size}", "imagenet1k", f"{_RELEASE}/msmlp_{size}_patch4/msmlp_{size}_patch4_ckpt_epoch299.pth",
            "pth", "ms_mlp", "ImageNet-1k", 1000, "MIT", preprocessing=_IMAGENET, scores=imagenet(top1, _SOURCE),
            key="model", note="The file holds the whole state of the training; its weights alone are read. The address is the "
            "README's. Whether it is still served was not checked.",
        )
        for size, top1 in (("tiny", 82.1), ("small", 83.4), ("base", 83.8))
    )
)  # fmt: skip
