"""Sparse-MLP: an MLP-Mixer whose last blocks have many MLPs in place of each, of which an item goes through one or two.

In these Sparse blocks token mixing is a mixture of experts that each channel is routed in (MoE_S), channel mixing one that
each token is routed in (MoE_C). A pair of re-represent layers around them turns the tokens and channels into more tokens
and fewer channels, so that there are as many of the one to route as of the other. Parameters grow with the number of
experts, the work does not. The pre-print's later version is called "Cross-token Modeling with Conditional Computation".
sMLPNet (`smlp`), whose paper is called "Sparse MLP", is something else.

The authors published neither code nor weights. From the paper, as its abstracts, summaries and reviews tell it:
    the last blocks are sparse, patches of 16, the sizes of the variants; Mixer's norms and shortcuts; S1 = 2 S tokens and
    C1 = C / 2 channels in a Sparse block, reached by one linear map along the tokens and one along the channels;
    4, 8 or 16 token experts, k = 1 for channels (MoE_S) and 2 for tokens (MoE_C), which the ablation found best;
    the gate: softmax, then the k largest, not renormalised, noise of 1 / experts in training; both auxiliary losses and
    their weight of 0.01; MoCo v3 before fine-tuning.
Inferred here, where nothing is known:
    the experts' hidden widths, twice Mixer's along the tokens and half of it along the channels, and four channel experts,
    which come nearest to the published parameters (22, 69, 130 M; here 22.4, 70.7, 131.2 M); the widths of L;
    the order of the two linear maps (whichever is cheaper), and no shortcut around a whole Sparse block;
    routing within each image, items of large gates first ("importance-score routing"), with room for 1.05 times the even
    share (V-MoE's factor in training): what is left out of an expert keeps its shortcut only.
"""

import keras
import numpy as np
from keras import ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, imagenet
from keras_mlp.families.mlp_mixer import mixer_block
from keras_mlp.families.sparse_mlp.experts import MixtureOfExperts
from keras_mlp.family import Family
from keras_mlp.layers import Dense, GridLayer, LayerNormalization, PatchEmbedding, residual
from keras_mlp.layers.configs import registered

__all__ = ["SparseMLP", "SparseMLPS", "SparseMLPB", "SparseMLPL"]

family = Family(
    "sparse_mlp",
    title="Sparse-MLP",
    paper=Paper(
        "Sparse-MLP: A Fully-MLP Architecture with Conditional Computation",
        "Lou et al.",
        2021,
        "https://arxiv.org/abs/2109.02008",
    ),
    preprocessing=Preprocessing(crop_pct=0.875, interpolation="bicubic"),
    recipe=Recipe(
        source="fine-tuning after MoCo v3 as that paper's authors do it, by DeiT's recipe in 150 epochs; Sparse-MLP's own "
        "values are not known",
        learning_rate=5e-4,
        learning_rate_rule="linear",
        batch_size=512,
        epochs=150,
        warmup_epochs=5,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        drop_path_rate=0.1,
    ),
)


@registered
class ReRepresent(GridLayer):
    """The map `X` of `S = height * width` tokens by C channels as a table of other sizes.

        Y = A (X B + b) + a,    A: (tokens, S), a: (tokens, 1), B: (C, channels), b: (channels,)

    The table's sizes are its own: at another input size only `A` changes, and all that works on the table stays.

    Source: Lou et al. 2021, "re-represent layers"; that the channels come first is inferred: it halves the work.

    Args:
        tokens, channels: sizes of the table.
        kernel_initializer: of both maps.

    Input shape: `(batch, height, width, C)`, all but the batch known.
    Output shape: `(batch, tokens, channels)`.
    """

    grid_axes = {"along_tokens/kernel": ("in", None)}

    def __init__(self, tokens, channels, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.tokens, self.channels = tokens, channels
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        super().build(input_shape)
        positions = self.grid[0] * self.grid[1]
        self.along_channels = _linear(self, "along_channels", input_shape[-1], self.channels)
        self.along_tokens = _linear(self, "along_tokens", positions, self.tokens)

    def call(self, x):
        positions = self.grid[0] * self.grid[1]
        y = ops.reshape(self.along_channels(x), (-1, positions, self.channels))
        return ops.swapaxes(self.along_tokens(ops.swapaxes(y, 1, 2)), 1, 2)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.tokens, self.channels)


@registered
class RepresentBack(GridLayer):
    """The way back from `ReRepresent`: a table as a map, by one linear map along the tokens, then one along the channels.

    Called with the table and a map whose shape is wanted.

    Source: Lou et al. 2021, "re-represent layers"; the order is inferred.

    Args:
        kernel_initializer: of both maps.

    Input shapes: `(batch, tokens, channels)` and `(batch, height, width, C)`, all but the batch known.
    Output shape: that of the map.
    """

    grid_axes = {"along_tokens/kernel": (None, "out"), "along_tokens/bias": ("out",)}

    def __init__(self, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        (_, tokens, channels), shape = input_shape
        super().build(shape)
        self.along_tokens = _linear(self, "along_tokens", tokens, self.grid[0] * self.grid[1])
        self.along_channels = _linear(self, "along_channels", channels, shape[-1])

    def call(self, inputs):
        table, x = inputs
        y = ops.swapaxes(self.along_tokens(ops.swapaxes(table, 1, 2)), 1, 2)
        return ops.reshape(self.along_channels(y), (-1, *x.shape[1:]))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[1])


def _linear(layer, name, inputs, units):
    """A dense layer of another layer's, built."""
    initializer, shape = layer.kernel_initializer, (None, None, inputs)
    return layer.sublayer(Dense, units, kernel_initializer=initializer, name=name, input_shape=shape)


def sparse_block(x, tokens, channels, token_experts, channel_experts, drop_path_rate, name):
    """Another table; channels through token experts, tokens through channel experts; the map again."""
    linear = dict(kernel_initializer="lecun_normal")
    y = ReRepresent(tokens, channels, **linear, name=f"{name}_represent")(x)
    z = LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(y)
    z = MixtureOfExperts(items="channels", **token_experts, **linear, name=f"{name}_token_mixing")(z)
    y = residual(y, z, drop_path_rate, name, 1)
    z = LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(y)
    z = MixtureOfExperts(items="tokens", **channel_experts, **linear, name=f"{name}_channel_mixing")(z)
    y = residual(y, z, drop_path_rate, name, 2)
    return RepresentBack(**linear, name=f"{name}_represent_back")([y, x])


@family.token_mixing
def _mixing(x):
    """MoE_S on a table as large as the map: four experts, one for each channel, as wide as the table in published models."""
    height, width, channels = x.shape[1:]
    table = ops.reshape(x, (-1, height * width, channels))
    experts = dict(capacity_factor=1.0, auxiliary_loss=0.0)
    y = MixtureOfExperts(hidden_dim=channels, num_experts=4, items="channels", **experts)(table)
    return ops.reshape(y, (-1, height, width, channels))


@family.builder
def SparseMLP(
    x,
    patch_size=16,
    dim=512,
    depths=(6, 2),
    token_dim=None,
    channel_dim=None,
    table=None,
    experts=(4, 4),
    k=(1, 2),
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
    capacity_factor=1.05,
    images_per_group=1,
    auxiliary_loss=0.01,
):
    """Sparse-MLP of any size.

    Args:
        patch_size: side of a patch in pixels; the height and width must be multiples of it.
        dim: width of the tokens, C.
        depths: number of Mixer blocks, and of the Sparse blocks after them.
        token_dim: hidden width of token mixing in Mixer blocks; twice that is the token experts'. By default
            `dim / 2`, as in all published models.
        channel_dim: hidden width of channel mixing in Mixer blocks; half of that is the channel experts'. By
            default `4 dim`, as in all published models.
        table: tokens and channels in a Sparse block, (S1, C1). By default twice the positions and half of `dim`.
        experts: number of token experts and of channel experts.
        k: how many token experts each channel goes through, and how many channel experts each token.
        activation: of the MLPs; "gelu" (exact) by default.
        drop_path_rate: stochastic depth, the same for both branches of all blocks.
        dropout_rate: dropout after each linear layer of the MLPs.
        capacity_factor: room of each expert above the even share; what does not fit is left out. `None` for no limit,
            at the cost of all experts for each item.
        images_per_group: images that share that room. With 1, an image's output never depends on its neighbours in the
            batch; with more it may, at inference, too, and the batch must be a multiple.
        auxiliary_loss: weight of the losses that keep the experts in like use, added in training.
    """
    if any(np.shape(pair) != (2,) for pair in (depths, experts, k, (0, 0) if table is None else table)):
        raise ValueError(
            "`depths`, `experts`, `k` and `table` are pairs, such as (6, 2), (4, 4), (1, 2) and (392, 256). Received: "
            f"depths={depths!r}, experts={experts!r}, k={k!r}, table={table!r}"
        )
    activation = activation or "gelu"
    token_dim, channel_dim = token_dim or dim // 2, channel_dim or 4 * dim
    x = PatchEmbedding(dim, patch_size, kernel_initializer="lecun_normal", name="stem")(x)
    for i in range(depths[0]):
        x = mixer_block(x, token_dim, channel_dim, activation, drop_path_rate, dropout_rate, name=f"blocks_{i}")
    height, width = (size or 0 for size in x.shape[1:3])  # the layers refuse unknown sizes, and say why
    tokens, channels = table or (2 * height * width, dim // 2)
    mixture = dict(
        capacity_factor=capacity_factor,
        images_per_group=images_per_group,
        auxiliary_loss=auxiliary_loss,
        activation=activation,
        dropout_rate=dropout_rate,
    )
    token_experts, channel_experts = (
        dict(hidden_dim=hidden_dim, num_experts=count, k=chosen) | mixture
        for hidden_dim, count, chosen in zip((2 * token_dim, channel_dim // 2), experts, k, strict=True)
    )
    for i in range(depths[0], sum(depths)):
        x = sparse_block(x, tokens, channels, token_experts, channel_experts, drop_path_rate, name=f"blocks_{i}")
    return LayerNormalization(epsilon=1e-6, name="norm")(x)


# Numbers of blocks and top-1 of the paper's tables, from memory: not checked against a stored copy.
_REMEMBERED = dict(source="remembered of the paper's tables, not checked", exact=False)
_PRE_TRAINED = "ImageNet-1k, after MoCo v3"
_NOTE = "Depths are recalled, not checked against the paper"

SparseMLPS = family.variant(
    "SparseMLPS", "sparse_mlp_s", title="Sparse-MLP-S", dim=512, depths=(6, 2), table=(392, 256), experts=(4, 4),
    parameters=22_387_736, macs=4_117_549_056, scores=imagenet({_PRE_TRAINED: 71.3}, **_REMEMBERED),
    note=f"{_NOTE}; widths of the experts are inferred: 22 M parameters are published.",
)  # fmt: skip
SparseMLPB = family.variant(
    "SparseMLPB", "sparse_mlp_b", title="Sparse-MLP-B", dim=768, depths=(10, 2), table=(392, 384), experts=(8, 4),
    parameters=70_735_016, macs=13_309_089_792, scores=imagenet({_PRE_TRAINED: 77.9}, **_REMEMBERED),
    note=f"{_NOTE}; widths of the experts are inferred: 69 M parameters are published.",
)  # fmt: skip
SparseMLPL = family.variant(
    "SparseMLPL", "sparse_mlp_l", title="Sparse-MLP-L", dim=768, depths=(8, 6), table=(392, 384), experts=(16, 4),
    parameters=131_173_200, macs=16_840_759_296, scores=imagenet({_PRE_TRAINED: 79.2}, **_REMEMBERED),
    note=f"{_NOTE}; all widths are inferred: 130 M parameters are published.",
)  # fmt: skip
