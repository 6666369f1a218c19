"""Position embedding: a learned vector for each position, added to the token there."""

import keras
from keras import ops

from keras_mlp.layers.configs import registered
from keras_mlp.layers.grid import GridLayer


@registered
class PositionEmbedding(GridLayer):
    """A learned vector for each position, added to it.

    Source: Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929, equation 1.

    Args:
        interpolated: whether the vectors are interpolated for another grid, by cubic convolution, or "linear" for
            linear interpolation. By default they are copied, as all that belongs to a position.

    Input shape: `(batch, height, width, channels)`, all but the batch known. Output shape: the same.
    """

    def __init__(self, interpolated=False, **kwargs):
        super().__init__(**kwargs)
        self.interpolated = interpolated
        over = "linear" if interpolated == "linear" else "embedding" if interpolated else "out"
        self.grid_axes = {"embedding": (over, None)}

    def build(self, input_shape):
        super().build(input_shape)
        start = keras.initializers.TruncatedNormal(stddev=0.02)
        positions = self.grid[0] * self.grid[1]
        self.embedding = self.add_weight(name="embedding", shape=(positions, input_shape[-1]), initializer=start)

    def call(self, x):
        return x + ops.reshape(self.embedding, x.shape[1:])

    def compute_output_shape(self, input_shape):
        return input_shape
