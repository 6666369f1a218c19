"""RaftMLP: token mixing along the height, then along the width, with a few channels of each position taken along.

The channels are cut into rafts of `raft_size` channels that lie far apart. A column of one raft has `raft_size` numbers
for each of its positions, and goes through an MLP. Then the rows do. Patches are embedded at several scales at once.

Weights are never resampled to another input size. As in the authors' code, every block resizes the features to the grid
that the weights are for, mixes them there, and resizes them back.
"""

import numpy as np
from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe
from keras_mlp.family import Family
from keras_mlp.layers import (
    BicubicResize,
    Composite,
    Dense,
    LayerNormalization,
    TokenMLP,
    activations,
    channel_mlp,
    fusing,
    residual,
    showing,
)
from keras_mlp.layers.configs import registered
from keras_mlp.layers.initializers import own
from keras_mlp.layers.sizes import check_known, check_side

__all__ = ["RaftMLP", "RaftMLPS", "RaftMLPM", "RaftMLPL"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bilinear")
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default

family = Family(
    "raft_mlp",
    title="RaftMLP",
    paper=Paper(
        "RaftMLP: How Much Can Be Done Without Attention and with Less Spatial Locality?",
        "Tatsunami and Taki",
        2021,
        "https://arxiv.org/abs/2108.04384",
    ),
    level_norm="raw",
    level_starts=(0,),  # the patches
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="okojoalg/raft-mlp, its configuration files",
        learning_rate=5e-4,
        batch_size=512,
        epochs=305,
        warmup_epochs=5,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        random_resized_crop=None,
        drop_path_rate=0.1,
    ),
    per_stage=("patch_sizes", "dims", "depths", "kernel_sizes", "raft_sizes"),
)


@registered
class RaftNormalization(LayerNormalization):
    """Layer norm whose weights are kept raft by raft, as the published network keeps them.

    Channel `member * rafts + raft` has its `gamma` and `beta` at `raft * raft_size + member`.

    Args:
        raft_size: number of channels of a raft.
        epsilon: added to the variance.

    Input shape: `(..., channels)`. Output shape: the same.
    """

    def __init__(self, raft_size, *, epsilon, **kwargs):
        super().__init__(epsilon=epsilon, **kwargs)
        self.raft_size = raft_size

    def _by_channel(self, weight):
        return ops.reshape(ops.transpose(ops.reshape(weight, (-1, self.raft_size))), (-1,))


@registered
class RaftMixing(Composite):
    """MLP along the height or the width, over the positions of one column or row and the channels of one raft.

    Channel `member * rafts + raft` is a member of `raft`, with `rafts = channels / raft_size`. For `side="height"`, each
    column of each raft is one vector of `raft_size * height` numbers, the member slow and the row fast:

        v' = W2 activation(W1 v + b1) + b2,    W1: (expansion * len(v), len(v)).

    Source: Tatsunami and Taki 2021, section 3.2.

    Args:
        side: "height" or "width".
        raft_size: number of channels of a raft.
        expansion: hidden width in multiples of the vector's length.
        activation: e.g. "gelu" (exact).

    Input shape: `(batch, height, width, channels)`, all but the batch known.
    Output shape: the same.

    Raises:
        ValueError: `side` is neither, or `raft_size` does not divide the channels.
    """

    def __init__(self, side, raft_size, expansion, activation="gelu", **kwargs):
        check_side(side)
        super().__init__(**kwargs)
        self.side, self.raft_size, self.expansion = side, raft_size, expansion
        self.activation = activations.get(activation)

    def build(self, input_shape):
        channels, length = input_shape[3], input_shape[1 if self.side == "height" else 2]
        if channels % self.raft_size:
            raise ValueError(f"`raft_size` must divide the channels. Received: {self.raft_size}, {channels} channels")
        units = length * self.raft_size
        hidden, dense = self.expansion * units, dict(kernel_initializer=_UNIFORM)
        self.fc1 = self.sublayer(
            Dense, hidden, activation=self.activation, **dense, name="fc1", input_shape=(None, units)
        )
        self.fc2 = self.sublayer(Dense, units, **dense, name="fc2", input_shape=(None, hidden))
        super().build(input_shape)

    def call(self, x):
        height, width, channels = x.shape[1:]
        rafts = channels // self.raft_size
        y = ops.reshape(x, (-1, height, width, self.raft_size, rafts))
        if self.side == "height":
            there, back, lines, length = (0, 2, 4, 3, 1), (0, 4, 1, 3, 2), width, height
        else:
            there, back, lines, length = (0, 1, 4, 3, 2), (0, 1, 4, 3, 2), height, width
        y = ops.reshape(ops.transpose(y, there), (-1, lines * rafts, self.raft_size * length))
        y = self.fc2(self.fc1(y))
        y = ops.transpose(ops.reshape(y, (-1, lines, rafts, self.raft_size, length)), back)
        return ops.reshape(y, (-1, height, width, channels))

    def compute_output_shape(self, input_shape):
        return input_shape


@showing.weights.answer(RaftMixing)
def _hidden_units(layer):
    units = showing.array(layer.fc1.kernel).T.reshape(-1, layer.raft_size, layer.fc1.kernel.shape[0] // layer.raft_size)
    caption = "the weight of every position, from left to right, of each channel of a raft for a hidden unit"
    return showing.largest_first(caption, units)


@registered
class MultiScalePatchEmbedding(layers.Layer):
    """Patches of several sizes around the same centres, all projected to one vector.

    The sum of convolutions with `kernel_sizes`, all of stride `patch_size` with zeros around the border.

    Source: Tatsunami and Taki 2021, section 3.3.

    Args:
        dim: width of the embedding.
        patch_size: distance of the patches in pixels or positions.
        kernel_sizes: sides of the patches; each exceeds `patch_size` by an even number, or is it.
        channel_first: in the published weights the channel is the slowest index inside a patch, not the fastest.

    Input shape: `(batch, height, width, channels)`, height and width multiples of `patch_size`.
    Output shape: `(batch, height / patch_size, width / patch_size, dim)`.

    Raises:
        ValueError: a kernel is smaller than the patch or does not centre on it.
    """

    def __init__(self, dim, patch_size, kernel_sizes, channel_first=True, **kwargs):
        super().__init__(**kwargs)
        if any(size < patch_size or (size - patch_size) % 2 for size in kernel_sizes):
            raise ValueError(
                f"Kernels must be as large as the patch of {patch_size} or larger by an even number, to centre on it. "
                f"Received: {tuple(kernel_sizes)}"
            )
        self.dim, self.patch_size, self.kernel_sizes = dim, patch_size, tuple(kernel_sizes)
        self.channel_first = channel_first

    def build(self, input_shape):
        numbers = input_shape[-1] * sum(size**2 for size in self.kernel_sizes)
        self.kernel = self.add_weight(name="kernel", shape=(numbers, self.dim), initializer=own(_UNIFORM))
        self.bias = self.add_weight(name="bias", shape=(self.dim,), initializer="zeros")
        super().build(input_shape)

    def in_place(self, kernel, size, channels, ops=ops):
        """One patch's part of the kernel as that of a convolution: `(size, size, channels, dim)`."""
        if self.channel_first:
            return ops.transpose(ops.reshape(kernel, (channels, size, size, self.dim)), (1, 2, 0, 3))
        return ops.reshape(kernel, (size, size, channels, self.dim))

    def call(self, x):
        channels, start, total = x.shape[-1], 0, self.bias
        for size in self.kernel_sizes:
            kernel = self.kernel[start : start + size**2 * channels]
            start += size**2 * channels
            kernel = self.in_place(kernel, size, channels)
            border = (size - self.patch_size) // 2
            padded = ops.pad(x, ((0, 0), (border, border), (border, border), (0, 0))) if border else x
            total = total + ops.conv(padded, kernel, self.patch_size, "valid", "channels_last")
        return total

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, height // self.patch_size, width // self.patch_size, self.dim)


@fusing.simpler.answer(MultiScalePatchEmbedding)
def _one_convolution(layer, weights, shape):
    """Smaller patches are parts of the largest, so that their sum is one convolution."""
    largest, channels = max(layer.kernel_sizes), shape[-1]
    total, start = np.zeros((largest, largest, channels, layer.dim)), 0
    for size in layer.kernel_sizes:
        kernel = weights["kernel"][start : start + size**2 * channels]
        start += size**2 * channels
        border = (largest - size) // 2
        inside = slice(border, border + size)
        total[inside, inside] += layer.in_place(kernel, size, channels, np)
    border = (largest - layer.patch_size) // 2
    same = dict(data_format="channels_last", dtype=layer.dtype_policy)
    conv = layers.Conv2D(layer.dim, largest, layer.patch_size, name=layer.name, **same)
    filled = (conv, {"kernel": total, "bias": weights["bias"]})
    if not border:
        return [filled]
    return [(layers.ZeroPadding2D(border, name=f"{layer.name}_pad", **same), {}), filled]


def token_mixing(x, grid, kind, raft_size, expansion, activation, drop_path_rate, name):
    """Section 3.2, on the grid that the weights are for; the residual goes through both resizings."""
    y = BicubicResize(grid, name=f"{name}_to_grid")(x)

    def add(y, norm, mixing, part):
        return residual(y, mixing(norm(y)), drop_path_rate, f"{name}_{part}")

    if kind == "original":
        norm = LayerNormalization(epsilon=1e-5, name=f"{name}_token_norm")
        hidden = expansion * grid[0] * grid[1]
        mixing = TokenMLP(hidden, activation, kernel_initializer=_UNIFORM, name=f"{name}_token_mixing")
        y = add(y, norm, mixing, "token")
    else:
        for side in ("height", "width"):
            norm = RaftNormalization(raft_size, epsilon=1e-5, name=f"{name}_{side}_norm")
            y = add(y, norm, RaftMixing(side, raft_size, expansion, activation, name=f"{name}_{side}_mixing"), side)
    return BicubicResize(name=f"{name}_from_grid")(y, x)


def channel_mixing(x, channel_dim, activation, drop_path_rate, dropout_rate, name):
    """The channel MLP, on the normalised input and added to it."""
    y = LayerNormalization(epsilon=1e-5, name=f"{name}_norm")(x)
    y = channel_mlp(y, channel_dim, activation, f"{name}_channel_mixing", dropout_rate, kernel_initializer=_UNIFORM)
    return residual(x, y, drop_path_rate, name)


def join_levels(maps):
    """The ablation "shortcut": each coarser level's vector, scaled and shifted by what the next finer level says."""
    *finer, coarsest = [LayerNormalization(epsilon=1e-5, name=f"level_{i}_norm")(x) for i, x in enumerate(maps)]
    joined = layers.GlobalAveragePooling2D(keepdims=True, name="level_pool")(coarsest)
    for i, x in reversed(list(enumerate(finer))):
        pooled = layers.GlobalAveragePooling2D(keepdims=True, name=f"level_{i}_pool")(x)
        both = Dense(2 * joined.shape[-1], kernel_initializer=_UNIFORM, name=f"level_{i}_head")(pooled)
        scale, shift = ops.split(both, 2, axis=-1)
        joined = layers.Add(name=f"level_{i}_shift")([layers.Multiply(name=f"level_{i}_scale")([scale, joined]), shift])
    return joined


@family.token_mixing
def _mixing(x):
    """Rafts of two channels, as in all published models."""
    return token_mixing(x, x.shape[1:3], "raft", 2, 2, activations.get("gelu"), 0.0, "mixing")


@family.builder
def RaftMLP(
    x,
    patch_sizes=(4, 2, 2, 2),
    dims=(64, 128, 256, 512),
    depths=(2, 2, 6, 2),
    kernel_sizes=((4, 8), (2, 4), (2, 4), (2,)),
    raft_sizes=(2, 2, 2, 2),
    image_size=None,
    mixing="raft",
    token_expansion=2,
    mlp_ratio=4,
    shortcut=False,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """RaftMLP of any size, with the ablations of the paper.

    Args:
        patch_sizes: for each level, how many pixels or positions of the level before make one of its own on a side.
        dims: width of each level.
        depths: number of blocks of each level.
        kernel_sizes: for each level the sides of the patches that are embedded together. `None` for plain patches.
        raft_sizes: for each level the number of channels of a raft.
        image_size: side in pixels of the images that the weights of token mixing are for. By default that of the input.
        mixing: "raft", or "original" for MLP-Mixer's MLP over all tokens (an ablation).
        token_expansion: hidden width of token mixing, in multiples of what is mixed.
        mlp_ratio: hidden width of the channel MLP, in multiples of the level's width.
        shortcut: join all levels before the classifier (an ablation). Without the top, the features are then a map of
            one position.
        activation: of the MLPs; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth, the same for all branches of all blocks.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    if mixing not in ("raft", "original"):
        raise ValueError(f'`mixing` must be "raft" or "original". Received: mixing={mixing!r}')
    check_known(x.shape, "RaftMLP resizes its features to the grid of its weights")
    activation = activation or "gelu"
    grid = x.shape[1:3] if image_size is None else (image_size, image_size)
    maps = []
    rows = zip(patch_sizes, dims, depths, kernel_sizes or [None] * len(dims), raft_sizes, strict=True)
    for level, (patch_size, dim, depth, kernels, raft_size) in enumerate(rows):
        name = f"down_{level}" if level else "stem"
        x = BicubicResize(multiple=patch_size, name=f"{name}_resize")(x)
        x = MultiScalePatchEmbedding(dim, patch_size, kernels or (patch_size,), kernels is not None, name=name)(x)
        grid = tuple(-(-side // patch_size) for side in grid)
        for i in range(depth):
            # The published checkpoints count two layers of the embedding before the blocks.
            name = f"levels_{level}_{i + 2}"
            x = token_mixing(x, grid, mixing, raft_size, token_expansion, activation, drop_path_rate, name)
            x = channel_mixing(x, int(mlp_ratio * dim), activation, drop_path_rate, dropout_rate, name)
        maps.append(x)
    return join_levels(maps) if shortcut else LayerNormalization(epsilon=1e-5, name="norm")(x)


# Settings of the authors' repository (configs/settings). The paper's figures could not be checked against a stored copy.
_FROM_MEMORY = "Published top-1 (76.1, 78.8 and 79.4 for S, M and L) is from memory and so not on the card."
_PYRAMID = dict(
    patch_sizes=(4, 2, 2, 2), depths=(2, 2, 6, 2), kernel_sizes=((4, 8), (2, 4), (2, 4), (2,)),
    raft_sizes=(2, 2, 2, 2), image_size=224, note=_FROM_MEMORY,
)  # fmt: skip

RaftMLPS = family.variant(
    "RaftMLPS", "raft_mlp_s", title="RaftMLP-S", dims=(64, 128, 256, 512), **_PYRAMID,
    parameters=9_868_768, macs=2_087_030_784,
)  # fmt: skip
RaftMLPM = family.variant(
    "RaftMLPM", "raft_mlp_m", title="RaftMLP-M", dims=(96, 192, 384, 768), **_PYRAMID,
    parameters=21_413_632, macs=4_267_333_632,
)  # fmt: skip
RaftMLPL = family.variant(
    "RaftMLPL", "raft_mlp_l", title="RaftMLP-L", dims=(128, 192, 512, 1024), **_PYRAMID,
    parameters=36_184_672, macs=6_543_974_400,
)  # fmt: skip


# The authors published no weights; these are the names that their code saves.
_EMBEDDING = (
    ("levels.0.fn.0.fc", "stem"),
    ("levels.0.fn.1", "stem"),
    ("levels.{}.fn.0.fc", "down_{}"),
    ("levels.{}.fn.1", "down_{}"),
    ("classifier", "head"),
)
_HEADS = {
    "": (("heads.0.1", "norm"),),
    "_shortcut": (("heads.{}.1", "level_{}_norm"), ("heads.{}.4", "level_{}_head")),
}


def _mlp(index, norm, ours, prefix=""):
    """Names of one branch of a block: its norm and its two linear layers."""
    theirs = f"levels.{{}}.fn.{{}}.{index}"
    return (
        (f"{theirs}.{norm}", f"levels_{{}}_{{}}_{prefix}norm"),
        (f"{theirs}.fn.0", f"levels_{{}}_{{}}_{ours}fc1"),
        (f"{theirs}.fn.3", f"levels_{{}}_{{}}_{ours}fc2"),
    )


_BLOCKS = {
    "raft": (
        *_mlp(1, "norm.1", "height_mixing/", "height_"),
        *_mlp(3, "norm.1", "width_mixing/", "width_"),
        *_mlp(5, "norm", "channel_mixing_"),
    ),
    "original": (*_mlp(1, "norm.1", "token_mixing/", "token_"), *_mlp(3, "norm", "channel_mixing_")),
}
for _kind, _names in _BLOCKS.items():
    for _form, _head in _HEADS.items():
        family.layout(f"{_kind}{_form}", convention="torch", names=(*_EMBEDDING, *_names, *_head))
