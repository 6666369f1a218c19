"""What DynamicViT adds to a backbone: scores of tokens, the choice among them, and how a network goes on after it.

In inference a choice keeps the tokens of the best scores, a fixed number of them, so that all shapes are static. In
training every token stays, and a mask says which ones count: a draw (Gumbel-softmax) decides for each token by itself,
so that the mask has gradients.
"""

import math

import keras
from keras import ops

from keras_mlp.layers import SelfAttention, fusing, showing
from keras_mlp.layers.attention import of_heads
from keras_mlp.layers.configs import registered


def gathered(x, index):
    """`x[b, index[b, i]]`, as one look-up in a flat table.

    Args:
        x: `(batch, n, ...)`.
        index: integers `(batch, m)`.

    Returns:
        A tensor `(batch, m, ...)`.
    """
    batch, n, *rest = ops.shape(x)
    m = ops.shape(index)[1]
    rows = index + ops.expand_dims(ops.arange(batch, dtype="int32") * n, 1)
    return ops.reshape(ops.take(ops.reshape(x, (-1, *rest)), ops.reshape(rows, (-1,)), axis=0), (-1, m, *rest))


def descending(values):
    """Integers `(batch, n)`: the positions of `values`, of the same shape, from the largest to the smallest."""
    n = values.shape[1]
    return ops.cast(ops.argsort(-values, axis=1) if n is None else ops.top_k(values, n)[1], "int32")


def inverse(order):
    """Where each number from 0 on stands in `order`, integers `(batch, n)`."""
    return descending(-ops.cast(order, "float32"))


def counted(n, ratio: float):
    """`int(n * ratio)` in double precision, of a number or of a tensor."""
    if isinstance(n, int):
        return int(n * ratio)
    return ops.cast(ops.floor(ops.cast(n, "float64") * ratio), "int32")


@registered
class PatchTokens(keras.layers.Layer):
    """The tokens of a sequence without the class token in front.

    Input shape: `(batch, 1 + tokens, channels)`.
    Output shape: `(batch, tokens, channels)`.
    """

    def call(self, x):
        return x[:, 1:]

    def compute_output_shape(self, input_shape):
        batch, tokens, channels = input_shape
        return (batch, tokens - 1, channels)


@registered
class LocalAndGlobal(keras.layers.Layer):
    """The first half of the channels as it is, the second half as its mean over the positions.

    Source: Rao et al. 2021 (DynamicViT), https://arxiv.org/abs/2106.02034.

    Input shape: tokens `(batch, tokens, channels)` or a map `(batch, height, width, channels)`; or `[tokens, (batch, 1 +
        tokens)]` with a number for the class token and each token, by which in training the mean is weighted. In
        inference all tokens that are left count.
    Output shape: that of the tokens or of the map.
    """

    def call(self, inputs, training=None):
        x, policy = inputs if isinstance(inputs, list | tuple) else (inputs, None)
        local, rest = ops.split(x, [x.shape[-1] // 2], axis=-1)
        axes = tuple(range(1, len(x.shape) - 1))
        if training and policy is not None:
            share = ops.expand_dims(ops.cast(policy[:, 1:], rest.dtype), -1)
            # Where no token is left the reference divides 0 by 0.
            total = ops.maximum(ops.sum(share, axis=1, keepdims=True), keras.config.epsilon())
            mean = ops.sum(rest * share, axis=1, keepdims=True) / total
        else:
            mean = ops.mean(rest, axis=axes, keepdims=True)
        return ops.concatenate([local, ops.broadcast_to(mean, ops.shape(rest))], axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape if isinstance(input_shape[-1], int) else input_shape[0]


class Choice(keras.layers.Layer):
    """Base of the layers that choose tokens by scores.

    The share of tokens that a draw keeps has its loss: `ratio_weight` times the mean over the images of `(share -
    ratio)²`.

    Args:
        ratio: which part of the first grid's tokens is kept, between 0 and 1.
        ratio_weight: weight of the loss of that share in training.
        noise: whether the decisions of training are drawn. Without noise the larger of the two scores decides.
        seed: of the draws.
    """

    def __init__(self, ratio, ratio_weight=2.0, noise=True, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 < ratio < 1:
            raise ValueError(f"`ratio` of the tokens to keep must be between 0 and 1. Received: ratio={ratio!r}")
        self.ratio, self.ratio_weight, self.noise, self.seed = ratio, ratio_weight, noise, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def _preference(self, scores):
        """By how much "keep" is before "drop", `(batch, n)`: it orders as the first log-probability does."""
        flat = ops.cast(scores, "float64" if self.compute_dtype == "float64" else "float32")
        if len(scores.shape) > 3:
            known = None not in scores.shape[1:3]
            flat = ops.reshape(flat, (-1, math.prod(scores.shape[1:3]), 2) if known else (ops.shape(scores)[0], -1, 2))
        return flat[..., 0] - flat[..., 1]

    def _drawn(self, preference, previous=None):
        """Decisions `(batch, n)`, 0 or 1, by a hard Gumbel-softmax of temperature 1; their gradient is the soft one's.

        The difference of two Gumbel variables is logistic.

        Source: Jang et al. 2016, https://arxiv.org/abs/1611.01144.
        """
        if self.noise:
            shape, least = ops.shape(preference), 1e-6
            u = keras.random.uniform(shape, least, 1.0 - least, dtype=preference.dtype, seed=self.seed_generator)
            preference = preference + ops.log(u) - ops.log(1.0 - u)
        soft = ops.sigmoid(preference)
        hard = ops.cast(preference > 0, soft.dtype)
        keep = soft + ops.stop_gradient(hard - soft)
        keep = keep if previous is None else keep * ops.cast(previous, keep.dtype)
        share = ops.mean(keep, axis=1)
        lost = self.ratio_weight * ops.mean(ops.square(share - self.ratio))
        self.add_loss(ops.cast(lost, keras.config.floatx()))  # as Keras' losses are, to which it is added
        return keep


@registered
class KeepTokens(Choice):
    """The tokens of the best scores go on, with the class token; the others are laid aside.

    In training all go on, in place, and a mask tells which are kept. A token that was dropped once stays dropped.

    Source: Rao et al. 2021 (DynamicViT), https://arxiv.org/abs/2106.02034.

    Args:
        ratio, ratio_weight, noise, seed: as of `Choice`.

    Input shape: a list of the sequence `(batch, 1 + tokens, channels)`, the tokens' scores `(batch, tokens, 2)` for "keep"
        and "drop", and a map of the first grid, `(batch, height, width, …)`; after it what the `KeepTokens` before gave
        beside its sequence.
    Output shape: a list of
        the sequence `(batch, 1 + kept, channels)`, tokens in the order of their scores;
        the mask `(batch, 1 + kept)`, of use in training alone;
        the places on the grid of the tokens kept and after them of those laid aside, `(batch, height * width)`;
        the tokens laid aside, `(batch, height * width - kept, channels)`.

    Raises:
        ValueError: `ratio` is not between 0 and 1, or keeps no token of the grid.
    """

    def call(self, inputs, training=None):
        x, scores, grid, *before = inputs
        policy, places, aside = before or (None, None, None)
        preference = self._preference(scores)
        if training:
            keep = self._drawn(preference, None if policy is None else policy[:, 1:])
            mask = ops.concatenate([ops.ones_like(keep[:, :1]), keep], axis=1)
            if places is None:
                places = ops.cumsum(ops.ones_like(preference, dtype="int32"), axis=1) - 1
            return [x, ops.cast(mask, self.compute_dtype), places, x[:, :0] if aside is None else aside]
        n = x.shape[1] - 1
        kept = counted(math.prod(grid.shape[1:3]), self.ratio)
        if not 0 < kept <= n:
            raise ValueError(
                f"`keep_rate` must leave tokens, and not more than there are. Received: a rate of {self.ratio} of "
                f"{math.prod(grid.shape[1:3])} tokens, which keeps {kept} of the {n} that are left"
            )
        order = descending(preference)
        tokens = gathered(x[:, 1:], order)
        here = order if places is None else gathered(places[:, :n], order)
        # In the order of their laying aside, the last first: they follow those kept, as the places do.
        laid, there = [tokens[:, kept:]], [here]
        if places is not None:
            laid, there = [*laid, aside], [here, places[:, n:]]
        x = ops.concatenate([x[:, :1], tokens[:, :kept]], axis=1)
        return [x, ops.ones_like(x[..., 0]), ops.concatenate(there, axis=1), ops.concatenate(laid, axis=1)]


@registered
class InPlace(keras.layers.Layer):
    """All tokens back on their places: those kept to the end, and those laid aside with the value that they had then.

    Input shape: a list of the sequence of all tokens, `(batch, 1 + height * width, channels)`, the class token first; their
        places, `(batch, height * width)`; a map of the grid's size, `(batch, height, width, …)`; and a sequence as long as
        that of the tokens kept, `(batch, 1 + kept, …)`.
    Output shape: a list of the map `(batch, height, width, channels)`, the class token `(batch, channels)`, and the tokens
        kept, `(batch, kept, channels)`.
    """

    def call(self, inputs):
        x, places, grid, kept = inputs
        _, height, width, _ = grid.shape
        y = ops.reshape(gathered(x[:, 1:], inverse(places)), (-1, height, width, x.shape[-1]))
        return [y, x[:, 0], x[:, 1 : kept.shape[1]]]

    def compute_output_shape(self, input_shape):
        x, _, grid, kept = input_shape
        return [(*grid[:3], x[-1]), (x[0], x[-1]), (x[0], kept[1] - 1, x[-1])]


@fusing.as_base
@registered
class PolicyAttention(SelfAttention):
    """`SelfAttention` that in training leaves out tokens by a mask.

        weights[i, j] = (e[i, j] + 1e-6 / n) / (sum_j e[i, j] + 1e-6),   e[i, j] = exp(a[i, j] - max_j a[i, j]) P[i, j]

    of the products `a` of queries and keys, where `P[i, j]` is 1 for `i = j` and the mask of token `j` elsewhere. In
    inference there is no mask, because what it leaves out is not there.

    Source: Rao et al. 2021 (DynamicViT), https://arxiv.org/abs/2106.02034.

    Args:
        heads, qkv_bias, kernel_initializer, scale: as of `SelfAttention`.

    Input shape: `[tokens, mask]`, `(batch, tokens, channels)` and `(batch, tokens)`.
    Output shape: that of the tokens.
    """

    def build(self, input_shape):
        super().build(input_shape[0])

    def call(self, inputs, training=None):
        x, policy = inputs
        return self._attended(x, _softmax_of(policy) if training else None)

    def compute_output_shape(self, input_shape):
        return input_shape[0]


def _softmax_of(policy, epsilon=1e-6):
    def softmax(scores):
        precise = "float64" if scores.dtype == "float64" else "float32"
        a, n = ops.cast(scores, precise), scores.shape[-1]
        seen = ops.cast(policy, precise)[:, None, None, :]
        seen = seen + (1.0 - seen) * ops.eye(n, dtype=precise)
        e = ops.exp(a - ops.stop_gradient(ops.max(a, axis=-1, keepdims=True))) * seen
        return ops.cast((e + epsilon / n) / (ops.sum(e, axis=-1, keepdims=True) + epsilon), scores.dtype)

    return softmax


@registered
class ChoosePositions(Choice):
    """Which positions of a map take the slow path, those of the best scores, and which the fast one.

    Source: Rao et al. 2022 (journal version of DynamicViT), https://arxiv.org/abs/2207.01580.

    Args:
        ratio, ratio_weight, noise, seed: as of `Choice`.

    Input shape: scores `(batch, height, width, 2)` of the slow and of the fast path.
    Output shape: a list of, for inference, the positions from the best to the worst and where each stands in that order, `(batch,
        height * width)` both; for training the mask of the slow ones, `(batch, height, width, 1)`.
    """

    def call(self, scores, training=None):
        preference = self._preference(scores)
        whole = (*ops.shape(scores)[:3], 1)
        if training:
            mask = ops.cast(ops.reshape(self._drawn(preference), whole), self.compute_dtype)
            order = ops.cumsum(ops.ones_like(preference, dtype="int32"), axis=1) - 1
            return [order, order, mask]
        order = descending(preference)
        return [order, inverse(order), ops.ones(whole, dtype=self.compute_dtype)]


@registered
class MixStreams(keras.layers.Layer):
    """The map that each position's own path made of it.

    In training there are two maps, one of each path; in inference one, the first.

    Input shape: `[slow, fast, mask]`, two maps `(batch, height, width, channels)` and a mask `(batch, height, width, 1)`.
    Output shape: that of a map.
    """

    def call(self, inputs, training=None):
        slow, fast, mask = inputs
        return slow * mask + fast * (1.0 - mask) if training else slow

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@registered
class SplitPaths(keras.layers.Layer):
    """The positions of a map in two sequences, for the slow and for the fast path.

    In training both sequences have all positions: those of the other path keep what the stream had before.

    Args:
        ratio: which part of the positions takes the slow path.

    Input shape: a list of a map `(batch, height, width, channels)`, the two streams before it, of the same shape, and what
        `ChoosePositions` gives.
    Output shape: `(batch, slow ones, channels)` and `(batch, fast ones, channels)`, from the best to the worst.
    """

    def __init__(self, ratio, **kwargs):
        super().__init__(**kwargs)
        self.ratio = ratio

    def call(self, inputs, training=None):
        x, slow, fast, order, _, mask = inputs
        batch, height, width, channels = ops.shape(x)
        known = None not in x.shape[1:3]

        def flat(y):
            return ops.reshape(y, (-1, height * width, channels) if known else (batch, -1, channels))

        if training:
            return [flat(x * mask + slow * (1.0 - mask)), flat(x * (1.0 - mask) + fast * mask)]
        positions = gathered(flat(x), order)
        k = counted(height * width, self.ratio)
        return [positions[:, :k], positions[:, k:]]

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape[0]
        n = None if None in (height, width) else height * width
        k = None if n is None else counted(n, self.ratio)
        return [(batch, k, channels), (batch, None if n is None else n - k, channels)]


@registered
class JoinPaths(keras.layers.Layer):
    """The way back from `SplitPaths`: each position in its place, for both streams.

    Input shape: a list of the two sequences, what `ChoosePositions` gives, and a map of the size to return to.
    Output shape: two maps `(batch, height, width, channels)`; in inference they are the same.
    """

    def call(self, inputs, training=None):
        slow, fast, _, back, _, like = inputs
        _, height, width, _ = ops.shape(like)
        known = None not in like.shape[1:3]

        def unfolded(y):
            batch = -1 if known else ops.shape(like)[0]
            return ops.reshape(y, (batch, height, width, y.shape[-1]))

        if training:
            return [unfolded(slow), unfolded(fast)]
        y = unfolded(gathered(ops.concatenate([slow, fast], axis=1), back))
        return [y, y]

    def compute_output_shape(self, input_shape):
        shape = (*input_shape[5][:-1], input_shape[0][-1])
        return [shape, shape]


@fusing.sizes.answer(KeepTokens)
def _grid(layer):
    return (2,)


@fusing.sizes.answer(InPlace)
def _grid_and_kept(layer):
    return (2, 3)


@fusing.sizes.answer(JoinPaths)
def _like(layer):
    return (5,)


@fusing.beside.answer(PolicyAttention)
def _mask(layer):
    return (1,)


@showing.made.answer(PolicyAttention)
def _looks(layer, inputs):
    return of_heads(layer, inputs[0])
