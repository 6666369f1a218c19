"""Token sequences: the positions of a map one after the other, with learned tokens in front of them."""

import math

import keras
from keras import ops

from keras_mlp.layers import fusing
from keras_mlp.layers.configs import registered
from keras_mlp.layers.grid import GridLayer


@registered
class TokenSequence(GridLayer):
    """A map as a sequence of tokens: learned tokens in front, then the positions row by row, each with its embedding.

        y = [t_1, …, t_k, x_1, …, x_n] + E

    The embeddings of positions are interpolated for another grid; those of the tokens stay.

    Source: Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929, equation 1; Touvron et al. 2020 (DeiT),
    https://arxiv.org/abs/2012.12877, for a second token.

    Args:
        tokens: names of the tokens in front, each the name of a weight, such as `("class_token",)`.
        interpolation: of the embeddings, "cubic" (by cubic convolution) or "linear".

    Input shape: `(batch, height, width, channels)`, all but the batch known.
    Output shape: `(batch, tokens + height * width, channels)`.

    Raises:
        ValueError: `interpolation` is neither, or a side of the map is unknown.
    """

    def __init__(self, tokens=("class_token",), interpolation="cubic", **kwargs):
        if interpolation not in ("cubic", "linear"):
            raise ValueError(f'`interpolation` must be "cubic" or "linear". Received: {interpolation!r}')
        super().__init__(**kwargs)
        self.tokens, self.interpolation = tuple(tokens), interpolation
        self.grid_axes = {"embedding": ("linear" if interpolation == "linear" else "embedding", None)}
        self.in_front = len(self.tokens)

    def build(self, input_shape):
        super().build(input_shape)
        channels, normal = input_shape[-1], lambda: keras.initializers.TruncatedNormal(stddev=0.02)
        self.learned = [self.add_weight(name=name, shape=(channels,), initializer=normal()) for name in self.tokens]
        rows = self.in_front + self.grid[0] * self.grid[1]
        self.embedding = self.add_weight(name="embedding", shape=(rows, channels), initializer=normal())

    def call(self, x):
        height, width, channels = x.shape[1:]
        x = ops.reshape(x, (-1, height * width, channels))
        x = x + self.embedding[self.in_front :]
        learned = [token + self.embedding[i] for i, token in enumerate(self.learned)]
        batch = ops.shape(x)[0]
        front = [ops.broadcast_to(token, (batch, 1, channels)) for token in learned]
        return ops.concatenate([*front, x], axis=1)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, self.in_front + height * width, channels)


@registered
class SequenceToMap(keras.layers.Layer):
    """The way back from a sequence of tokens to a map: the tokens in front are left out.

    Input shape: tokens `(batch, tokens + height * width, channels)`, and a map of the height and width to return to; of
        a video, one with the frames before them.
    Output shape: `(batch, height, width, channels)`, with the tokens' channels.
    """

    def call(self, inputs):
        tokens, like = inputs
        _, *sides, _ = ops.shape(like)
        return ops.reshape(tokens[:, -math.prod(sides) :], (-1, *sides, tokens.shape[-1]))

    def compute_output_shape(self, input_shape):
        tokens, like = input_shape
        return (*like[:-1], tokens[-1])


@registered
class SequenceSplit(keras.layers.Layer):
    """A sequence of tokens taken apart: the map of the positions, and each token in front of them.

    A model that goes on from a token alone passes the map all the same, so that `feature_pyramid` finds it there.

    Args:
        tokens: how many tokens stand in front, at least one.

    Input shape: tokens `(batch, tokens + height * width, channels)`, and a map of the height and width to return to; of
        a video, one with the frames before them.
    Output shape: a list: the map, `(batch, height, width, channels)`, and `(batch, channels)` for each token in front.
    """

    def __init__(self, tokens=1, **kwargs):
        super().__init__(**kwargs)
        self.tokens = tokens

    def call(self, inputs):
        tokens, like = inputs
        _, *sides, _ = ops.shape(like)
        positions = ops.reshape(tokens[:, self.tokens :], (-1, *sides, tokens.shape[-1]))
        return [positions, *(tokens[:, i] for i in range(self.tokens))]

    def compute_output_shape(self, input_shape):
        tokens, like = input_shape
        return [(*like[:-1], tokens[-1]), *[(tokens[0], tokens[-1])] * self.tokens]


@fusing.sizes.answer(SequenceToMap, SequenceSplit)
def _like(layer):
    return (1,)
