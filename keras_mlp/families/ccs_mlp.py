"""CCS-MLP: token mixing by circulant matrices, another one for each group of channels.

Each row of a circulant matrix is the row above it, moved on by one token. So the weight between two tokens depends on their
distance alone, and a matrix of N x N has N weights. These are so few that each group of channels can have its own matrix. The
product is a circular convolution along the tokens. Fast transforms compute it in O(N log N) for N tokens.

The authors published neither code nor weights. From the paper, as its abstract and a survey (Liu et al. 2022, "Are we ready
for a new paradigm shift?", table 2) tell it:
    token mixing is circulant and specific to groups of channels, one stage of blocks, N weights a group; it replaces that
    of MLP-Mixer at fewer parameters.
Inferred here, where nothing is known:
    one circulant matrix in place of the two layers of Mixer's token mixing, without activation or bias; the convolution
    and not the correlation (the two differ only in the order of the weights); tokens in row-major order; 8 groups, of
    neighbouring channels; Mixer's norms, shortcuts, channel mixing and initial weights; the size of the variant,
    Mixer-S/16's.
"""

from keras import ops

from keras_mlp.cards import Paper, Preprocessing
from keras_mlp.family import Family
from keras_mlp.layers import (
    GridLayer,
    PatchEmbedding,
    channel_mlp,
    filtered,
    layer_norm,
    residual,
    showing,
    spectrum,
)
from keras_mlp.layers.configs import registered
from keras_mlp.layers.initializers import own
from keras_mlp.layers.normalization import at_least_float32

__all__ = ["CCSMLP", "CCSMLPS16"]

family = Family(
    "ccs_mlp",
    title="CCS-MLP",
    paper=Paper(
        "Rethinking Token-Mixing MLP for MLP-based Vision Backbone",
        "Yu et al.",
        2021,
        "https://arxiv.org/abs/2106.14882",
    ),
    preprocessing=Preprocessing(crop_pct=0.875, interpolation="bicubic"),
)


@registered
class CirculantMixing(GridLayer):
    """Circular convolution along the tokens, with other weights for each group of neighbouring channels.

    With the map `x` read as tokens `X` of shape `(N, C)`, `N = height * width` in row-major order, for a channel c of the
    group g

        Y[i, c] = sum over j of w[(i - j) mod N, g] X[j, c].

    Computes in float32 at least.

    Source: Yu et al. 2021, https://arxiv.org/abs/2106.14882; see the module's docstring for what is inferred.

    Args:
        groups: number of groups of channels.
        kernel_initializer: of the weights, `(N, groups)`.

    Input shape: `(batch, height, width, channels)`, all but the batch known.
    Output shape: the same.

    Raises:
        ValueError: `groups` does not divide the channels.
    """

    grid_axes = {"kernel": ("in", None)}

    def __init__(self, groups, kernel_initializer="lecun_normal", **kwargs):
        super().__init__(**kwargs)
        self.groups = groups
        self.kernel_initializer = own(kernel_initializer)

    def build(self, input_shape):
        super().build(input_shape)
        channels = input_shape[-1]
        if self.groups < 1 or channels % self.groups:
            raise ValueError(f"`groups` must divide the channels. Received: groups={self.groups}, {channels} channels")
        shape = (self.grid[0] * self.grid[1], self.groups)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=self.kernel_initializer)

    def call(self, x):
        kernel = ops.cast(self.kernel, at_least_float32(self.compute_dtype))
        kept = ops.repeat(spectrum(kernel), x.shape[-1] // self.groups, axis=2)
        tokens = ops.reshape(x, (-1, 1, self.grid[0] * self.grid[1], x.shape[-1]))
        return ops.reshape(filtered(tokens, kept), (-1, *x.shape[1:]))

    def compute_output_shape(self, input_shape):
        return input_shape


@showing.weights.answer(CirculantMixing)
def _of_groups(layer):
    caption = "the weights of a group of channels by the distance of two positions, counted in row-major order"
    return showing.Pictures(caption, showing.array(layer.kernel).T.reshape(-1, *layer.grid))


def ccs_block(x, groups, channel_dim, activation, drop_path_rate, dropout_rate, name):
    """Circulant token mixing, then channel mixing, each on the normalised input and added to it."""
    y = CirculantMixing(groups, name=f"{name}_token_mixing")(layer_norm(f"{name}_norm1", epsilon=1e-6)(x))
    x = residual(x, y, drop_path_rate, name, 1)
    y = layer_norm(f"{name}_norm2", epsilon=1e-6)(x)
    linear = dict(kernel_initializer="lecun_normal")
    y = channel_mlp(y, channel_dim, activation, f"{name}_channel_mixing", dropout_rate, **linear)
    return residual(x, y, drop_path_rate, name, 2)


@family.token_mixing
def _mixing(x):
    """Eight groups of channels."""
    return CirculantMixing(8)(x)


@family.builder
def CCSMLP(
    x,
    patch_size=16,
    dim=512,
    depth=8,
    groups=8,
    channel_dim=None,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """CCS-MLP of any size.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`; the image's height and width must be multiples of it.
        dim: width of the tokens.
        depth: number of blocks.
        groups: number of groups of channels that have token mixing of their own; divides `dim`.
        channel_dim: hidden width of channel mixing; `4 dim` by default.
        activation: of the channel MLPs; "gelu" (exact) by default.
        drop_path_rate: stochastic depth, the same for both branches of all blocks.
        dropout_rate: dropout after each linear layer of the channel MLPs.
    """
    x = PatchEmbedding(dim, patch_size, kernel_initializer="lecun_normal", name="stem")(x)
    for i in range(depth):
        name = f"blocks_{i}"
        x = ccs_block(x, groups, channel_dim or 4 * dim, activation or "gelu", drop_path_rate, dropout_rate, name)
    return layer_norm("norm", epsilon=1e-6)(x)


CCSMLPS16 = family.variant(
    "CCSMLPS16", "ccs_mlp_s16", title="CCS-MLP-S/16", patch_size=16, dim=512, depth=8,
    parameters=17_734_376, macs=3_365_916_672,
    note="All sizes are inferred: they are Mixer-S/16's. The paper's own variants are not known.",
)  # fmt: skip
