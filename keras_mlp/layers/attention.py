"""Self-attention, which vision MLPs are compared with and mixed with."""

from keras import ops

from keras_mlp.layers import fusing, initializers
from keras_mlp.layers.composite import Composite
from keras_mlp.layers.configs import registered
from keras_mlp.layers.dense import Dense


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
        width_per_head = channels // self.heads
        known = None not in (height, width)
        batch, positions = (-1, height * width) if known else (ops.shape(x)[0], -1)
        qkv = ops.reshape(self.qkv(x), (batch, positions, 3, self.heads, width_per_head))
        q, k, v = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)
        scale = width_per_head**-0.5 if self.scale is None else self.scale
        weights = ops.softmax(ops.matmul(q * scale, ops.swapaxes(k, -1, -2)), axis=-1)
        y = ops.swapaxes(ops.matmul(weights, v), 1, 2)
        return self.proj(ops.reshape(y, (-1, height, width, channels) if known else ops.shape(x)))

    def compute_output_shape(self, input_shape):
        return input_shape


@fusing.reads.answer(SelfAttention)
def _qkv(layer):
    return (fusing.Linear("qkv/kernel", "io", "i", "o", bias="qkv/bias", switch="qkv_bias"),)


@fusing.writes.answer(SelfAttention)
def _proj(layer):
    return fusing.Linear("proj/kernel", "io", "i", "o", bias="proj/bias")
