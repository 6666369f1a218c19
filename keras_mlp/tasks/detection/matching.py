"""Matches of candidates (anchors or proposals) and boxes, and the choice of those to learn from."""

import dataclasses

import keras
from keras import ops

from keras_mlp.tasks.detection import boxes

NEGATIVE, IGNORED = -1, -2
"""Matches of candidates without a box: those that are learnt as ground, and those that the loss leaves out."""


@dataclasses.dataclass(frozen=True)
class Matcher:
    """Matches candidates and boxes by their intersection over union, as mmdetection's `MaxIoUAssigner`.

    A candidate belongs to the box that it overlaps most if that is at least `positive`, and to none if it is below
    `negative`. Between both it is ignored. Then each box takes the candidates that overlap it most, all of equal ones,
    if these do so by `lowest` at least; of several boxes the last takes them.

    Args:
        positive: overlap, 0–1, from which a candidate belongs to a box.
        negative: overlap below which it is negative, at most `positive`.
        lowest: overlap from which a box takes its best candidates; `None` for no such step. A box that no candidate
            touches takes none.

    Raises:
        ValueError: `negative` is above `positive`.
    """

    positive: float = 0.5
    negative: float = 0.4
    lowest: float | None = 0.0

    def __post_init__(self):
        if self.negative > self.positive:
            raise ValueError(
                "`negative` must be at most `positive`, or a candidate would be both. Received: "
                f"positive={self.positive}, negative={self.negative}"
            )

    def __call__(self, candidates, truth, labels):
        """Match the candidates of each image.

        Args:
            candidates: `(n, 4)`, the same for all images, or `(batch, n, 4)`.
            truth: boxes `(batch, m, 4)`, padded to at least one.
            labels: their labels `(batch, m)`, -1 for padding.

        Returns:
            Integers `(batch, n)`: the number of the box, `NEGATIVE` or `IGNORED`.
        """
        overlaps = boxes.iou(ops.expand_dims(truth, 2), ops.expand_dims(candidates, -3))
        overlaps = ops.where(ops.expand_dims(labels >= 0, -1), overlaps, -1)
        best = ops.max(overlaps, axis=1)
        found = ops.where(best < self.negative, NEGATIVE, IGNORED)
        found = ops.where(best >= self.positive, ops.cast(ops.argmax(overlaps, axis=1), "int32"), found)
        if self.lowest is None:
            return found
        best = ops.max(overlaps, axis=2, keepdims=True)
        takes = ops.logical_and(overlaps == best, ops.logical_and(best >= self.lowest, best > 0))
        numbers = ops.reshape(ops.arange(ops.shape(truth)[1], dtype="int32"), (1, -1, 1))
        taken = ops.max(ops.where(takes, numbers, NEGATIVE), axis=1)
        return ops.where(taken >= 0, taken, found)


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Draws some of an image's candidates, at random among the positive and the negative ones.

    Args:
        count: how many.
        positives: share of them, 0–1, that are positive at most; negative ones take the place of missing ones.
    """

    count: int
    positives: float

    def __call__(self, matches, seed=None):
        """Draw from the candidates of each image.

        Args:
            matches: `(batch, n)`, what a `Matcher` gives; `n` is known.
            seed: a `keras.random.SeedGenerator`, or `None` to take the first ones.

        Returns:
            `(indices, matches)`, both `(batch, k)` integers with `k` the smaller of `count` and `n`, positive ones
            first: which candidates, and what they are matched to. Where there are too few, they are `IGNORED`.
        """
        n = matches.shape[1]
        # Both halves of what is drawn are of one ranking: the highest keys are taken.
        if seed is None:
            keys = ops.broadcast_to(1 - ops.arange(n, dtype="float32") / n, ops.shape(matches))
        else:
            keys = keras.random.uniform(ops.shape(matches), seed=seed, dtype="float32")
        count = min(self.count, n)
        positive = matches >= 0
        last = ops.top_k(ops.where(positive, keys, -1), max(1, min(int(self.count * self.positives), n)))[0][:, -1:]
        positive = ops.logical_and(positive, keys >= last)
        rank = ops.where(positive, 2 + keys, ops.where(matches == NEGATIVE, keys, -1))
        rank, indices = ops.top_k(rank, count)
        return ops.cast(indices, "int32"), ops.where(rank >= 0, boxes.select(matches, indices), IGNORED)
