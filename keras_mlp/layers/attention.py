"""Self-attention, which vision MLPs are compared with and mixed with."""

import math

import keras
import numpy as np
from keras import ops

from keras_mlp.layers import fusing, initializers, showing
from keras_mlp.layers.composite import Composite
from keras_mlp.layers.configs import registered
from keras_mlp.layers.dense import Dense
from keras_mlp.layers.grid import GridLayer
from keras_mlp.layers.relative_positions import around, relative_bias
from keras_mlp.layers.windows import check_whole, cut_windows, join_windows


def attention(q, k, scale: float | None = None, bias=None, softmax=None):
    """`softmax(scale * q k^T + bias)`, `(groups, heads, n, m)`: what `attend` multiplies the values by."""
    scores = ops.matmul(q * (q.shape[-1] ** -0.5 if scale is None else scale), ops.swapaxes(k, -1, -2))
    if bias is not None:
        scores = bias(scores) if callable(bias) else scores + bias
    return softmax(scores) if softmax else ops.softmax(scores, axis=-1)


def attend(q, k, v, scale: float | None = None, bias=None, softmax=None):
    """`softmax(scale * q k^T + bias) v`, head by head.

    Args:
        q: queries, `(groups, heads, n, depth)`.
        k: keys, `(groups, heads, m, depth)`.
        v: values, `(groups, heads, m, depth of values)`.
        scale: factor on the products of queries and keys; `None` for `1 / sqrt(depth)`.
        bias: tensor to add to the products, which broadcasts to `(groups, heads, n, m)`, or a function of the products;
            `None` for nothing.
        softmax: what makes weights of the sums, along the last axis, in place of the softmax.

    Returns:
        The heads' results beside each other, `(groups, n, heads * depth of values)`.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 1.
    """
    heads, n = q.shape[1:3]
    weights = attention(q, k, scale, bias, softmax)
    y = ops.swapaxes(ops.matmul(weights, v), 1, 2)
    return ops.reshape(y, (-1, n, heads * v.shape[-1]) if n is not None else (*ops.shape(y)[:2], heads * v.shape[-1]))


def looks(arguments, asking, read=None, windows=(1,), in_front: int = 0) -> showing.Pictures:
    """What each head of an attention looks at from the position in the middle, as an answer to `showing.made`.

    Args:
        arguments: what a layer calls `attend` with for one image.
        asking: sides of the grid of queries, such as `(height, width)`; where there are windows, those of a window.
        read: sides of the grid of keys; by default those of the queries. The frames of a video are drawn beside each
            other.
        windows: how many windows there are along each side. The picture is of the one in the middle.
        in_front: how many tokens stand before the positions. They are left out.
    """
    q, k, _, *rest = arguments
    *frames, height, width = asking if read is None else read
    seen = showing.array(attention(q, k, *rest))[_centre(windows), :, in_front + _centre(asking), in_front:]
    seen = np.moveaxis(seen.reshape(len(seen), -1, height, width), 1, 2)
    caption = "what a head looks at from the centre" + (", the frames beside each other" if frames else "")
    return showing.Pictures(caption, seen.reshape(len(seen), height, -1))


def _centre(sides) -> int:
    """The number of the place in the middle of a grid."""
    return int(np.ravel_multi_index([side // 2 for side in sides], tuple(sides)))


def split_heads(x, heads: int, parts: int = 1):
    """Tensors that lie beside each other, as `attend` wants them.

    Args:
        x: `(groups, n, parts * heads * depth)`: of each part all heads, such as queries, keys and values.
        heads: number of heads.
        parts: number of tensors.

    Returns:
        A list of `parts` tensors `(groups, heads, n, depth)`.
    """
    _, n, channels = x.shape
    depth = channels // (parts * heads)
    groups, n = (-1, n) if n is not None else (ops.shape(x)[0], -1)
    return ops.unstack(ops.transpose(ops.reshape(x, (groups, n, parts, heads, depth)), (2, 0, 3, 1, 4)), parts)


@registered
class SelfAttention(Composite):
    """Multi-head self-attention over all positions of a map, or over all tokens of a sequence.

        q, k, v = the three thirds of qkv(x);    y = proj(softmax(q k^T / sqrt(d)) v), head by head,

    where `d = channels / heads`, or `scale` stands in place of `1 / sqrt(d)`. There is no position code.

    Source: Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929, appendix A.

    Args:
        heads: number of heads.
        qkv_bias: whether the first linear layer has a bias.
        kernel_initializer: of both linear layers.
        scale: factor on the products of queries and keys, positive; `None` for `1 / sqrt(d)`.

    Input shape: `(batch, height, width, channels)` or `(batch, tokens, channels)`.
    Output shape: the same.

    Raises:
        ValueError: `heads` does not divide the channels, or `scale` is not positive.
    """

    def __init__(self, heads, qkv_bias=True, kernel_initializer="glorot_uniform", scale=None, **kwargs):
        super().__init__(**kwargs)
        _check_scale(scale)
        self.heads, self.qkv_bias, self.scale = heads, qkv_bias, scale
        self.kernel_initializer = initializers.own(kernel_initializer)

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.heads:
            raise ValueError(f"`heads` must divide the channels. Received: heads={self.heads}, {channels} channels")
        dense = dict(kernel_initializer=self.kernel_initializer, input_shape=(None, channels))
        self.qkv = self.sublayer(Dense, 3 * channels, use_bias=self.qkv_bias, **dense, name="qkv")
        self.proj = self.sublayer(Dense, channels, **dense, name="proj")
        super().build(input_shape)

    def call(self, x):
        return self._attended(x)

    def _attended(self, x, softmax=None):
        y = attend(*self._arguments(x), softmax)
        return self.proj(ops.reshape(y, (-1, *x.shape[1:]) if None not in x.shape[1:] else ops.shape(x)))

    def _arguments(self, x):
        """What `attend` is called with: queries, keys, values, scale and bias."""
        *sides, channels = x.shape[1:]
        positions = (-1, math.prod(sides)) if None not in sides else (ops.shape(x)[0], -1)
        qkv = ops.reshape(self.qkv(x), (*positions, 3 * channels))
        return (*split_heads(qkv, self.heads, 3), self.scale, self._bias())

    def _bias(self):
        """What is added to the products of queries and keys; `None` for nothing."""
        return None

    def compute_output_shape(self, input_shape):
        return input_shape


@fusing.as_base
@registered
class RelativeAttention(SelfAttention, GridLayer):
    """`SelfAttention` over a map, with a learned number for each offset between two positions.

        y = proj(softmax(q k^T / sqrt(d) + b) v), head by head,   b[i, j] of the offset of position i from j

    The numbers are interpolated for another grid, by cubic convolution.

    Source: Liu et al. 2021 (Swin Transformer), https://arxiv.org/abs/2103.14030, equation 4.

    Args:
        heads, qkv_bias, kernel_initializer, scale: as of `SelfAttention`.

    Input shape: `(batch, height, width, channels)`, all but the batch known.
    Output shape: the same.

    Raises:
        ValueError: as of `SelfAttention`; or a side of the map is unknown.
    """

    grid_axes = {"relative_bias": ("offsets embedding", None)}

    def build(self, input_shape):
        super().build(input_shape)
        height, width = self.grid
        shape = ((2 * height - 1) * (2 * width - 1), self.heads)
        start = keras.initializers.TruncatedNormal(stddev=0.02)
        self.relative_bias = self.add_weight(name="relative_bias", shape=shape, initializer=start)

    def _bias(self):
        return relative_bias(self.relative_bias, self.grid, self.compute_dtype)


_PARTS = {1: (3,), 2: (1, 2), 3: (1, 1, 1)}
"""How many of queries, keys and values lie in each of the maps that `MapAttention` is given, by the number of maps."""


@registered
class MapAttention(keras.layers.Layer):
    """Multi-head attention of the positions of a map, whose queries, keys and values are made already.

        y = softmax(scale * q k^T + bias) v, head by head

    It has no weights: the linear layers around it are layers of their own, so keys may come from a smaller map.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 1; Liu et al. 2021 (Swin Transformer),
    https://arxiv.org/abs/2103.14030, section 3.2, for windows.

    Args:
        heads: number of heads.
        window: side of the windows in positions; a position then sees those of its window. `None` for all positions.
        scale: factor on the products of queries and keys, positive; `None` for `1 / sqrt(d)` with `d` channels a head
            in the queries.

    Input shape: one map `(batch, height, width, 3 * channels)` of queries, keys and values; or `[queries, keys and
        values]`; or `[queries, keys, values]`; or, with the number to add to each product, `[queries, keys, values,
        (heads, positions of queries, positions of keys)]`. Keys and values may be of another height and width than the
        queries, but not with windows. Heights and widths may be unknown; with windows they are multiples of `window`.
    Output shape: that of the queries, with the channels of the values.

    Raises:
        ValueError: `heads` does not divide the channels, `scale` is not positive, a known height or width is no
            multiple of `window`, or there are windows and several inputs.
    """

    def __init__(self, heads, window=None, scale=None, **kwargs):
        super().__init__(**kwargs)
        _check_scale(scale)
        self.heads, self.window, self.scale = heads, window, scale

    def build(self, input_shape):
        shapes = _listed(input_shape)
        parts = _PARTS[min(len(shapes), 3)]
        for shape, count in zip(shapes, parts, strict=False):
            if shape[-1] % (count * self.heads):
                raise ValueError(
                    f"`heads` must divide the channels of queries, keys and values. Received: heads={self.heads}, "
                    f"{shape[-1]} channels of {count} of them"
                )
        if self.window:
            if len(shapes) > 1:
                raise ValueError(
                    f"Queries, keys and values of windows must be one map. Received: {len(shapes)} inputs of the "
                    f"shapes {', '.join(map(str, shapes))}, window={self.window}"
                )
            check_whole(shapes[0][1:3], self.window)
        super().build(input_shape)

    def call(self, inputs):
        queries = _listed(inputs)[0]
        y = attend(*self._arguments(inputs))
        _, height, width, _ = ops.shape(queries)
        if self.window:
            return join_windows(y, self.window, height, width)
        known = None not in queries.shape[1:3]
        return ops.reshape(y, (-1 if known else ops.shape(y)[0], height, width, y.shape[-1]))

    def _arguments(self, inputs):
        """What `attend` is called with: queries, keys, values, scale and, where one is given, bias."""
        maps = _listed(inputs)
        counted = zip(maps, _PARTS[min(len(maps), 3)], strict=False)
        heads = [part for x, count in counted for part in split_heads(self._sequence(x), self.heads, count)]
        return (*heads, self.scale, *maps[3:])

    def _sequence(self, x):
        """`(groups, positions, channels)` of a map: a group for each window, or for each image."""
        batch, height, width, channels = ops.shape(x)
        if self.window:
            return ops.reshape(cut_windows(x, self.window), (-1, self.window**2, channels))
        known = None not in x.shape[1:3]
        return ops.reshape(x, (-1, height * width, channels) if known else (batch, -1, channels))

    def compute_output_shape(self, input_shape):
        shapes = _listed(input_shape)
        count = min(len(shapes), 3)
        return (*shapes[0][:-1], shapes[count - 1][-1] // _PARTS[count][-1])


def _check_scale(scale):
    if scale is not None and not scale > 0:
        raise ValueError(f"`scale` of attention must be positive, or None. Received: scale={scale!r}")


def _listed(inputs) -> list:
    """Inputs, or their shapes, as a list where there is one alone."""
    alone = not isinstance(inputs, list | tuple) or inputs[-1] is None or isinstance(inputs[-1], int)
    return [inputs] if alone else list(inputs)


@fusing.reads.answer(SelfAttention)
def _qkv(layer):
    return (fusing.Linear("qkv/kernel", "io", "i", "o", bias="qkv/bias", switch="qkv_bias"),)


@fusing.writes.answer(SelfAttention)
def _proj(layer):
    return fusing.Linear("proj/kernel", "io", "i", "o", bias="proj/bias")


@showing.made.answer(SelfAttention)
def of_heads(layer, x):
    """What each head looks at: in a map from its centre, in a sequence from each token."""
    *sides, _ = x.shape[1:]
    if len(sides) > 1:
        return looks(layer._arguments(x), sides)
    q, k, _, *rest = layer._arguments(x)
    caption = "what a head looks at, from left to right, from each token, from top to bottom"
    return showing.Pictures(caption, showing.array(attention(q, k, *rest))[0])


@showing.made.answer(MapAttention)
def _of_heads_of_maps(layer, inputs):
    maps, side = _listed(inputs), layer.window
    asking, read = (maps[i].shape[1:3] for i in (0, min(1, len(maps) - 1)))
    if side:
        return looks(layer._arguments(inputs), (side, side), windows=[length // side for length in asking])
    return looks(layer._arguments(inputs), asking, read)


@showing.weights.answer(RelativeAttention)
def _offsets(layer):
    return around(layer.relative_bias, layer.grid)
