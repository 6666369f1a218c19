"""GC ViT's own layers: attention in windows with queries of the whole image, and squeeze and excitation."""

from keras import initializers, ops

from keras_mlp.layers import Composite, Dense, GridLayer, activations, attend, fusing, relative_bias, split_heads
from keras_mlp.layers.configs import registered
from keras_mlp.layers.initializers import own
from keras_mlp.layers.parts import part
from keras_mlp.layers.sizes import check_known, check_multiples
from keras_mlp.layers.windows import cut_windows, join_windows

NORMAL = initializers.TruncatedNormal(stddev=0.02)


@registered
class SqueezeExcitation(Composite):
    """Channels weighed by what is in the whole map.

        y = x * sigmoid(W2 activation(W1 mean(x)))

    Source: Hu et al. 2017, https://arxiv.org/abs/1709.01507, without biases, as in the authors' code of GC ViT.

    Args:
        hidden_dim: width of the hidden layer.
        activation: of the hidden layer, e.g. "gelu" (exact).

    Input shape: `(batch, height, width, channels)`; height and width may be unknown. Output shape: the same.
    """

    def __init__(self, hidden_dim, activation="gelu", **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim, self.activation = hidden_dim, activations.get(activation)

    def build(self, input_shape):
        channels, dense = input_shape[-1], dict(use_bias=False, kernel_initializer=NORMAL)
        narrow = dense | dict(activation=self.activation, input_shape=(None, channels))
        self.fc1 = self.sublayer(Dense, self.hidden_dim, **narrow, name="fc1")
        wide = dense | dict(activation="sigmoid", input_shape=(None, self.hidden_dim))
        self.fc2 = self.sublayer(Dense, channels, **wide, name="fc2")
        super().build(input_shape)

    def call(self, x):
        weights = self.fc2(self.fc1(ops.mean(x, axis=(1, 2))))
        return x * ops.expand_dims(weights, (1, 2))

    def compute_output_shape(self, input_shape):
        return input_shape


@registered
class WindowAttention(GridLayer):
    """Attention inside each window of a map, with a learned number for each offset of two positions.

        q, k, v = the three thirds of qkv(x);    y = proj(softmax(q k^T / sqrt(d) + b) v), head by head,

    where `b` is what the table has for the way from the query to the key, and `d = channels / heads` unless `scale`
    stands in place of `1 / sqrt(d)`. A map that fills no whole windows is continued with zeros below and to the right,
    which are looked at like the rest, as in the authors' code.

    Source: Hatamizadeh et al. 2022, https://arxiv.org/abs/2206.09959; Liu et al. 2021 (Swin Transformer),
    https://arxiv.org/abs/2103.14030.

    Args:
        heads: number of heads.
        parts: into how many windows each side of the map is cut.
        window: instead of `parts`, the side of the windows in positions, or `(height, width)`.
        qkv_bias: whether the first linear layer has a bias.
        scale: factor on the products of queries and keys; `None` for `1 / sqrt(d)`.

    Input shape: `(batch, height, width, channels)`; with `window`, height and width may be unknown.
    Output shape: the same.

    Raises:
        ValueError: `heads` does not divide the channels, more or less than one of `parts` and `window` is given, or
            `parts` does not divide the map's height and width; names those nearby that it does.
    """

    grid_axes = {"table": ("offsets embedding", None)}
    linear_parts = 3
    """What the first linear layer makes: queries, keys and values."""

    def __init__(self, heads, parts=None, window=None, qkv_bias=True, scale=None, **kwargs):
        super().__init__(**kwargs)
        if (parts is None) == (window is None):
            raise ValueError(f"Pass `parts` or `window`, and not both. Received: parts={parts}, window={window}")
        self.heads, self.parts, self.qkv_bias, self.scale = heads, parts, qkv_bias, scale
        self.window = tuple(window) if isinstance(window, tuple | list) else window
        self.follows_input = window is None

    def grid_of(self, input_shape):
        if self.window is not None:
            return self.window if isinstance(self.window, tuple) else (self.window, self.window)
        check_known(input_shape, f"{self.__class__.__name__} has windows that are parts of the map")
        rule = f"The height and width of the map must be multiples of {self.parts}, the number of windows on a side"
        check_multiples(input_shape[1:3], self.parts, rule)
        return tuple(side // self.parts for side in input_shape[1:3])

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.heads:
            raise ValueError(f"`heads` must divide the channels. Received: heads={self.heads}, {channels} channels")
        super().build(input_shape)
        dense = dict(kernel_initializer=NORMAL, input_shape=(None, channels))
        self.qkv = self.sublayer(Dense, self.linear_parts * channels, use_bias=self.qkv_bias, **dense, name="qkv")
        self.proj = self.sublayer(Dense, channels, **dense, name="proj")
        offsets = (2 * self.grid[0] - 1) * (2 * self.grid[1] - 1)
        self.table = self.add_weight(name="table", shape=(offsets, self.heads), initializer=own(NORMAL))

    def call(self, x):
        return self._attended(x, lambda qkv, count: split_heads(qkv, self.heads, 3))

    def _attended(self, x, split):
        """Attention of what `split` makes of the windows' linear parts and of the number of windows in a map."""
        size, channels = ops.shape(x)[1:3], x.shape[-1]
        missing = [0 if self.parts else -length % side for length, side in zip(size, self.grid, strict=True)]
        whole = all(isinstance(amount, int) and amount == 0 for amount in missing)
        if not whole:
            x = ops.pad(x, ((0, 0), *((0, amount) for amount in missing), (0, 0)))
        height, width = ops.shape(x)[1:3]
        windows = cut_windows(x, self.grid)
        count = (height // self.grid[0]) * (width // self.grid[1])
        windows = ops.reshape(windows, (-1, self.grid[0] * self.grid[1], channels))
        bias = relative_bias(self.table, self.grid, self.compute_dtype)
        y = self.proj(attend(*split(self.qkv(windows), count), self.scale, bias))
        y = join_windows(y, self.grid, height, width)
        return y if whole else part(y, {1: (0, size[0]), 2: (0, size[1])})

    def compute_output_shape(self, input_shape):
        return input_shape


@registered
class GlobalQueryAttention(WindowAttention):
    """`WindowAttention` in which every window of an image has the same queries, which come from outside.

        k, v = the halves of qkv(x);    y = proj(softmax(q k^T / sqrt(d) + b) v), head by head

    The queries go through no linear layer: their channels are those of the heads, one head after the other.

    Source: Hatamizadeh et al. 2022, https://arxiv.org/abs/2206.09959.

    Input shape: a map `(batch, height, width, channels)`, and the queries of each image, which are a map of the size
    of one window, `(batch, window's height, window's width, channels)`.
    Output shape: that of the map.

    Raises:
        ValueError: as `WindowAttention`; or the queries are not of the size of a window.
    """

    linear_parts = 2

    def build(self, input_shape):
        x, query = input_shape
        super().build(x)
        if tuple(query[1:]) != (*self.grid, x[-1]):
            raise ValueError(
                f"The queries must be a map of the size of a window, {self.grid}, and of the {x[-1]} channels of the map. "
                f"Received: queries of shape {tuple(query)}"
            )

    def call(self, inputs):
        x, query = inputs
        query = ops.reshape(query, (-1, self.grid[0] * self.grid[1], x.shape[-1]))
        (q,) = split_heads(query, self.heads)

        def split(kv, count):
            # All windows of the first image, then all of the second one.
            of_windows = q if isinstance(count, int) and count == 1 else ops.repeat(q, count, axis=0)
            return (of_windows, *split_heads(kv, self.heads, 2))

        return self._attended(x, split)

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@fusing.reads.answer(WindowAttention, GlobalQueryAttention)
def _qkv(layer):
    zeros = layer.window is not None
    return (fusing.Linear("qkv/kernel", "io", "i", "o", bias="qkv/bias", switch="qkv_bias", padded=zeros),)


@fusing.beside.answer(GlobalQueryAttention)
def _query(layer):
    return (1,)


@fusing.writes.answer(WindowAttention, GlobalQueryAttention)
def _proj(layer):
    return fusing.Linear("proj/kernel", "io", "i", "o", bias="proj/bias")
