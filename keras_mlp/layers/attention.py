"""Self-attention, which vision MLPs are compared with and mixed with."""

import math

from keras import ops

from keras_mlp.layers import fusing, initializers
from keras_mlp.layers.composite import Composite
from keras_mlp.layers.configs import registered
from keras_mlp.layers.dense import Dense


def attend(q, k, v, scale: float | None = None, bias=None):
    """`softmax(scale * q k^T + bias) v`, head by head.

    Args:
        q: queries, `(groups, heads, n, depth)`.
        k: keys, `(groups, heads, m, depth)`.
        v: values, `(groups, heads, m, depth of values)`.
        scale: factor on the products of queries and keys; `None` for `1 / sqrt(depth)`.
        bias: tensor to add to the products, which broadcasts to `(groups, heads, n, m)`, or a function of the products;
            `None` for nothing.

    Returns:
        The heads' results beside each other, `(groups, n, heads * depth of values)`.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 1.
    """
    heads, n, depth = q.shape[1:]
    scores = ops.matmul(q * (depth**-0.5 if scale is None else scale), ops.swapaxes(k, -1, -2))
    if bias is not None:
        scores = bias(scores) if callable(bias) else scores + bias
    y = ops.swapaxes(ops.matmul(ops.softmax(scores, axis=-1), v), 1, 2)
    return ops.reshape(y, (-1, n, heads * v.shape[-1]) if n is not None else (*ops.shape(y)[:2], heads * v.shape[-1]))


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
        if scale is not None and not scale > 0:
            raise ValueError(f"`scale` of attention must be positive, or None. Received: scale={scale!r}")
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
        *sides, channels = x.shape[1:]
        known = None not in sides
        positions = (-1, math.prod(sides)) if known else (ops.shape(x)[0], -1)
        qkv = ops.reshape(self.qkv(x), (*positions, 3 * channels))
        y = attend(*split_heads(qkv, self.heads, 3), self.scale)
        return self.proj(ops.reshape(y, (-1, *sides, channels) if known else ops.shape(x)))

    def compute_output_shape(self, input_shape):
        return input_shape


@fusing.reads.answer(SelfAttention)
def _qkv(layer):
    return (fusing.Linear("qkv/kernel", "io", "i", "o", bias="qkv/bias", switch="qkv_bias"),)


@fusing.writes.answer(SelfAttention)
def _proj(layer):
    return fusing.Linear("proj/kernel", "io", "i", "o", bias="proj/bias")
