"""LeViT's attention, which knows where positions are by the distances between them."""

import numpy as np
from keras import ops

from keras_mlp.layers import GridLayer, by_pair, configs, showing
from keras_mlp.layers.attention import attend, looks


def distances_along(side: int, strides: int) -> np.ndarray:
    """The distance of each key from each query along one side of the keys' grid; every `strides`-th position asks."""
    return np.abs(np.arange(0, side, strides)[:, None] - np.arange(side))


@configs.registered
class DistanceAttention(GridLayer):
    """Attention over all positions of a map, to which each distance adds a number that is learned, head by head.

        y = softmax(q k^T / sqrt(key_dim) + table[|rows|, |columns|]) v

    With strides only some positions ask: those are a map of their own.

    Source: Graham et al. 2021, https://arxiv.org/abs/2104.01136; the order of the channels is their code's.

    Args:
        heads: number of heads.
        key_dim: width of the queries and keys of a head.
        strides: each query stands for this many positions along both sides, and is at the first of them.

    Input shape: `(batch, height, width, channels)`, in the channels head by head its queries, keys and values. With
        `strides > 1` two maps: queries `(batch, ceil(height / strides), …, heads * key_dim)`, and the map with keys and
        values.
    Output shape: `(batch, height, width, heads * values)`, of the height and width of the queries.

    Raises:
        ValueError: the channels are not as many as those numbers say, or the queries not where they should be.
    """

    grid_axes = {"attention_biases": (None, "distances embedding")}

    def __init__(self, heads, key_dim, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.key_dim, self.strides = heads, key_dim, strides
        self._before_values = key_dim * (2 if strides == 1 else 1)

    def build(self, input_shape):
        queries, keys = input_shape if self.strides > 1 else (None, input_shape)
        super().build(keys)
        expected = tuple(-(-side // self.strides) for side in self.grid)
        if queries and tuple(queries[1:]) != (*expected, self.heads * self.key_dim):
            raise ValueError(
                f"With {self.heads} heads of {self.key_dim} channels and strides of {self.strides} the queries of a map "
                f"{self.grid} must be {(*expected, self.heads * self.key_dim)}. Received: {tuple(queries[1:])}"
            )
        of_head, rest = divmod(keys[-1], self.heads)
        if rest or of_head <= self._before_values:
            raise ValueError(
                f"The channels must be the same for each head and more than {self._before_values}. Received: "
                f"heads={self.heads}, key_dim={self.key_dim}, {keys[-1]} channels"
            )
        self.attention_biases = self.add_weight(
            name="attention_biases", shape=(self.heads, self.grid[0] * self.grid[1]), initializer="zeros"
        )

    def _by_head(self, x):
        """A map as `(batch, heads, positions, depth)`."""
        _, height, width, channels = x.shape
        x = ops.reshape(x, (-1, height * width, self.heads, channels // self.heads))
        return ops.transpose(x, (0, 2, 1, 3))

    def call(self, inputs):
        y = attend(*self._arguments(inputs))
        queries = inputs[0] if self.strides > 1 else inputs
        return ops.reshape(y, (-1, *queries.shape[1:3], y.shape[-1]))

    def _arguments(self, inputs):
        """What `attend` is called with: queries, keys, values, scale and bias."""
        if self.strides > 1:
            queries, keys = map(self._by_head, inputs)
            heads = (queries, *ops.split(keys, [self.key_dim], axis=-1))
        else:
            heads = ops.split(self._by_head(inputs), [self.key_dim, 2 * self.key_dim], axis=-1)
        distances = ops.reshape(self.attention_biases, (self.heads, *self.grid))
        bias = by_pair(distances, *(distances_along(side, self.strides) for side in self.grid))
        return (*heads, None, ops.cast(bias, heads[0].dtype))

    def compute_output_shape(self, input_shape):
        queries, keys = input_shape if self.strides > 1 else (input_shape, input_shape)
        return (*queries[:-1], keys[-1] - self.heads * self._before_values)


@showing.made.answer(DistanceAttention)
def _looks(layer, inputs):
    return looks(layer._arguments(inputs), [-(-side // layer.strides) for side in layer.grid], layer.grid)


@showing.weights.answer(DistanceAttention)
def _distances(layer):
    caption = "what a head adds for each distance, 0 in the left upper corner"
    return showing.Pictures(caption, showing.array(layer.attention_biases).reshape(-1, *layer.grid))
