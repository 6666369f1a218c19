"""SWAT's own layers: tokens as cells of a finer map, and what mixes them and keeps their inside."""

import numpy as np
from keras import initializers, layers, ops

from keras_mlp.layers import Composite, Dense, GridLayer, activations, fusing, showing
from keras_mlp.layers.attention import attend, looks, split_heads
from keras_mlp.layers.configs import registered
from keras_mlp.layers.initializers import own
from keras_mlp.layers.relative_positions import around, relative_bias
from keras_mlp.layers.token_mixing import hidden_units
from keras_mlp.layers.windows import cut_windows, join_windows

_NORMAL = initializers.TruncatedNormal(stddev=0.02)


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
        height, width = x.shape[1:3]
        return x + ops.tile(self.embedding, (height // self.period, width // self.period, 1))

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


showing.weights.answer(StructuredTokenMixing)(hidden_units)


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
        height, width, channels = x.shape[1:]
        y = attend(*self._arguments(x))
        if not self.window:
            return self._project(ops.reshape(y, (-1, height, width, channels)), "proj")
        y = join_windows(y, self.window, height, width)
        return self._project(_rolled(y, -self.shift) if self.shift else y, "proj")

    def _arguments(self, x):
        """What `attend` is called with: queries, keys, values, scale and bias, of all positions or of each window."""
        (height, width, channels), w = x.shape[1:], self.window
        qkv, n, bias = self._project(x, "qkv"), height * width, None
        if w:
            qkv = cut_windows(_rolled(qkv, self.shift) if self.shift else qkv, w)
            n, bias = w * w, self._bias((height, width))
        return (*split_heads(ops.reshape(qkv, (-1, n, 3 * channels)), self.heads, 3), None, bias)

    def _bias(self, grid):
        n, w = self.window**2, self.window
        relative = relative_bias(self.relative_bias, (w, w), self.compute_dtype)
        if not self.shift:
            return relative
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


@showing.made.answer(StructuredAttention)
def _looks(layer, x):
    sides, w = x.shape[1:3], layer.window
    if w:
        return looks(layer._arguments(x), (w, w), windows=[side // w for side in sides])
    return looks(layer._arguments(x), sides)


@showing.weights.answer(StructuredAttention)
def _offsets(layer):
    return around(layer.relative_bias, (layer.window, layer.window)) if layer.window else None


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
