"""MViT's own layers: attention between pooled tokens, and the pooling of what goes by."""

import functools
import math
import operator

import keras
import numpy as np
from keras import initializers, ops

from keras_mlp.layers import Dense, GridLayer, LayerNormalization, TokenSequence, fusing, showing
from keras_mlp.layers.attention import attend, looks
from keras_mlp.layers.configs import registered
from keras_mlp.layers.initializers import own
from keras_mlp.layers.products import SUM_BY_PRODUCT

_NORMAL = initializers.TruncatedNormal(stddev=0.02)
EPSILON = 1e-6
"""That of all norms of the family."""
INTERPOLATIONS = {"joint": "linear", "separable": "cubic", None: "cubic"}
"""How embeddings of positions are carried over to other sizes, as SlowFast does it, by how `TokenSequence` has them."""


def pooled_grid(grid, window, stride):
    """How many positions are left of a grid along each of its sides; only the height and width have a stride."""
    strides = (*[1] * (len(grid) - 2), stride, stride)
    return tuple((n + 2 * (k // 2) - k) // s + 1 for n, k, s in zip(grid, window, strides, strict=True))


def _windows(x, depth, border, reduce, join, mode):
    """Reduce windows of a map that reach beyond its border.

    Args:
        x: `(batch, height, width, channels)`, or with frames before the height.
        depth: number of frames in a window.
        border: how many positions there are beyond both ends of the height, and of the width.
        reduce: what makes of maps `(batch, height, width, channels)` and the number of a frame in the window what is
            within the height and width of each window.
        join: what makes one of two maps, those of two frames of the window.
        mode: what is beyond the border, as in `keras.ops.pad`.
    """
    pads = [0, *[depth // 2] * (len(x.shape) - 4), *border, 0]
    if any(pads):
        x = ops.pad(x, [(n, n) for n in pads], mode=mode)
    if len(x.shape) == 4:
        return reduce(x, 0)
    frames, height, width, channels = x.shape[1:]
    frames -= depth - 1
    maps = []
    for i in range(depth):
        part = ops.reshape(x[:, i : i + frames], (-1, height, width, channels))
        maps.append(reduce(part, i))
    y = functools.reduce(join, maps)
    return ops.reshape(y, (-1, frames, *y.shape[1:]))


def depthwise(x, kernel, stride):
    """Depthwise convolution of a map or a video; of a video, the sum of those of the frames of a window.

    No framework has a depthwise convolution over frames, and one in groups of one channel is slow.

    Args:
        x: `(batch, height, width, channels)`, or with frames before the height.
        kernel: `(height, width, channels)` of the window, or with frames before them.
        stride: of the height and width.

    Returns:
        A map of the sides that `pooled_grid` tells.
    """
    *window, channels = kernel.shape
    kernels = ops.reshape(kernel, (-1, *window[-2:], channels, 1))
    # Where windows stand at every position, the convolution itself knows what is beyond the border.
    same = stride == 1 and all(side % 2 for side in window[-2:])
    padding = dict(padding="same" if same else "valid", data_format="channels_last")

    def convolved(x, i):
        return ops.depthwise_conv(x, kernels[i], stride, **padding)

    border = [0 if same else side // 2 for side in window[-2:]]
    return _windows(x, (1, *window)[-3], border, convolved, operator.add, "constant")


def window(axes, kernel, stride):
    """Length of the window that pools along each axis of a map; `None` where none is needed."""
    if kernel is None:
        kernel, frames = stride + (stride > 1), 1
    else:
        frames = kernel
    return (*[frames] * (axes - 2), kernel, kernel) if max(kernel, stride) > 1 else None


@registered
class PositionedTokens(TokenSequence):
    """What `TokenSequence` was called in models of MViT that were saved when it had a layer of its own."""

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        positions, tokens = config.pop("embedding"), ("class_token",) * config.pop("class_token")
        own = dict(tokens=tokens, interpolation=INTERPOLATIONS[positions], positions=positions)
        return TokenSequence.from_config(config | own)


@registered
class PooledTokens(keras.layers.Layer):
    """What goes by a block that pools its queries: the largest of the positions of each window, channel by channel.

    The windows are one position wider than the stride; in a video they are of one frame. Tokens in front stay.

    Source: Fan et al. 2021, https://arxiv.org/abs/2104.11227, and the authors' code.

    Args:
        stride: of the height and width.

    Input shape: the map of the positions, of which only the size matters, and tokens `(batch, tokens in front +
        positions, channels)`, all but the batch known.
    Output shape: tokens of the pooled positions, with those in front, and the map of the former.
    """

    def __init__(self, stride, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride

    def _window(self, grid):
        return (*[1] * (len(grid) - 2), self.stride + 1, self.stride + 1)

    def call(self, inputs):
        like, tokens = inputs
        grid, (count, channels) = like.shape[1:-1], tokens.shape[1:]
        in_front = count - math.prod(grid)
        x = ops.reshape(tokens[:, in_front:], (-1, *grid, channels))
        pool = functools.partial(
            ops.max_pool, pool_size=self.stride + 1, strides=self.stride, padding="valid", data_format="channels_last"
        )
        # The border is mirrored, which changes no maximum. Minus infinity there would spoil the range of int8.
        y = _windows(x, 1, [(self.stride + 1) // 2] * 2, lambda x, _: pool(x), ops.maximum, "symmetric")
        pooled = ops.reshape(y, (-1, math.prod(y.shape[1:-1]), channels))
        return ops.concatenate([tokens[:, :in_front], pooled], axis=1) if in_front else pooled, y

    def compute_output_shape(self, input_shape):
        (_, *grid, _), (batch, count, channels) = input_shape
        pooled = pooled_grid(grid, self._window(grid), self.stride)
        return (batch, count - math.prod(grid) + math.prod(pooled), channels), (batch, *pooled, channels)


def offsets(queries: int, keys: int) -> np.ndarray:
    """Which row of a table of `2 max(queries, keys) - 1` offsets belongs to a query and a key along one side.

    Args:
        queries, keys: their numbers, spread evenly over the same side.

    Returns:
        Integers `(queries, keys)`.

    Source: the authors' code. In whole numbers, as its quotients in floating point are cut off.
    """
    i, j = np.arange(queries)[:, None], np.arange(keys)
    longest = max(queries, keys)
    return (i * longest * keys + (keys - 1 - j) * longest * queries) // (queries * keys)


def places(grid) -> np.ndarray:
    """For each side of a grid and each of its places, at which positions it is: `(sum of the sides, positions)` of 0, 1."""
    at = np.indices(grid).reshape(len(grid), -1)
    return np.concatenate([np.arange(n)[:, None] == along for n, along in zip(grid, at, strict=True)])


@registered
class PoolingAttention(GridLayer):
    """Multi-head attention between tokens of which fewer are left: queries, keys and values are each pooled.

        q, k, v = the three thirds of qkv(x);    q = norm(pool(q)), and so k and v
        y = proj(softmax(q k^T / sqrt(d) + b) v + q)

    `pool` is a depthwise convolution over the map of the positions, of the same kernel for all heads; without a window
    neither it nor the norm is there. Tokens in front of the positions are not pooled, but normalised with the others.
    `b` and `+ q` are there if asked for, between and of the positions only. With `i` and `j` the places of a query and a
    key along one side, `b` is the sum over the sides of `q . r`, where `r` is the side's vector for the offset of `i`
    and `j`.

    Source: Fan et al. 2021, https://arxiv.org/abs/2104.11227; Li et al. 2021, https://arxiv.org/abs/2112.01526, for `b`
    and `+ q`; and the authors' code.

    Args:
        dim: width of the output.
        heads: number of heads.
        query_window: length of the window that pools queries along each side; `None` for no pooling.
        query_stride: its stride of height and width.
        key_window, key_stride: the same of keys and values.
        relative: whether there is `b`. Its vectors are interpolated linearly for another grid.
        residual: whether there is `+ q`.
        qkv_bias: whether the first linear layer has a bias.

    Input shape: tokens `(batch, tokens in front + positions, channels)`, and a map of the positions, of which only the
        size matters, `(batch, height, width, any)` or with frames before the height; all but the batch known.
    Output shape: `(batch, tokens in front + positions of the queries, dim)`.

    Raises:
        ValueError: `heads` does not divide `dim`.
    """

    takes_videos = True
    grid_axes = {f"{side}_offsets": (f"{side} offsets linear", None) for side in ("frames", "height", "width")}

    def __init__(
        self,
        dim,
        heads,
        query_window=None,
        query_stride=1,
        key_window=None,
        key_stride=1,
        relative=False,
        residual=False,
        qkv_bias=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if dim % heads:
            raise ValueError(f"`heads` must divide the width. Received: heads={heads}, dim={dim}")
        self.dim, self.heads = dim, heads
        self.query_window, self.query_stride = query_window and tuple(query_window), query_stride
        self.key_window, self.key_stride = key_window and tuple(key_window), key_stride
        self.relative, self.residual, self.qkv_bias = relative, residual, qkv_bias

    def build(self, input_shape):
        tokens, like = input_shape
        super().build(like)
        self.positions = self.grid
        self.queries = pooled_grid(self.grid, self.query_window or [1] * len(self.grid), self.query_stride)
        self.keys = pooled_grid(self.grid, self.key_window or [1] * len(self.grid), self.key_stride)
        # What the tables run over: the finer of both grids.
        self.grid = tuple(map(max, self.queries, self.keys))
        depth = self.dim // self.heads
        linear = dict(kernel_initializer=_NORMAL)
        self.qkv = self.sublayer(
            Dense,
            3 * self.dim,
            use_bias=self.qkv_bias,
            **linear,
            name="qkv",
            input_shape=(None, tokens[-1]),
        )
        self.pools, self.norms = {}, []
        for part, window in (("q", self.query_window), ("k", self.key_window), ("v", self.key_window)):
            if window:
                self.pools[part] = self.add_weight(
                    name=f"pool_{part}", shape=(*window, depth), initializer=own(_NORMAL)
                )
                norm = dict(epsilon=EPSILON, name=f"norm_{part}", input_shape=(None, depth))
                self.norms.append(self.sublayer(LayerNormalization, **norm))
        if self.relative:
            sides = ("frames", "height", "width")[-len(self.grid) :]
            self.tables = [
                self.add_weight(name=f"{side}_offsets", shape=(2 * n - 1, depth), initializer=own(_NORMAL))
                for side, n in zip(sides, self.grid, strict=True)
            ]
        self.proj = self.sublayer(Dense, self.dim, **linear, name="proj", input_shape=(None, self.dim))

    def call(self, inputs):
        q, k, v = self._tokens(inputs[0])
        y = attend(*self._arguments(q, k, v))
        if self.residual:
            q = ops.reshape(q, (-1, *y.shape[1:]))
            if in_front := self._in_front(q):
                of_positions = (np.arange(y.shape[1]) >= in_front)[:, None]
                q = q * ops.cast(of_positions, q.dtype)
            y = y + q
        return self.proj(y)

    def _tokens(self, x):
        """Queries, keys and values, pooled: of each `(batch, tokens, heads, depth)`."""
        in_front = x.shape[1] - math.prod(self.positions)
        qkv, norms = self.qkv(x), list(self.norms)
        queries = self._pooled(qkv[..., : self.dim], "q", self.query_stride, in_front, norms)
        return [*queries, *self._pooled(qkv[..., self.dim :], "kv", self.key_stride, in_front, norms)]

    def _arguments(self, *tokens):
        """What `attend` is called with: queries, keys, values, scale and bias."""
        q, k, v = (ops.transpose(part, (0, 2, 1, 3)) for part in tokens)
        return q, k, v, None, self._bias(q, self._in_front(tokens[0])) if self.relative else None

    def _in_front(self, queries) -> int:
        """How many tokens stand before the positions of the queries."""
        return queries.shape[1] - math.prod(self.queries)

    def _pooled(self, x, parts, stride, in_front, norms):
        """Tensors that lie beside each other, pooled and normalised: of each `(batch, tokens, heads, depth)`."""
        if parts[0] in self.pools:
            kernels = [ops.tile(self.pools[part], (1,) * len(self.positions) + (self.heads,)) for part in parts]
            kernel = ops.cast(ops.concatenate(kernels, axis=-1), x.dtype)
            y = depthwise(ops.reshape(x[:, in_front:], (-1, *self.positions, x.shape[-1])), kernel, stride)
            y = ops.reshape(y, (-1, math.prod(y.shape[1:-1]), x.shape[-1]))
            x = ops.concatenate([x[:, :in_front], y], axis=1) if in_front else y
        depth = self.dim // self.heads
        x = ops.unstack(ops.reshape(x, (-1, x.shape[1], len(parts), self.heads, depth)), axis=2)
        return [norms.pop(0)(part) for part in x] if parts[0] in self.pools else x

    def _bias(self, q, in_front):
        """What the offsets of queries and keys add to their products, `(batch, heads, queries, keys)`."""
        *_, depth = q.shape
        q = q[:, :, in_front:]
        products = []
        for axis, (table, n, m) in enumerate(zip(self.tables, self.queries, self.keys, strict=True)):
            before, after = math.prod(self.queries[:axis]), math.prod(self.queries[axis + 1 :])
            rows = ops.take(table, offsets(n, m).reshape(-1), axis=0)
            rows = ops.cast(ops.reshape(rows, (n, m, depth)), q.dtype)
            by_side = ops.reshape(q, (-1, n, after, depth))
            product = ops.einsum("gnac,nmc->gnam", by_side, rows)
            products.append(ops.reshape(product, (-1, before * n * after, m)))
        # From the places along each side to the positions: a sum, of which a product is the fastest form. The tokens
        # in front have zeros.
        spread = np.pad(places(self.keys), ((0, 0), (in_front, 0)))
        y = ops.concatenate(products, axis=-1)
        if in_front:
            y = ops.pad(y, ((0, 0), (in_front, 0), (0, 0)))
        with keras.name_scope(SUM_BY_PRODUCT):
            y = ops.matmul(y, ops.cast(spread, y.dtype))
        return ops.reshape(y, (-1, self.heads, *y.shape[1:]))

    def compute_output_shape(self, input_shape):
        (batch, count, _), like = input_shape
        grid = tuple(like[1:-1])
        queries = pooled_grid(grid, self.query_window or [1] * len(grid), self.query_stride)
        return (batch, count - math.prod(grid) + math.prod(queries), self.dim)


@showing.made.answer(PoolingAttention)
def _looks(layer, inputs):
    q, k, v = layer._tokens(inputs[0])
    return looks(layer._arguments(q, k, v), layer.queries, layer.keys, in_front=layer._in_front(q))


@fusing.sizes.answer(PoolingAttention)
def _like(layer):
    return (1,)


@fusing.sizes.answer(PooledTokens)
def _like_first(layer):
    return (0,)


@fusing.reads.answer(PoolingAttention)
def _qkv(layer):
    return (fusing.Linear("qkv/kernel", "io", "i", "o", bias="qkv/bias", switch="qkv_bias"),)


@fusing.writes.answer(PoolingAttention)
def _proj(layer):
    return fusing.Linear("proj/kernel", "io", "i", "o", bias="proj/bias")
