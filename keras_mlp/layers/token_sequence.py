"""Token sequences: the positions of a map or video one after the other, with learned tokens in front of them."""

import math

import keras
from keras import ops

from keras_mlp.layers import fusing
from keras_mlp.layers.configs import registered
from keras_mlp.layers.grid import GridLayer


@registered
class TokenSequence(GridLayer):
    """A map as a sequence of tokens: learned tokens in front, then the positions row by row, each with its embedding.

        y = [t_1, …, t_k, x_1, …, x_n] + E,    separable: E of a position = that of its place + that of its frame

    The embeddings of positions are interpolated for another grid; those of the tokens stay.

    Source: Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929, equation 1; Touvron et al. 2020 (DeiT),
    https://arxiv.org/abs/2012.12877, for a second token; Fan et al. 2021 (MViT), https://arxiv.org/abs/2104.11227, for
    separable embeddings.

    Args:
        tokens: names of the tokens in front, each the name of a weight, such as `("class_token",)`.
        interpolation: of the embeddings, "cubic" (by cubic convolution) or "linear"; those of frames always "linear".
        positions: "joint" for an embedding of each position, "separable" for one of each place in a frame and one of
            each frame, or `None` for no embeddings.

    Input shape: `(batch, height, width, channels)`, or of a video `(batch, frames, height, width, channels)`, all but
        the batch known.
    Output shape: `(batch, tokens + positions, channels)`.

    Raises:
        ValueError: `interpolation` or `positions` is none of these, or a side of the map is unknown.
    """

    takes_videos = True

    def __init__(self, tokens=("class_token",), interpolation="cubic", positions="joint", **kwargs):
        if interpolation not in ("cubic", "linear"):
            raise ValueError(f'`interpolation` must be "cubic" or "linear". Received: {interpolation!r}')
        if positions not in ("joint", "separable", None):
            raise ValueError(f'`positions` must be "joint", "separable" or None. Received: {positions!r}')
        super().__init__(**kwargs)
        self.tokens, self.interpolation, self.positions = tuple(tokens), interpolation, positions
        vectors = "linear" if interpolation == "linear" else "embedding"
        of_grid = {"joint": {"embedding": (vectors, None)}, "separable": {"places": (f"image {vectors}", None)}}
        self.grid_axes = of_grid.get(positions, {})
        self.in_front = len(self.tokens) if positions == "joint" else 0

    def build(self, input_shape):
        super().build(input_shape)
        channels, (*frames, height, width) = input_shape[-1], self.grid
        if frames and self.positions == "separable":  # an image has one frame, whatever its size
            self.grid_axes = self.grid_axes | {"frames": ("frames linear", None)}

        def vectors(name, *count):
            normal = keras.initializers.TruncatedNormal(stddev=0.02)
            return self.add_weight(name=name, shape=(*count, channels), initializer=normal)

        self.learned = [vectors(name) for name in self.tokens]
        if self.positions == "joint":
            self.embedding = vectors("embedding", self.in_front + math.prod(self.grid))
        if self.positions == "separable":
            self.places = vectors("places", height * width)
            self.frames = vectors("frames", math.prod(frames))
            self.of_tokens = [vectors(f"{name}_embedding") for name in self.tokens]

    def call(self, x):
        channels, learned = x.shape[-1], self.learned
        x = ops.reshape(x, (-1, math.prod(self.grid), channels))
        if self.positions == "joint":
            x = x + self.embedding[self.in_front :]
            learned = [token + self.embedding[i] for i, token in enumerate(learned)]
        if self.positions == "separable":
            x = x + ops.reshape(self.frames[:, None] + self.places, (-1, channels))
            learned = [token + embedding for token, embedding in zip(learned, self.of_tokens, strict=True)]
        if not learned:
            return x
        batch = ops.shape(x)[0]
        front = [ops.broadcast_to(ops.convert_to_tensor(token), (batch, 1, channels)) for token in learned]
        return ops.concatenate([*front, x], axis=1)

    def compute_output_shape(self, input_shape):
        batch, *grid, channels = input_shape
        return (batch, len(self.tokens) + math.prod(grid), channels)


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
