"""AS-MLP: neighbouring positions are brought together by shifting groups of channels, then mixed by linear layers.

Each group of channels moves by its own number of positions, and zeros come in at the border. A linear layer over the
channels then sees `shift_size` positions at once. This happens along the width and, side by side with it, along the
height. The cost is linear in the number of positions, and any image size works. All norms are over a whole image: group
norm with one group, not layer norm.
"""

import numpy as np
from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.layers import (
    MAP_NORMS,
    Activation,
    AxialShift,
    Dense,
    PatchEmbedding,
    activations,
    channel_mlp,
    drop_path_rates,
    fusing,
    image_norm,
    norm_named,
    residual,
)
from keras_mlp.layers.configs import registered
from keras_mlp.layers.patch_embedding import sides

__all__ = ["ASMLP", "ASMLPTiny", "ASMLPSmall", "ASMLPBase"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default, which the authors keep

family = Family(
    "as_mlp",
    title="AS-MLP",
    paper=Paper(
        "AS-MLP: An Axial Shifted MLP Architecture for Vision", "Lian et al.", 2021, "https://arxiv.org/abs/2107.08391"
    ),
    level_norm=image_norm,
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="svip-lab/AS-MLP, config.py and train_scripts (stochastic depth: Tiny 0.2, Small 0.3, Base 0.5)",
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
        drop_path_rate=0.2,
    ),
    per_stage=("depths",),
)


@registered
class PadToPatches(layers.Layer):
    """Zeros below and to the right of an image, as many as whole patches need.

    Where a size is unknown, as many as the most that can be needed; an embedding without padding, which comes next,
    leaves out what is too much.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: the same, with height and width rounded up to multiples of `patch_size`.

    Raises:
        ValueError: `patch_size` is neither a positive integer nor a pair of them.
    """

    def __init__(self, patch_size, **kwargs):
        super().__init__(**kwargs)
        patch = sides(patch_size)
        self.patch_size = patch if isinstance(patch_size, tuple | list) else patch_size

    def call(self, x):
        both = zip(x.shape[1:3], sides(self.patch_size), strict=True)
        missing = [patch - 1 if size is None else -size % patch for size, patch in both]
        return ops.pad(x, ((0, 0), *((0, amount) for amount in missing), (0, 0))) if any(missing) else x

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        both = zip(sizes, sides(self.patch_size), strict=True)
        return (batch, *(size and size + -size % patch for size, patch in both), channels)


@fusing.carries.answer(PadToPatches)
def _padded(layer, scale, shift, shape):
    both = zip(shape[1:3], sides(layer.patch_size), strict=True)
    whole = all(size is not None and size % patch == 0 for size, patch in both)
    return (scale, shift) if whole or not np.any(shift) else None


@registered
class PatchMerging(layers.Layer):
    """The four positions of each 2 x 2 cell, one after the other in the channels, the row running fastest.

    An odd height or width gets a row or column of zeros at its end.

    Source: Liu et al. 2021 (Swin), https://arxiv.org/abs/2103.14030, section 3.1.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: `(batch, ceil(height / 2), ceil(width / 2), 4 * channels)`.
    """

    def call(self, x):
        open_or_odd = [size is None or size % 2 == 1 for size in x.shape[1:3]]
        x = ops.pad(x, ((0, 0), *((0, int(padded)) for padded in open_or_odd), (0, 0)))
        _, height, width, channels = ops.shape(x)
        rows, columns = height // 2, width // 2
        if None in x.shape[1:3]:
            x = x[:, : 2 * rows, : 2 * columns]
        # One transpose in place of four slices, for whose gradients TensorFlow would write whole maps of zeros.
        x = ops.reshape(x, (-1, 2, 2 * columns, channels))
        return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, rows, columns, 4 * channels))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, *(size and -(-size // 2) for size in (height, width)), 4 * channels)


@fusing.carries.answer(PatchMerging)
def _merged(layer, scale, shift, shape):
    whole = all(size is not None and size % 2 == 0 for size in shape[1:3])
    return (np.tile(scale, 4), np.tile(shift, 4)) if whole or not np.any(shift) else None


def axial_shift(x, size, dilation, use_bias, activation, name):
    """Section 3.2: linear layer, the two shifts with a linear layer each, their sum, linear layer."""
    linear = dict(use_bias=use_bias, kernel_initializer=_UNIFORM)
    dim = x.shape[-1]
    x = image_norm(f"{name}_norm1")(Dense(dim, **linear, name=f"{name}_in")(x))
    x = Activation(activation, name=f"{name}_act")(x)
    branches = []
    for side in ("width", "height"):
        y = AxialShift(side, size, dilation, name=f"{name}_along_{side}")(x)
        branches.append(Dense(dim, activation=activation, **linear, name=f"{name}_{side}")(y))
    x = image_norm(f"{name}_norm2")(layers.Add(name=f"{name}_add")(branches))
    return Dense(dim, **linear, name=f"{name}_out")(x)


def as_mlp_block(x, mlp_ratio, size, dilation, use_bias, norm, activation, drop_path_rate, dropout_rate, name):
    """Token mixing by axial shift, then channel mixing, each on the normalised input and added to it."""
    y = axial_shift(norm(f"{name}_norm1")(x), size, dilation, use_bias, activation, f"{name}_shift")
    x = residual(x, y, drop_path_rate, name, 1)
    y = norm(f"{name}_norm2")(x)
    hidden = int(mlp_ratio * x.shape[-1])
    y = channel_mlp(y, hidden, activation, f"{name}_channel_mixing", dropout_rate, kernel_initializer=_UNIFORM)
    return residual(x, y, drop_path_rate, name, 2)


@family.token_mixing
def _mixing(x):
    """Shifts of up to two positions, as in all published models."""
    return axial_shift(x, 5, 1, True, activations.get("gelu"), "mixing")


@family.builder
def ASMLP(
    x,
    patch_size=4,
    dim=96,
    depths=(2, 2, 6, 2),
    shift_size=5,
    mlp_ratio=4,
    use_bias=True,
    stem_norm=True,
    dilation=1,
    norm="image",
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """AS-MLP of any size, for images of any size: what is missing to whole patches is filled with zeros.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`.
        dim: width of the first stage; every further one is twice as wide at half the height and width.
        depths: number of blocks of each stage.
        shift_size: number of positions that are brought together along an axis; odd, 1 for none.
        mlp_ratio: hidden width of the channel MLP, in multiples of the stage's width.
        use_bias: whether the linear layers around the shifts have a bias.
        stem_norm: whether a norm follows the patch embedding.
        dilation: distance of the positions that are brought together. The paper has it, the authors' code does not.
        norm: "image" for group norm with one group, as in all published models, "batch" for batch norm, or a function that
            makes a layer of its name. Those between the linear layers around the shifts are always group norms.
        activation: "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    norm = norm_named(MAP_NORMS, norm)
    activation = activations.get(activation or "gelu")
    x = PadToPatches(patch_size, name="stem_pad")(x)
    x = PatchEmbedding(dim, patch_size, kernel_initializer=_UNIFORM, name="stem")(x)
    if stem_norm:
        x = norm("stem_norm")(x)
    for stage, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
        for i, rate in enumerate(rates):
            x = as_mlp_block(
                x,
                mlp_ratio,
                shift_size,
                dilation,
                use_bias,
                norm,
                activation,
                rate,
                dropout_rate,
                name=f"stages_{stage}_{i}",
            )
        if stage + 1 < len(depths):
            width = 2 * x.shape[-1]
            x = norm(f"down_{stage}_norm")(PatchMerging(name=f"down_{stage}_merge")(x))
            x = Dense(width, use_bias=False, kernel_initializer=_UNIFORM, name=f"down_{stage}")(x)
    return norm("norm")(x)


_SOURCE = "table 1 of the paper and the authors' README"  # of the settings, too

ASMLPTiny = family.variant(
    "ASMLPTiny", "as_mlp_tiny", title="AS-MLP-T", dim=96, depths=(2, 2, 6, 2), drop_path_rate=0.2,
    parameters=28_282_696, macs=4_350_425_088, scores=imagenet(81.3, _SOURCE),
)  # fmt: skip
ASMLPSmall = family.variant(
    "ASMLPSmall", "as_mlp_small", title="AS-MLP-S", dim=96, depths=(2, 2, 18, 2), drop_path_rate=0.3,
    parameters=49_594_696, macs=8_512_223_232, scores=imagenet(83.1, _SOURCE),
)  # fmt: skip
ASMLPBase = family.variant(
    "ASMLPBase", "as_mlp_base", title="AS-MLP-B", dim=128, depths=(2, 2, 18, 2), drop_path_rate=0.5,
    parameters=87_752_808, macs=15_126_077_440, scores=imagenet(83.3, _SOURCE),
)  # fmt: skip


family.layout(
    "as_mlp",
    convention="torch",
    names=(
        ("patch_embed.proj", "stem"),
        ("patch_embed.norm", "stem_norm"),
        ("layers.{}.blocks.{}.norm{}", "stages_{}_{}_norm{}"),
        ("layers.{}.blocks.{}.axial_shift.conv1", "stages_{}_{}_shift_in"),
        ("layers.{}.blocks.{}.axial_shift.norm{}", "stages_{}_{}_shift_norm{}"),
        ("layers.{}.blocks.{}.axial_shift.conv2_1", "stages_{}_{}_shift_width"),
        ("layers.{}.blocks.{}.axial_shift.conv2_2", "stages_{}_{}_shift_height"),
        ("layers.{}.blocks.{}.axial_shift.conv3", "stages_{}_{}_shift_out"),
        ("layers.{}.blocks.{}.mlp.fc{}", "stages_{}_{}_channel_mixing_fc{}"),
        ("layers.{}.downsample.norm", "down_{}_norm"),
        ("layers.{}.downsample.reduction", "down_{}"),
        ("norm", "norm"),
        ("norm{}", "level_{}_norm"),
        ("head", "head"),
    ),
)


def _share(model, file, top1):
    """One of the authors' files, which their README names; a page for people, not for programs."""
    return Weights(
        model, "imagenet1k", f"https://shanghaitecheducn-my.sharepoint.com/:u:/g/personal/liandz_shanghaitech_edu_cn/{file}",
        "pth", "as_mlp", "ImageNet-1k", 1000, "MIT", preprocessing=_IMAGENET,
        scores=imagenet(top1, _SOURCE), key="model", by_hand=True,
    )  # fmt: skip


family.publish(
    _share("as_mlp_tiny", "Eb2lPJI2BshEjJxf9CmRkCUBnB63Wj25-FVVc6zJvgRg6w?e=dEQd5q", 81.3),
    _share("as_mlp_small", "EVIbw8xHKk1Aq9MBQL-cRbIBVJA_hJE-HEVNf_GVgkw2iQ?e=QIIp2e", 83.1),
    _share("as_mlp_base", "EZVBFW_LKctLqgrnnINy88wBRtGFava9wp_65emsvVW2KQ?e=clNjuw", 83.3),
)
