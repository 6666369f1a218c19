"""Hire-MLP: neighbouring rows, and neighbouring columns, are put side by side and mixed by an MLP.

Within a region of a few positions, the rearrangement turns the positions into channels. Across regions, the map is moved
around by some positions in every second block, so that other positions share a region. Both directions and a plain
linear layer are joined by split attention, as in Vision Permutator. Any image size works that is not too small.
"""

import functools

import numpy as np
from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.checkpoints.layouts import with_weight
from keras_mlp.family import Family
from keras_mlp.layers import (
    Dense,
    SplitAttention,
    batch_norm,
    fusing,
    mixing_block,
    overlapping_patches,
    padded_conv,
    stages,
)
from keras_mlp.layers.configs import registered
from keras_mlp.layers.parts import part
from keras_mlp.layers.sizes import check_side

__all__ = ["HireMLP", "HireMLPTiny", "HireMLPSmall", "HireMLPBase", "HireMLPLarge"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)

family = Family(
    "hire_mlp",
    title="Hire-MLP",
    paper=Paper(
        "Hire-MLP: Vision MLP via Hierarchical Rearrangement", "Guo et al.", 2021, "https://arxiv.org/abs/2108.13341"
    ),
    level_norm=batch_norm,
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="ggjy/Hire-Wave-MLP.pytorch, the README's commands (Tiny: batch 2048 and no stochastic depth, Base: 0.2)",
        learning_rate=1e-3,
        batch_size=1024,
        epochs=300,
        warmup_epochs=20,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        repeated_augmentation=3,
    ),
    per_stage=("dims", "depths", "region_sizes", "shift_periods", "shift_sizes", "mlp_ratios"),
)


_BORDERS = ("circular", "replicate", "zeros")


@registered
class RegionPartition(layers.Layer):
    """A map, moved along an axis and cut into regions, as one position a region.

        y[j, :] = [x'[j size], …, x'[j size + size - 1]],   x'[i] = x[i - shift]

    Where the length is no multiple of `size`, the moved map is continued at its end.

    Source: Guo et al. 2021 (Hire-MLP), sections 3.2 (inner-region rearrangement) and 3.3 (cross-region).

    Args:
        side: "height" or "width".
        size: number of positions of a region.
        shift: positions that the map moves towards larger indices first.
        shift_border: "circular" for what has left at the end to come in at the start, "zeros".
        border: what continues the map at its end: "circular" for its own start, "replicate" for its last
            position, "zeros".

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: `(batch, ceil(height / size), width, size * channels)`, or with the width cut instead of the height.

    Raises:
        ValueError: an argument is none of those allowed, or the map is shorter than the shift or its continuation.
    """

    def __init__(self, side, size, shift=0, shift_border="circular", border="circular", **kwargs):
        check_side(side)
        if size < 1 or shift < 0:
            raise ValueError(f"`size` must be positive, `shift` not negative. Received: size={size!r}, shift={shift!r}")
        if shift_border not in ("circular", "zeros"):
            raise ValueError(f'`shift_border` must be "circular" or "zeros". Received: shift_border={shift_border!r}')
        if border not in _BORDERS:
            raise ValueError(f"`border` must be one of {_BORDERS}. Received: border={border!r}")
        super().__init__(**kwargs)
        self.side, self.size, self.shift = side, size, shift
        self.shift_border, self.border = shift_border, border
        self.axis = 1 if side == "height" else 2

    def build(self, input_shape):
        length = input_shape[self.axis]
        if length is not None and length < (need := max(self.shift, -length % self.size)):
            raise ValueError(
                f"The {self.side} of the map must be at least {need} positions, to be moved by {self.shift} and cut "
                f"into regions of {self.size}. Received: {length}. Use a larger image."
            )
        super().build(input_shape)

    def call(self, x):
        length = ops.shape(x)[self.axis]
        missing = -length % self.size

        def cut(x, start, length):
            return part(x, {self.axis: (start, length)})

        parts, circular = [x], self.shift_border == "circular"
        if self.shift:
            left = cut(x, length - self.shift, self.shift) if circular else ops.zeros_like(cut(x, 0, self.shift))
            parts = [left, cut(x, 0, length - self.shift)]
        if not isinstance(missing, int) or missing:
            # One concatenation for both: the moved map's start is the start of what has been put there.
            moved = ops.concatenate(parts, self.axis) if len(parts) > 1 else x
            start = cut(moved, 0, missing)
            if self.border == "circular":
                parts.append(start)
            elif self.border == "zeros":
                parts.append(ops.zeros_like(start))
            else:
                parts.append(ops.zeros_like(start) + cut(moved, length - 1, 1))
        x = ops.concatenate(parts, self.axis) if len(parts) > 1 else x
        _, height, width, channels = ops.shape(x)
        if self.side == "width":  # neighbours already lie side by side
            return ops.reshape(x, (-1, height, width // self.size, self.size * channels))
        x = ops.reshape(x, (-1, height // self.size, self.size, width, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4))
        return ops.reshape(x, (-1, height // self.size, width, self.size * channels))

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        if shape[self.axis] is not None:
            shape[self.axis] = -(-shape[self.axis] // self.size)
        shape[-1] *= self.size
        return tuple(shape)


@registered
class RegionMerge(layers.Layer):
    """The way back from regions to positions: what `RegionPartition` continued is cut off, what it moved moves back.

    Args:
        side: "height" or "width".
        size: number of positions of a region.
        shift: positions that the map moves towards smaller indices, around its end.

    Input shape: regions, as they are the output of `RegionPartition`, and a map of the size to return to.
    Output shape: that of the map, with as many channels as the regions have a position.

    Raises:
        ValueError: `side` is neither.
    """

    def __init__(self, side, size, shift=0, **kwargs):
        check_side(side)
        super().__init__(**kwargs)
        self.side, self.size, self.shift = side, size, shift
        self.axis = 1 if side == "height" else 2

    def call(self, inputs):
        regions, like = inputs
        length = ops.shape(like)[self.axis]
        _, height, width, channels = ops.shape(regions)
        channels = channels // self.size
        if self.side == "width":
            x = ops.reshape(regions, (-1, height, width * self.size, channels))
        else:
            x = ops.reshape(regions, (-1, height, width, self.size, channels))
            x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4)), (-1, height * self.size, width, channels))

        def cut(start, length):
            return part(x, {self.axis: (start, length)})

        if self.shift:
            return ops.concatenate([cut(self.shift, length - self.shift), cut(0, self.shift)], self.axis)
        return cut(0, length)

    def compute_output_shape(self, input_shape):
        regions, like = input_shape
        return (*like[:-1], regions[-1] // self.size)


@fusing.carries.answer(RegionPartition)
def _side_by_side(layer, scale, shift, shape):
    length = shape[layer.axis]
    continued = length is None or length % layer.size
    zeros = (layer.shift and layer.shift_border == "zeros") or (continued and layer.border == "zeros")
    if zeros and np.any(shift):
        return None
    return np.tile(scale, layer.size), np.tile(shift, layer.size)


@fusing.sizes.answer(RegionMerge)
def _like(layer):
    return (1,)


def hire_mixing(x, region_size, shift, shift_border, region_border, activation, name):
    """Section 3.1: an MLP on the regions of either direction and a plain linear layer, joined and projected."""
    dim, linear, branches = x.shape[-1], dict(kernel_initializer=_NORMAL), []
    for side in ("height", "width"):
        prefix = f"{name}_{side}"
        y = RegionPartition(side, region_size, shift, shift_border, region_border, name=f"{prefix}_partition")(x)
        y = batch_norm(f"{prefix}_norm")(Dense(dim // 2, use_bias=False, **linear, name=f"{prefix}_fc1")(y))
        y = Dense(dim * region_size, **linear, name=f"{prefix}_fc2")(layers.ReLU(name=f"{prefix}_act")(y))
        # What zeros have come in for is gone: the authors do not move back in that case.
        back = shift if shift_border == "circular" else 0
        branches.append(RegionMerge(side, region_size, back, name=f"{prefix}_merge")([y, x]))
    branches.append(Dense(dim, **linear, name=f"{name}_channels")(x))
    y = SplitAttention(activation, **linear, name=f"{name}_reweight")(branches)
    return Dense(dim, **linear, name=f"{name}_proj")(y)


@family.token_mixing
def _mixing(x):
    """Regions of two positions, which do not move."""
    return hire_mixing(x, 2, 0, "circular", "circular", "gelu", "mixing")


@family.builder
def HireMLP(
    x,
    patch_size=4,
    dims=(64, 128, 320, 512),
    depths=(2, 2, 4, 2),
    region_sizes=(4, 3, 3, 2),
    shift_periods=(2, 2, 3, 2),
    shift_sizes=(2, 2, 1, 1),
    mlp_ratios=(4, 4, 4, 4),
    shift_border="circular",
    region_border="circular",
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """Hire-MLP of any size, for images of any size that leaves room to shift and to fill up the last region.

    Args:
        patch_size: distance of the patches in pixels; they are `2 * patch_size - 1` wide. Even.
        dims: width of each stage; each is at half the height and width of the one before.
        depths: number of blocks of each stage.
        region_sizes: number of positions of a region, for each stage.
        shift_periods: number of blocks after which the shifts begin anew, for each stage.
        shift_sizes: for each stage, positions that a block shifts further than the block before; block `b` shifts by
            `b % shift_period * shift_size`.
        mlp_ratios: hidden width of the channel MLP, in multiples of the stage's width.
        shift_border: "circular", or "zeros" for a shift that brings in zeros and is not undone.
        region_border: what fills up the last region: "circular" for the map's start, "replicate" for its last
            position, "zeros".
        activation: of the channel MLP and split attention; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    activation = activation or "gelu"
    blocks = []
    for dim, depth, region, period, size, ratio in zip(
        dims, depths, region_sizes, shift_periods, shift_sizes, mlp_ratios, strict=True
    ):
        mixing = functools.partial(
            hire_mixing,
            region_size=region,
            shift_border=shift_border,
            region_border=region_border,
            activation=activation,
        )
        block = functools.partial(
            mixing_block,
            channel_dim=int(ratio * dim),
            activation=activation,
            norm=batch_norm,
            dropout_rate=dropout_rate,
            kernel_initializer=_NORMAL,
        )
        shifts = (b % period * size for b in range(depth))
        blocks.append([functools.partial(block, token_mixing=functools.partial(mixing, shift=s)) for s in shifts])

    def normalised(x, name):
        return layers.ReLU(name=f"{name}_act")(batch_norm(f"{name}_norm")(x))

    def embed(x, dim, stride, name):
        return normalised(padded_conv(x, dim, 3, stride, 1, name, kernel_initializer=_NORMAL.clone()), name)

    x = normalised(overlapping_patches(x, dims[0], patch_size, "stem", kernel_initializer=_NORMAL.clone()), "stem")
    return batch_norm("norm")(stages(x, blocks, dims, (True,) * len(dims), embed, drop_path_rate))


_SOURCE = "table 1 of the paper and the authors' README"  # of the settings, too

HireMLPTiny = family.variant(
    "HireMLPTiny", "hire_mlp_tiny", title="Hire-MLP-T", depths=(2, 2, 4, 2),
    parameters=18_041_672, macs=2_144_002_048, scores=imagenet(79.7, _SOURCE),
)  # fmt: skip
HireMLPSmall = family.variant(
    "HireMLPSmall", "hire_mlp_small", title="Hire-MLP-S", depths=(3, 4, 10, 3),
    parameters=33_113_848, macs=4_231_090_176, scores=imagenet(82.1, _SOURCE),
)  # fmt: skip
HireMLPBase = family.variant(
    "HireMLPBase", "hire_mlp_base", title="Hire-MLP-B", depths=(4, 6, 24, 3), drop_path_rate=0.2,
    parameters=58_226_856, macs=8_110_620_672, scores=imagenet(83.2, _SOURCE),
)  # fmt: skip
HireMLPLarge = family.variant(
    "HireMLPLarge", "hire_mlp_large", title="Hire-MLP-L", dims=(96, 192, 384, 768), depths=(4, 6, 24, 3),
    parameters=95_723_944, macs=13_421_604_864, scores=imagenet(83.8, _SOURCE),
    note="The authors published no checkpoint of this size.",
)  # fmt: skip


def _width(hidden, rearranged):
    """The stage's width, of which `hidden` is half, rounded down, and `rearranged` a multiple."""
    return 2 * hidden if rearranged % (2 * hidden) == 0 else 2 * hidden + 1


@with_weight
def _into_region_mlp(tensor, weight):
    """A channel's positions lie side by side in the published weights, a position's channels here."""
    hidden, rearranged = weight.shape[:2]
    by_channel = tensor.reshape(hidden, _width(hidden, rearranged), -1)
    return by_channel.transpose(2, 1, 0).reshape(rearranged, hidden)


@with_weight
def _out_of_region_mlp(tensor, weight):
    rearranged, hidden = weight.shape[:2]
    by_channel = tensor.reshape(_width(hidden, rearranged), -1, hidden if tensor.ndim > 1 else 1)
    by_position = by_channel.transpose(2, 1, 0).reshape(-1, rearranged)
    return by_position if tensor.ndim > 1 else by_position[0]


family.layout(
    "hire_mlp",
    convention="torch",
    names=(
        ("patch_embed.proj", "stem"),
        ("patch_embed.norm", "stem_norm"),
        ("network.{}.{}.norm{}", "stages_{}_{}_norm{}"),
        ("network.{}.{}.attn.mlp_h1", "stages_{}_{}_token_mixing_height_fc1", _into_region_mlp),
        ("network.{}.{}.attn.mlp_h1_norm", "stages_{}_{}_token_mixing_height_norm"),
        ("network.{}.{}.attn.mlp_h2", "stages_{}_{}_token_mixing_height_fc2", _out_of_region_mlp),
        ("network.{}.{}.attn.mlp_w1", "stages_{}_{}_token_mixing_width_fc1", _into_region_mlp),
        ("network.{}.{}.attn.mlp_w1_norm", "stages_{}_{}_token_mixing_width_norm"),
        ("network.{}.{}.attn.mlp_w2", "stages_{}_{}_token_mixing_width_fc2", _out_of_region_mlp),
        ("network.{}.{}.attn.mlp_c", "stages_{}_{}_token_mixing_channels"),
        ("network.{}.{}.attn.reweight.fc{}", "stages_{}_{}_token_mixing_reweight/fc{}"),
        ("network.{}.{}.attn.proj", "stages_{}_{}_token_mixing_proj"),
        ("network.{}.{}.mlp.fc{}", "stages_{}_{}_channel_mixing_fc{}"),
        ("network.{}.proj", "down_{}"),
        ("network.{}.norm", "down_{}_norm"),
        ("norm", "norm"),
        *((f"norm{2 * level}", f"level_{level}_norm") for level in range(4)),  # backbones of detectors and segmentors
        ("head", "head"),
    ),
)

_RELEASE = "https://github.com/ggjy/Hire-Wave-MLP.pytorch/releases/download/log/hire_mlp_"

family.publish(
    *(
        Weights(
            f"hire_mlp_{size}", "imagenet1k", f"{_RELEASE}{size}.pth", "pth", "hire_mlp", "ImageNet-1k", 1000,
            "MIT (the README's badge; there is no licence file)", preprocessing=_IMAGENET,
            scores=imagenet(top1, _SOURCE), key="model",
        )
        for size, top1 in (("tiny", 79.7), ("small", 82.1), ("base", 83.2))
    )
)  # fmt: skip
