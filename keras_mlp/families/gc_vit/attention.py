"""GC ViT's own layers: attention in windows with queries of the whole image, and squeeze and excitation."""

from keras import initializers, ops

from keras_mlp.layers import Composite, Dense, GridLayer, activations, fusing, showing
from keras_mlp.layers.attention import attend, looks, split_heads
from keras_mlp.layers.configs import registered
from keras_mlp.layers.initializers import own
from keras_mlp.layers.parts import part
from keras_mlp.layers.relative_positions import around, relative_bias
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
        return self._attended(x)

    def _attended(self, x, *query):
        whole, (height, width) = self._whole(x), ops.shape(x)[1:3]
        y = self.proj(attend(*self._arguments(whole, *query)))
        y = join_windows(y, self.grid, *ops.shape(whole)[1:3])
        return y if whole is x else part(y, {1: (0, height), 2: (0, width)})

    def _whole(self, x):
        """The map, continued with zeros where it fills no whole windows."""
        sides = zip(ops.shape(x)[1:3], self.grid, strict=True)
        missing = [0 if self.parts else -length % side for length, side in sides]
        if all(isinstance(amount, int) and amount == 0 for amount in missing):
            return x
        return ops.pad(x, ((0, 0), *((0, amount) for amount in missing), (0, 0)))

    def _arguments(self, x, *query):
        """What `attend` is called with for a map of whole windows: queries, keys, values, scale and bias."""
        rows, columns = self._counts(x)
        windows = ops.reshape(cut_windows(x, self.grid), (-1, self.grid[0] * self.grid[1], self.proj.units))
        bias = relative_bias(self.table, self.grid, self.compute_dtype)
        return (*self._heads(self.qkv(windows), rows * columns, *query), self.scale, bias)

    def _counts(self, x):
        """How many windows there are along the height and the width of a map of whole windows."""
        return [length // side for length, side in zip(ops.shape(x)[1:3], self.grid, strict=True)]

    def _heads(self, qkv, count):
        """Queries, keys and values of the windows, of which there are `count` in each map."""
        return split_heads(qkv, self.heads, 3)

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
        return self._attended(*inputs)

    def _heads(self, kv, count, query):
        query = ops.reshape(query, (-1, self.grid[0] * self.grid[1], self.proj.units))
        (q,) = split_heads(query, self.heads)
        # All windows of the first image, then all of the second one.
        q = q if isinstance(count, int) and count == 1 else ops.repeat(q, count, axis=0)
        return (q, *split_heads(kv, self.heads, 2))

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


@showing.made.answer(WindowAttention, GlobalQueryAttention)
def _of_a_window(layer, inputs):
    x, *query = inputs if isinstance(inputs, list | tuple) else [inputs]
    whole = layer._whole(x)
    return looks(layer._arguments(whole, *query), layer.grid, windows=layer._counts(whole))


@showing.weights.answer(WindowAttention, GlobalQueryAttention)
def _offsets(layer):
    return around(layer.table, layer.grid)
