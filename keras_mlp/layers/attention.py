"""Self-attention, which vision MLPs are compared with and mixed with."""

from keras import ops

from keras_mlp.layers import fusing, initializers
from keras_mlp.layers.composite import Composite
from keras_mlp.layers.configs import registered
from keras_mlp.layers.dense import Dense


def attend(qkv, heads: int, scale: float | None = None, bias=None):
    """`softmax(scale * q k^T + bias) v`, head by head.

    Args:
        qkv: queries, keys and values beside each other, `(groups, n, 3 * channels)`.
        heads: number of heads, which divides the channels.
        scale: factor on the products of queries and keys; `None` for `1 / sqrt(channels / heads)`.
        bias: what is done to the products, `(groups, heads, n, n)`, before the softmax; `None` for nothing.

    Returns:
        A tensor `(groups, n, channels)`.
    """
    _, n, channels = qkv.shape
    channels //= 3
    groups, n = (-1, n) if n is not None else (ops.shape(qkv)[0], -1)
    d = channels // heads
    q, k, v = ops.unstack(ops.transpose(ops.reshape(qkv, (groups, n, 3, heads, d)), (2, 0, 3, 1, 4)), 3)
    scores = ops.matmul(q * (d**-0.5 if scale is None else scale), ops.swapaxes(k, -1, -2))
    y = ops.matmul(ops.softmax(bias(scores) if bias else scores, axis=-1), v)
    return ops.reshape(ops.swapaxes(y, 1, 2), (groups, n, channels))


@registered
class SelfAttention(Composite):
    """Multi-head self-attention over all positions of a map.

        q, k, v = the three thirds of qkv(x);    y = proj(softmax(q k^T / sqrt(d)) v), head by head,

    where `d = channels / heads`, or `scale` stands in place of `1 / sqrt(d)`. There is no position code.

    Source: Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929, appendix A.

    Args:
        heads: number of heads.
        qkv_bias: whether the first linear layer has a bias.
        kernel_initializer: of both linear layers.
        scale: factor on the products of queries and keys, positive; `None` for `1 / sqrt(d)`.

    Input shape: `(batch, height, width, channels)`.
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
        height, width, channels = x.shape[1:]
        known = None not in (height, width)
        positions = (-1, height * width) if known else (ops.shape(x)[0], -1)
        y = attend(ops.reshape(self.qkv(x), (*positions, 3 * channels)), self.heads, self.scale)
        return self.proj(ops.reshape(y, (-1, height, width, channels) if known else ops.shape(x)))

    def compute_output_shape(self, input_shape):
        return input_shape


@fusing.reads.answer(SelfAttention)
def _qkv(layer):
    return (fusing.Linear("qkv/kernel", "io", "i", "o", bias="qkv/bias", switch="qkv_bias"),)


@fusing.writes.answer(SelfAttention)
def _proj(layer):
    return fusing.Linear("proj/kernel", "io", "i", "o", bias="proj/bias")
