"""SWAT: tokens that keep their inside, in the blocks of MLP-Mixer, ResMLP, DeiT and Swin.

A token is not a vector of unordered channels but `segments` channels of a small `sub_grid x sub_grid` picture, cut from
a finer map than usual. Whatever a block does to tokens, a convolution inside the token's own sub-grid goes with it, and
channel mixing has a depthwise convolution over the grid of tokens. Inside a token the order is segment, row, column,
the segment slowest.
"""

import numpy as np
from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, imagenet
from keras_mlp.family import Family
from keras_mlp.layers import (
    Activation,
    Affine,
    Composite,
    Dense,
    GridLayer,
    LayerNormalization,
    LayerScale,
    PatchEmbedding,
    activations,
    drop_path_rates,
    fusing,
    residual,
)
from keras_mlp.layers.attention import attend
from keras_mlp.layers.configs import registered
from keras_mlp.layers.initializers import own
from keras_mlp.layers.sizes import check_known, check_multiples
from keras_mlp.layers.windows import cut_windows, join_windows

__all__ = [
    "SWAT",
    "SWATMixerTi",
    "SWATMixerS",
    "SWATMixerB32",
    "SWATResMLPS12",
    "SWATDeiTTi",
    "SWATDeiTS",
    "SWATDeiTB32",
    "SWATSwinT",
    "SWATSwinS",
]

_IMAGENET = Preprocessing(crop_pct=0.9, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
KINDS = ("mixer", "resmlp", "deit", "swin")

family = Family(
    "swat",
    title="SWAT",
    paper=Paper(
        "SWAT: Spatial Structure Within and Among Tokens",
        "Kahatapitiya and Ryoo",
        2023,
        "https://arxiv.org/abs/2111.13677",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="kkahatapitiya/SWAT, config/*.yaml (Swin: rate 0.5625e-3, 96 images on each of 8 devices)",
        learning_rate=0.75e-3,
        learning_rate_rule="constant",
        batch_size=2048,
        epochs=310,
        warmup_epochs=8,
        weight_decay=0.3,
        mixup=0.5,
        cutmix=1.0,
        rand_augment=(2, 15),
        gradient_clip_norm=1.0,
        ema_decay=0.99992,
    ),
    per_stage=("depths", "heads", "token_kernels", "channel_kernels"),
)


@registered
class FoldTokens(layers.Layer):
    """The cells of a map as tokens: `(batch, H p, W p, c)` to `(batch, H, W, c p p)`; or back, with `inverse`.

    Args:
        sub_grid: side `p` of a cell.
        inverse: from tokens to the map.

    Input shape: `(batch, height, width, channels)`, all but the batch known.
    """

    def __init__(self, sub_grid, inverse=False, **kwargs):
        super().__init__(**kwargs)
        self.sub_grid, self.inverse = sub_grid, inverse

    def call(self, x):
        (height, width, channels), p = x.shape[1:], self.sub_grid
        if self.inverse:
            x = ops.reshape(x, (-1, height, width, channels // p**2, p, p))
            return ops.reshape(ops.transpose(x, (0, 1, 4, 2, 5, 3)), (-1, height * p, width * p, channels // p**2))
        x = ops.reshape(x, (-1, height // p, p, width // p, p, channels))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 5, 2, 4)), (-1, height // p, width // p, channels * p**2))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        p = self.sub_grid
        if self.inverse:
            return (batch, height * p, width * p, channels // p**2)
        return (batch, height // p, width // p, channels * p**2)


@registered
class PositionEmbedding(GridLayer):
    """A learned vector for each position, added to it.

    Input shape: `(batch, height, width, channels)`, all but the batch known. Output shape: the same.
    """

    grid_axes = {"embedding": ("out", None)}

    def build(self, input_shape):
        super().build(input_shape)
        positions = self.grid[0] * self.grid[1]
        self.embedding = self.add_weight(name="embedding", shape=(positions, input_shape[-1]), initializer=own(_NORMAL))

    def call(self, x):
        return x + ops.reshape(self.embedding, x.shape[1:])

    def compute_output_shape(self, input_shape):
        return input_shape


@registered
class PeriodicPositionEmbedding(layers.Layer):
    """A learned vector for each position of a `period x period` tile, added to every tile of the map.

    Args:
        period: side of the tile; it divides the height and the width.

    Input shape: `(batch, height, width, channels)`, all but the batch known. Output shape: the same.
    """

    def __init__(self, period, **kwargs):
        super().__init__(**kwargs)
        self.period = period

    def build(self, input_shape):
        shape = (self.period, self.period, input_shape[-1])
        self.embedding = self.add_weight(name="embedding", shape=shape, initializer=own(_NORMAL))
        super().build(input_shape)

    def call(self, x):
        (height, width, channels), q = x.shape[1:], self.period
        tiles = ops.reshape(x, (-1, height // q, q, width // q, q, channels))
        return ops.reshape(tiles + self.embedding[:, None], (-1, height, width, channels))

    def compute_output_shape(self, input_shape):
        return input_shape


@registered
class StructuredTokenMixing(GridLayer):
    """Linear layers across the tokens with a depthwise convolution inside them, shared by all segments.

    With a token's sub-grid as the map and the tokens as its channels: `fc1`, activation, depthwise convolution, and for
    MLP-Mixer (`hidden_dim` given) activation and `fc2` back to the tokens. Without `hidden_dim` (ResMLP) `fc1` keeps
    their number, so that each token has a kernel of its own.

    Source: Kahatapitiya and Ryoo 2023, section 3.2.

    Args:
        sub_grid: side of a token's sub-grid.
        kernel_size: side of the convolution's window.
        hidden_dim: hidden width; `None` for no second linear layer.
        activation: e.g. "gelu" (exact).

    Input shape: `(batch, height, width, segments * sub_grid ** 2)`, all but the batch known.
    Output shape: the same.
    """

    def __init__(self, sub_grid, kernel_size, hidden_dim=None, activation="gelu", **kwargs):
        super().__init__(**kwargs)
        self.sub_grid, self.kernel_size, self.hidden_dim = sub_grid, kernel_size, hidden_dim
        self.activation = activations.get(activation)
        self.grid_axes = {"fc1/kernel": ("in", None), "fc2/kernel": (None, "out"), "fc2/bias": ("out",)}
        if hidden_dim is None:
            self.grid_axes = {
                "fc1/kernel": ("in", "out"),
                "fc1/bias": ("out",),
                "depthwise_kernel": (None, None, "out"),
                "depthwise_bias": ("out",),
            }

    def build(self, input_shape):
        super().build(input_shape)
        tokens = self.grid[0] * self.grid[1]
        hidden = self.hidden_dim or tokens
        self.fc1 = self.sublayer(Dense, hidden, activation=self.activation, name="fc1", input_shape=(None, tokens))
        window = (self.kernel_size, self.kernel_size, hidden)
        self.depthwise_kernel = self.add_weight(name="depthwise_kernel", shape=window, initializer="glorot_uniform")
        self.depthwise_bias = self.add_weight(name="depthwise_bias", shape=(hidden,), initializer="zeros")
        if self.hidden_dim:
            self.fc2 = self.sublayer(Dense, tokens, name="fc2", input_shape=(None, hidden))

    def call(self, x, training=None):
        (height, width, channels), p = x.shape[1:], self.sub_grid
        tokens = height * width
        y = ops.swapaxes(ops.reshape(x, (-1, tokens, channels)), 1, 2)
        y = self.fc1(ops.reshape(y, (-1, p, p, tokens)))
        y = ops.depthwise_conv(y, self.depthwise_kernel[..., None], padding="same", data_format="channels_last")
        y = y + self.depthwise_bias
        if self.hidden_dim:
            y = self.fc2(activations.applied(self.activation, y, training))
        y = ops.swapaxes(ops.reshape(y, (-1, channels, tokens)), 1, 2)
        return ops.reshape(y, (-1, height, width, channels))

    def compute_output_shape(self, input_shape):
        return input_shape


def _rolled(x, shift):
    """`x` moved up and left by `shift` positions, what falls off coming back at the other side."""
    for axis in (1, 2):
        front, rest = ops.split(x, [shift % x.shape[axis]], axis=axis)
        x = ops.concatenate([rest, front], axis=axis)
    return x


@registered
class StructuredAttention(Composite):
    """Multi-head self-attention whose linear layers are joined by convolutions inside the tokens.

        qkv = (linear(x) + conv(x)) / 2;    y = (linear(a) + conv(a)) / 2,    a = softmax(q k^T / sqrt(d) + b) v

    with a plain convolution in each token's own sub-grid. In windows, `b` is Swin's learned bias of relative positions;
    a shift moves the windows, and what only the border joins does not see each other (-100).

    Source: Kahatapitiya and Ryoo 2023, section 3.2; Liu et al. 2021 (Swin), https://arxiv.org/abs/2103.14030.

    Args:
        heads: number of heads.
        sub_grid: side of a token's sub-grid, or `None` for linear layers alone.
        kernel_size: side of the convolutions' window.
        window: side of the windows of positions, or `None` for attention over all.
        shift: by how many positions the windows are moved.
        qkv_bias: whether the layers of `qkv`, and the convolution beside the last linear layer, have a bias.

    Input shape: `(batch, height, width, segments * sub_grid ** 2)`, all but the batch known.
    Output shape: the same.
    """

    def __init__(self, heads, sub_grid=None, kernel_size=3, window=None, shift=0, qkv_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.sub_grid, self.kernel_size = heads, sub_grid, kernel_size
        self.window, self.shift, self.qkv_bias = window, shift, qkv_bias

    def build(self, input_shape):
        channels = input_shape[-1]
        linear = "_linear" if self.sub_grid else ""
        for name, units in (("qkv", 3 * channels), ("proj", channels)):
            bias = dict(use_bias=self.qkv_bias or name == "proj")
            dense = bias | dict(kernel_initializer=_NORMAL, name=name + linear, input_shape=(None, channels))
            setattr(self, name + "_dense", self.sublayer(Dense, units, **dense))
            if self.sub_grid:
                segments = channels // self.sub_grid**2
                filters = units // self.sub_grid**2
                inside = (None, self.sub_grid, self.sub_grid, segments)
                conv = dict(padding="same", data_format="channels_last", use_bias=self.qkv_bias)
                conv |= dict(name=name, input_shape=inside)
                setattr(self, name + "_conv", self.sublayer(layers.Conv2D, filters, self.kernel_size, **conv))
        if self.window:
            shape = ((2 * self.window - 1) ** 2, self.heads)
            self.relative_bias = self.add_weight(name="relative_bias", shape=shape, initializer=own(_NORMAL))
        super().build(input_shape)

    def _project(self, x, name):
        y = getattr(self, name + "_dense")(x)
        if not self.sub_grid:
            return y
        (height, width, channels), p = x.shape[1:], self.sub_grid
        inside = ops.transpose(ops.reshape(x, (-1, channels // p**2, p, p)), (0, 2, 3, 1))
        inside = ops.transpose(getattr(self, name + "_conv")(inside), (0, 3, 1, 2))
        return 0.5 * (y + ops.reshape(inside, (-1, height, width, y.shape[-1])))

    def call(self, x):
        (height, width, channels), w = x.shape[1:], self.window
        qkv = self._project(x, "qkv")
        if not w:
            y = attend(ops.reshape(qkv, (-1, height * width, 3 * channels)), self.heads)
            return self._project(ops.reshape(y, (-1, height, width, channels)), "proj")
        windows = cut_windows(_rolled(qkv, self.shift) if self.shift else qkv, w)
        y = attend(ops.reshape(windows, (-1, w * w, 3 * channels)), self.heads, bias=self._bias((height, width)))
        y = join_windows(y, w, height, width)
        return self._project(_rolled(y, -self.shift) if self.shift else y, "proj")

    def _bias(self, grid):
        n, w = self.window**2, self.window
        rows, columns = np.divmod(np.arange(n), w)
        index = (rows[:, None] - rows + w - 1) * (2 * w - 1) + columns[:, None] - columns + w - 1
        table = ops.reshape(ops.take(self.relative_bias, index.reshape(-1), axis=0), (n, n, self.heads))
        relative = ops.cast(ops.transpose(table, (2, 0, 1)), self.compute_dtype)
        if not self.shift:
            return lambda scores: scores + relative
        # Positions that the shift brought together from opposite borders belong to different parts.
        row, column = (
            (np.arange(side) >= side - w).astype(int) + (np.arange(side) >= side - self.shift) for side in grid
        )
        parts = (
            (3 * row[:, None] + column).reshape(grid[0] // w, w, grid[1] // w, w).transpose(0, 2, 1, 3).reshape(-1, n)
        )
        apart = np.where(parts[:, None, :] != parts[:, :, None], -100.0, 0.0)[:, None]
        apart = ops.cast(apart, self.compute_dtype)

        def add(scores):
            by_image = ops.reshape(scores + relative, (-1, len(parts), self.heads, n, n))
            return ops.reshape(by_image + apart, (-1, self.heads, n, n))

        return add

    def compute_output_shape(self, input_shape):
        return input_shape


@fusing.simpler.answer(StructuredAttention)
def _without_convolutions(layer, weights, shape):
    """A convolution inside a token is a linear map of the token's channels, which the linear layer beside it can hold."""
    if not layer.sub_grid:
        return None
    kept = dict(window=layer.window, shift=layer.shift, qkv_bias=layer.qkv_bias)
    simple = StructuredAttention(layer.heads, **kept, name=layer.name, dtype=layer.dtype_policy)
    merged = {path: value for path, value in weights.items() if path == "relative_bias"}
    for name in ("qkv", "proj"):
        kernel = _as_matrix(weights[f"{name}/kernel"], layer.sub_grid) + weights[f"{name}_linear/kernel"]
        merged[f"{name}/kernel"] = 0.5 * kernel
        biases = [weights[f"{name}_linear/bias"]] if f"{name}_linear/bias" in weights else []
        if layer.qkv_bias:
            biases.append(np.repeat(weights[f"{name}/bias"], layer.sub_grid**2))
        if biases:
            merged[f"{name}/bias"] = 0.5 * sum(biases)
    return [(simple, merged)]


def _as_matrix(window, p):
    """A convolution with zeros around it on a `p x p` map of `c` channels, as a matrix `(c p p, filters p p)`."""
    *size, channels, filters = window.shape
    matrix = np.zeros((channels, p, p, filters, p, p))
    for dy, dx in np.ndindex(*size):
        down, right = dy - (size[0] - 1) // 2, dx - (size[1] - 1) // 2
        # Targets whose source is inside the map.
        row = np.arange(max(-down, 0), min(p - down, p))[:, None]
        column = np.arange(max(-right, 0), min(p - right, p))
        matrix[:, row + down, column + right, :, row, column] = window[dy, dx]
    return matrix.reshape(channels * p * p, filters * p * p)


@fusing.reads.answer(StructuredAttention)
def _qkv(layer):
    return (
        None if layer.sub_grid else (fusing.Linear("qkv/kernel", "io", "i", "o", bias="qkv/bias", switch="qkv_bias"),)
    )


@fusing.writes.answer(StructuredAttention)
def _proj(layer):
    return None if layer.sub_grid else fusing.Linear("proj/kernel", "io", "i", "o", bias="proj/bias")


def tokens(x, kind, segments, sub_grid, stem_dim, stem_patch, activation):
    """Section 3.1: structure-aware tokenisation, a fine map whose cells are the tokens."""
    if kind == "deit":
        x = layers.ZeroPadding2D(1, name="stem_pad")(x)
        x = layers.Conv2D(stem_dim, 4, 2, name="stem_conv")(x)
        x = PeriodicPositionEmbedding(sub_grid * stem_patch, name="stem_position")(x)
    else:
        x = PatchEmbedding(stem_dim, 2, name="stem_conv")(x)
    x = Activation(activation, name="stem_act")(x)
    if kind == "swin":
        x = LayerNormalization(epsilon=1e-5, name="stem_conv_norm")(x)
    x = PatchEmbedding(segments, stem_patch, name="stem")(x)
    x = FoldTokens(sub_grid, name="stem_fold")(x)
    if kind == "swin":
        x = LayerNormalization(epsilon=1e-5, name="stem_norm")(x)
    return PositionEmbedding(name="position")(x) if kind == "deit" else x


def channel_mixing(x, hidden_dim, kernel_size, activation, dropout_rate, name):
    """Section 3.2: the channel MLP with a depthwise convolution over the grid of tokens in its middle."""
    dim = x.shape[-1]
    x = Dense(hidden_dim, activation=activation, name=f"{name}_fc1")(x)
    x = layers.DepthwiseConv2D(kernel_size, padding="same", name=f"{name}_conv")(x)
    x = Activation(activation, name=f"{name}_act")(x)
    if dropout_rate:
        x = layers.Dropout(dropout_rate, name=f"{name}_drop1")(x)
    x = Dense(dim, name=f"{name}_fc2")(x)
    return layers.Dropout(dropout_rate, name=f"{name}_drop2")(x) if dropout_rate else x


def swat_block(x, norm, mixing, hidden_dim, kernel_size, initial_scale, activation, drop_path_rate, dropout_rate, name):
    """Token mixing, then channel mixing, each on the normalised input and added to it."""

    def add(x, y, i):
        if initial_scale is not None:
            y = LayerScale(initial_scale, name=f"{name}_scale{i}")(y)
        return residual(x, y, drop_path_rate, name, i)

    x = add(x, mixing(norm(f"{name}_norm1")(x)), 1)
    y = norm(f"{name}_norm2")(x)
    y = channel_mixing(y, hidden_dim, kernel_size, activation, dropout_rate, f"{name}_channel_mixing")
    return add(x, y, 2)


@family.builder
def SWAT(
    x,
    kind="mixer",
    segments=4,
    sub_grid=8,
    stem_dim=64,
    stem_patch=1,
    depths=(8,),
    heads=None,
    token_dim=None,
    mlp_ratio=4,
    token_kernels=(3,),
    channel_kernels=(5,),
    merge_kernels=(),
    window=7,
    initial_scale=1e-4,
    qkv_bias=True,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """SWAT of any size. The width of a token is `segments * sub_grid ** 2`.

    Args:
        kind: whose blocks: "mixer" (MLP-Mixer), "resmlp", "deit" or "swin".
        segments: number of channels of a token's sub-grid; "swin" halves it from stage to stage.
        sub_grid: side of a token's sub-grid; "swin" doubles it from stage to stage. The height and width must be
            multiples of `2 * stem_patch * sub_grid`, for "swin" also of what its windows and stages need.
        stem_dim: width of the first convolution.
        stem_patch: side of the patches of the second convolution.
        depths: number of blocks of each stage; only "swin" has more than one.
        heads: for "deit" and "swin", number of attention heads in each stage.
        token_dim: for "mixer", hidden width of token mixing. By default half of the tokens' width.
        mlp_ratio: hidden width of the channel MLP, in multiples of the tokens' width.
        token_kernels: for each stage the side of the convolution inside the tokens.
        channel_kernels: for each stage the side of the convolution over the grid of tokens.
        merge_kernels: for "swin", the side of the convolution between each two stages.
        window: for "swin", the side of the windows in positions.
        initial_scale: for "resmlp", what layer scale starts from.
        qkv_bias: for "deit" and "swin", whether attention's first layers have a bias, and the convolution at its end.
        activation: "gelu" (exact) by default, as in all models of the paper.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: kind={kind!r}")
    if kind == "swin" and len(merge_kernels) != len(depths) - 1:
        raise ValueError(
            f"`merge_kernels` must have one value between each two of the {len(depths)} stages. "
            f"Received: merge_kernels={merge_kernels!r}"
        )
    if kind in ("deit", "swin") and heads is None:
        raise ValueError(f'`heads` must have one value for each stage where kind is "{kind}". Received: heads=None')
    unit = 2 * stem_patch * sub_grid * (2 ** (len(depths) - 1) * window if kind == "swin" else 1)
    check_known(x.shape, "SWAT mixes the positions of a fixed grid")
    check_multiples(x.shape[1:3], unit, f"The height and width of the input must be multiples of {unit}")
    activation = activations.get(activation or "gelu")
    epsilon = 1e-5 if kind == "swin" else 1e-6

    def norm(name):
        return Affine(name=name) if kind == "resmlp" else LayerNormalization(epsilon=epsilon, name=name)

    x = tokens(x, kind, segments, sub_grid, stem_dim, stem_patch, activation)
    for stage, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
        dim, p = x.shape[-1], sub_grid * 2**stage
        for i, rate in enumerate(rates):
            name = f"stages_{stage}_{i}"
            inside = dict(sub_grid=p, kernel_size=token_kernels[stage], name=f"{name}_token_mixing")
            if kind == "mixer":
                mixing = StructuredTokenMixing(hidden_dim=token_dim or dim // 2, activation=activation, **inside)
            elif kind == "resmlp":
                mixing = StructuredTokenMixing(activation=activation, **inside)
            elif kind == "deit":
                mixing = StructuredAttention(heads[stage], qkv_bias=qkv_bias, **inside)
            else:
                # Every other block moves its windows, unless one window is all there is.
                shifted = i % 2 == 1 and min(x.shape[1:3]) > window
                inside = {"name": inside["name"]} if shifted else inside
                inside |= dict(window=window, shift=window // 2 * shifted)
                mixing = StructuredAttention(heads[stage], qkv_bias=qkv_bias, **inside)
            x = swat_block(
                x,
                norm,
                mixing,
                int(mlp_ratio * dim),
                channel_kernels[stage],
                initial_scale if kind == "resmlp" else None,
                activation,
                rate,
                dropout_rate,
                name,
            )
        if stage + 1 < len(depths):
            name, k = f"down_{stage}", merge_kernels[stage]
            x = FoldTokens(p, inverse=True, name=f"{name}_unfold")(x)
            x = LayerNormalization(epsilon=1e-5, name=f"{name}_norm")(x)
            x = layers.Conv2D(x.shape[-1] // 2, k, padding="same", use_bias=False, name=name)(x)
            x = FoldTokens(2 * p, name=f"{name}_fold")(x)
    return norm("norm")(x)


# The authors' commented settings.
_READ_OFF = dict(source="read off figs/performance.png of the authors' repository, to about 0.1", exact=False)


def _variant(builder, name, title, parameters, macs, top1, **config):
    scores = imagenet(top1, **_READ_OFF)
    return family.variant(builder, name, title=title, parameters=parameters, macs=macs, scores=scores, **config)


# fmt: off
SWATMixerTi = _variant("SWATMixerTi", "swat_mixer_ti", "SWAT-Mixer-Ti/16", 5_098_572, 980_445_184, 72.3, kind="mixer", segments=4, sub_grid=8, stem_dim=64, depths=(8,))
SWATMixerS = _variant("SWATMixerS", "swat_mixer_s", "SWAT-Mixer-S/16", 18_583_696, 3_821_719_552, 77.9, kind="mixer", segments=8, sub_grid=8, stem_dim=128, depths=(8,))
SWATMixerB32 = _variant("SWATMixerB32", "swat_mixer_b32", "SWAT-Mixer-B/32", 58_423_863, 3_250_931_712, 77.1, kind="mixer", segments=3, sub_grid=16, stem_dim=128, depths=(12,), token_kernels=(5,), channel_kernels=(3,))
SWATResMLPS12 = _variant("SWATResMLPS12", "swat_resmlp_s12", "SWAT-ResMLP-S12", 15_560_766, 3_079_283_712, 77.5, kind="resmlp", segments=6, sub_grid=8, stem_dim=128, depths=(12,))
SWATDeiTTi = _variant("SWATDeiTTi", "swat_deit_ti", "SWAT-DeiT-Ti", 5_827_883, 1_393_479_168, 75.7, kind="deit", segments=3, sub_grid=8, stem_dim=128, depths=(12,), heads=(3,))
SWATDeiTS = _variant("SWATDeiTS", "swat_deit_s", "SWAT-DeiT-S", 22_264_910, 4_888_329_216, 80.5, kind="deit", segments=6, sub_grid=8, stem_dim=128, depths=(12,), heads=(6,))
SWATDeiTB32 = _variant("SWATDeiTB32", "swat_deit_b32", "SWAT-DeiT-B/32", 86_339_252, 4_514_500_608, 76.2, kind="deit", segments=12, sub_grid=8, stem_dim=128, stem_patch=2, depths=(12,), heads=(12,), channel_kernels=(3,))
_SWIN = dict(
    kind="swin", segments=24, sub_grid=2, stem_dim=128, heads=(3, 6, 12, 24), token_kernels=(1, 1, 3, 5),
    channel_kernels=(5, 5, 5, 3), merge_kernels=(3, 5, 9), window=7,
)
SWATSwinT = _variant("SWATSwinT", "swat_swin_t", "SWAT-Swin-T", 27_110_704, 4_679_554_560, 81.7, depths=(2, 2, 6, 2), **_SWIN)
SWATSwinS = _variant(
    "SWATSwinS", "swat_swin_s", "SWAT-Swin-S", 48_915_760, 9_117_722_112, 83.3, depths=(2, 2, 18, 2), **_SWIN,
    note="Its setting is inferred: the repository has Swin-T's, whose numbers fit it.",
)
# fmt: on


def _window(kernel):
    """A depthwise kernel (channels, 1, k, k) as (k, k, channels)."""
    return kernel.squeeze(1).transpose(1, 2, 0)


_BLOCK = (
    ("norm{}", "norm{}"),
    ("norm{}.alpha", "norm{}/alpha"),
    ("norm{}.beta", "norm{}/beta"),
    ("ls{}", "scale{}/gamma"),
    ("mlp_tokens.fc1", "token_mixing/fc1"),
    ("mlp_tokens.fc2", "token_mixing/fc2"),
    ("mlp_tokens.fc3.weight", "token_mixing/depthwise_kernel", _window),
    ("mlp_tokens.fc3.bias", "token_mixing/depthwise_bias"),
    ("linear_tokens1", "token_mixing/fc1"),
    ("linear_tokens2.weight", "token_mixing/depthwise_kernel", _window),
    ("linear_tokens2.bias", "token_mixing/depthwise_bias"),
    *((f"attn.{name}", f"token_mixing/{name}") for name in ("qkv", "qkv_linear", "proj", "proj_linear")),
    ("attn.relative_position_bias_table", "token_mixing/relative_bias"),
    *((f"{mlp}.{theirs}", f"channel_mixing_{ours}")
      for mlp in ("mlp", "mlp_channels") for theirs, ours in (("fc1", "fc1"), ("fc2", "fc2"), ("fc3", "conv"))),
)  # fmt: skip

# The authors published no weights; these are the names that their code saves.
family.layout(
    "swat",
    convention="torch",
    names=(
        *((f"{stem}.proj21", "stem_conv") for stem in ("stem", "patch_embed")),
        *((f"{stem}.proj22", "stem") for stem in ("stem", "patch_embed")),
        ("patch_embed.pos_embed2", "stem_position/embedding", lambda embedding: embedding[0].transpose(1, 2, 0)),
        ("pos_embed", "position/embedding", lambda embedding: embedding[0]),
        ("patch_embed.norm2", "stem_conv_norm"),
        ("patch_embed.norm", "stem_norm"),
        *(("blocks.{}." + theirs, "stages_0_{}_" + ours, *how) for theirs, ours, *how in _BLOCK),
        *(("layers.{}.blocks.{}." + theirs, "stages_{}_{}_" + ours, *how) for theirs, ours, *how in _BLOCK),
        ("layers.{}.downsample.norm", "down_{}_norm"),
        ("layers.{}.downsample.reduction", "down_{}"),
        ("norm", "norm"),
        ("norm.alpha", "norm/alpha"),
        ("norm.beta", "norm/beta"),
        ("head", "head"),
    ),
    ignored=("layers.{}.blocks.{}.attn.relative_position_index", "layers.{}.blocks.{}.attn_mask"),
)
