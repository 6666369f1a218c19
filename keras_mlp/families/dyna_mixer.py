"""DynaMixer: the mixing matrices are not learned. They are generated from the image, for each row and each column.

The skeleton is that of Vision Permutator: three branches, along the height, the width and the channels, are joined by
split attention. In the first two branches, the tokens of a column (or row) are compressed to a few numbers each. From
all of these a linear layer generates a mixing matrix for each head of channels.
"""

import functools
import math

import numpy as np
from keras import initializers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, imagenet
from keras_mlp.families.vip import SKELETON, permutator, permutator_block
from keras_mlp.family import Family
from keras_mlp.layers import Dense, GridLayer, HeldProduct, SplitAttention, fusing, showing
from keras_mlp.layers.configs import registered
from keras_mlp.layers.initializers import own
from keras_mlp.layers.sizes import check_side

__all__ = ["DynaMixer", "DynaMixerS", "DynaMixerM", "DynaMixerL"]

_IMAGENET = Preprocessing(crop_pct=0.9, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)

family = Family(
    "dyna_mixer",
    title="DynaMixer",
    paper=Paper(
        "DynaMixer: A Vision MLP Architecture with Dynamic Mixing",
        "Wang et al.",
        2022,
        "https://arxiv.org/abs/2201.12083",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="ziyuwwang/DynaMixer, the README's command for S (M: batch 1024; L: batch 512, stochastic depth 0.3)",
        learning_rate=2e-3,
        learning_rate_rule="constant",
        batch_size=2048,
        epochs=300,
        warmup_epochs=20,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        drop_path_rate=0.1,
        ema_decay=0.99996,
    ),
    per_stage=("dims", "depths", "heads", "reduced_dims", "transitions", "mlp_ratios"),
)


@registered
class DynamicAxisMixing(GridLayer):
    """Mixing along the height or the width by matrices that are generated from what is mixed.

    For each column (or row), with its tokens `x_i` of `L` positions, and for each head `h`, which is a run of
    `channels / heads` neighbouring channels:

        z = the L tokens, each compressed to reduced_dim numbers for this head, as one vector
        P = softmax over i of generate(z)[i, j];    y_j = sum over i of P[i, j] x_i[h]

    and a linear layer over the channels follows. All heads share `generate`.

    Source: Wang et al. 2022, equations 2 to 5; the softmax is over the positions that are read.

    Args:
        side: "height" or "width".
        heads: number of heads.
        reduced_dim: numbers that a token is compressed to, a head.
        kernel_initializer: of the linear layers.

    Input shape: `(batch, height, width, channels)`, all but the batch known.
    Output shape: the same.

    Raises:
        ValueError: `side` is neither, or `heads` does not divide the channels.
    """

    def __init__(self, side, heads, reduced_dim, kernel_initializer="glorot_uniform", **kwargs):
        check_side(side)
        super().__init__(**kwargs)
        self.side, self.heads, self.reduced_dim = side, heads, reduced_dim
        self.kernel_initializer = own(kernel_initializer)
        out = f"{side} out"
        self.grid_axes = {"generate_kernel": (f"{side} in", out, out), "generate_bias": (out, out)}

    def build(self, input_shape):
        super().build(input_shape)
        channels, length = input_shape[-1], self.grid[0 if self.side == "height" else 1]
        if channels % self.heads:
            raise ValueError(f"`heads` must divide the channels. Received: heads={self.heads}, {channels} channels")
        dense = dict(kernel_initializer=self.kernel_initializer, input_shape=(None, channels))
        self.compress = self.sublayer(Dense, self.heads * self.reduced_dim, **dense, name="compress")
        self.out = self.sublayer(Dense, channels, **dense, name="out")
        inputs = length * self.reduced_dim
        self.generate = self.sublayer(
            HeldProduct, equation="ni,ijk->njk", output_shape=(length, length), holds="generate_kernel", name="generate"
        )
        start = own(self.kernel_initializer)
        self.generate.begin(self, (inputs, length, length), start, input_shape=(None, inputs))
        self.generate_bias = self.add_weight(name="generate_bias", shape=(length, length), initializer="zeros")

    def call(self, x):
        lines = self._lines(x)
        count, length, channels = lines.shape[1:]
        tokens = ops.reshape(lines, (-1, length, self.heads, channels // self.heads))
        mixed = ops.einsum("lhij,lihc->ljhc", self.generated(lines), tokens)
        mixed = self.out(ops.reshape(mixed, (-1, count, length, channels)))
        return mixed if self.side == "width" else ops.swapaxes(mixed, 1, 2)

    def _lines(self, x):
        """The map, or its transpose, whose rows are what is mixed."""
        return x if self.side == "width" else ops.swapaxes(x, 1, 2)

    def generated(self, lines):
        """The mixing matrices of the rows of a map, `(batch * rows, heads, positions read, positions written)`."""
        length = lines.shape[2]
        z = ops.reshape(self.compress(lines), (-1, length, self.heads, self.reduced_dim))
        z = ops.reshape(ops.swapaxes(z, 1, 2), (-1, length * self.reduced_dim))
        mixing = ops.reshape(self.generate.product(z, _flat_product), (-1, length * length))
        mixing = ops.add(mixing, ops.reshape(self.generate_bias, (length * length,)))
        return ops.softmax(ops.reshape(mixing, (-1, self.heads, length, length)), axis=-2)

    def compute_output_shape(self, input_shape):
        return input_shape


@showing.made.answer(DynamicAxisMixing)
def _of_the_middle(layer, x):
    lines = layer._lines(x)
    matrices = showing.array(layer.generated(lines))[lines.shape[1] // 2]
    caption = (
        "the matrix that a head makes for the middle line: what is read from left to right, what is written downwards"
    )
    return showing.Pictures(caption, np.swapaxes(matrices, -1, -2))


def _flat_product(x, kernel):
    """`x @ kernel`, all axes of the kernel but the first taken as one."""
    return ops.matmul(x, ops.reshape(kernel, (kernel.shape[0], -1)))


@fusing.reads.answer(DynamicAxisMixing)
def _compressed_and_mixed(layer):
    # What is mixed reaches `out` as averages, of which a scale and shift are those of what is averaged.
    return (
        fusing.Linear("compress/kernel", "io", "i", "o", bias="compress/bias"),
        fusing.Linear("out/kernel", "io", "i", "o", bias="out/bias"),
    )


@fusing.writes.answer(DynamicAxisMixing)
def _out(layer):
    return fusing.Linear("out/kernel", "io", "i", "o", bias="out/bias")


def dyna_mixer_mixing(x, heads, reduced_dim, use_bias, activation, name):
    """Section 3.3: three branches, joined by split attention and projected."""
    linear = dict(kernel_initializer=_NORMAL)
    along_height = DynamicAxisMixing("height", heads, reduced_dim, **linear, name=f"{name}_height")(x)
    along_width = DynamicAxisMixing("width", heads, reduced_dim, **linear, name=f"{name}_width")(x)
    along_channels = Dense(x.shape[-1], use_bias=use_bias, **linear, name=f"{name}_channels")(x)
    branches = [along_height, along_width, along_channels]
    y = SplitAttention(activation, **linear, name=f"{name}_reweight")(branches)
    return Dense(x.shape[-1], **linear, name=f"{name}_proj")(y)


@family.token_mixing
def _mixing(x):
    """A head for 24 channels and two numbers a token and head, as in the published models."""
    return dyna_mixer_mixing(x, x.shape[-1] // 24, 2, False, "gelu", "mixing")


@family.builder
def DynaMixer(
    x,
    patch_size=7,
    dims=(192, 384, 384, 384),
    depths=(4, 3, 8, 3),
    heads=(8, 16, 16, 16),
    reduced_dims=(2, 2, 2, 2),
    transitions=(True, False, False, False),
    mlp_ratios=(3, 3, 3, 3),
    use_bias=False,
    branch_scale=1.0,
    overlap=False,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """DynaMixer of any size.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`; the image's height and width must be multiples of
            it, and of twice that where the size is halved once. With `overlap` it is one number.
        dims: width of each stage.
        depths: number of blocks of each stage.
        heads: number of heads of each stage; each has mixing matrices of its own.
        reduced_dims: numbers that a token is compressed to, a head, in each stage.
        transitions: for each stage, whether the height and width are halved after it.
        mlp_ratios: hidden width of the channel MLP, in multiples of the stage's width.
        use_bias: whether the linear layer of the channel branch has a bias.
        branch_scale: factor on both residual branches (1 / `skip_lam` in the authors' code).
        overlap: whether patches overlap: the stem's stride is then `(patch_size + 1) / 2`, and 3 x 3 convolutions
            halve the size. No published model has it.
        activation: of the MLPs and split attention; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    activation = activation or "gelu"
    blocks = []
    for dim, depth, head_count, reduced_dim, ratio in zip(dims, depths, heads, reduced_dims, mlp_ratios, strict=True):
        mixing = functools.partial(
            dyna_mixer_mixing, heads=head_count, reduced_dim=reduced_dim, use_bias=use_bias, activation=activation
        )
        block = functools.partial(
            permutator_block,
            token_mixing=mixing,
            channel_dim=int(ratio * dim),
            activation=activation,
            branch_scale=branch_scale,
            dropout_rate=dropout_rate,
        )
        blocks.append([block] * depth)
    return permutator(x, blocks, patch_size, dims, transitions, drop_path_rate, overlap)


_SOURCE = "table 1 of the paper and the authors' README"  # of the settings, too

DynaMixerS = family.variant(
    "DynaMixerS", "dyna_mixer_s", title="DynaMixer-S", dims=(192, 384, 384, 384), depths=(4, 3, 8, 3),
    heads=(8, 16, 16, 16), drop_path_rate=0.1,
    parameters=26_265_960, macs=7_302_323_200, scores=imagenet(82.7, _SOURCE),
)  # fmt: skip
DynaMixerM = family.variant(
    "DynaMixerM", "dyna_mixer_m", title="DynaMixer-M", dims=(256, 256, 512, 512), depths=(4, 3, 14, 3),
    heads=(8, 8, 16, 16), transitions=(False, True, False, False), drop_path_rate=0.1,
    parameters=57_128_264, macs=16_980_561_920, scores=imagenet(83.7, _SOURCE),
)  # fmt: skip
DynaMixerL = family.variant(
    "DynaMixerL", "dyna_mixer_l", title="DynaMixer-L", dims=(256, 512, 512, 512), depths=(8, 8, 16, 4),
    heads=(8, 16, 16, 16), reduced_dims=(8, 8, 8, 8), drop_path_rate=0.3,
    parameters=97_818_088, macs=27_343_441_920, scores=imagenet(84.3, _SOURCE),
)  # fmt: skip


def _square(array):
    """The generated matrix's rows and columns apart: (L L, L d) to (L d, L, L), (L L) to (L, L)."""
    length = math.isqrt(array.shape[0])
    return array.T.reshape(*array.shape[1:], length, length)


family.layout(
    "dyna_mixer",
    convention="torch",
    names=(
        *SKELETON,
        ("network.{}.{}.attn.mix_h.compress", "stages_{}_{}_token_mixing_height/compress"),
        ("network.{}.{}.attn.mix_h.generate.weight", "stages_{}_{}_token_mixing_height/generate_kernel", _square),
        ("network.{}.{}.attn.mix_h.generate.bias", "stages_{}_{}_token_mixing_height/generate_bias", _square),
        ("network.{}.{}.attn.mix_h.out", "stages_{}_{}_token_mixing_height/out"),
        ("network.{}.{}.attn.mix_w.compress", "stages_{}_{}_token_mixing_width/compress"),
        ("network.{}.{}.attn.mix_w.generate.weight", "stages_{}_{}_token_mixing_width/generate_kernel", _square),
        ("network.{}.{}.attn.mix_w.generate.bias", "stages_{}_{}_token_mixing_width/generate_bias", _square),
        ("network.{}.{}.attn.mix_w.out", "stages_{}_{}_token_mixing_width/out"),
    ),
)
