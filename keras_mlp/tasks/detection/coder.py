"""Deltas: the way from one box to another as four numbers, which a head can learn."""

import dataclasses
import math

import keras
from keras import ops

from keras_mlp.tasks.detection import boxes

LARGEST = -math.log(16 / 1000)
"""Logarithm by which a side grows or shrinks at most when it is decoded, so that no number overflows."""


@dataclasses.dataclass(frozen=True)
class BoxCoder:
    """Shift of the centre in sides of the box, and logarithms of what the sides grow by.

    Args:
        stds: what the four numbers are divided by, so that they are about 1.

    Source: Girshick et al. 2013, https://arxiv.org/abs/1311.2524, appendix C, with the clamp of mmdetection's
    `DeltaXYWHBBoxCoder`.
    """

    stds: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    def encode(self, start, end):
        """The deltas from boxes `start` to boxes `end`, both `(…, 4)`: `(…, 4)`.

        Boxes without width or height, such as padding, are taken to be one pixel wide or high.
        """
        sides_before, sides_after = (_positive(boxes.sides(box)) for box in (start, end))
        shift = (_centres(end) - _centres(start)) / sides_before
        growth = ops.log(sides_after / sides_before)
        return ops.concatenate([shift, growth], axis=-1) / self._stds(start)

    def decode(self, start, deltas):
        """The boxes that `deltas` lead to from boxes `start`, in shapes `(…, 4)` that broadcast.

        They may reach out of the image: `boxes.clip` follows.
        """
        deltas = deltas * self._stds(deltas)
        before = boxes.sides(start)
        centres = _centres(start) + before * deltas[..., :2]
        half = before * ops.exp(ops.clip(deltas[..., 2:], -LARGEST, LARGEST)) * 0.5
        return ops.concatenate([centres - half, centres + half], axis=-1)

    def _stds(self, like):
        return ops.convert_to_tensor(self.stds, dtype=keras.backend.standardize_dtype(like.dtype))


def _centres(box):
    return (box[..., :2] + box[..., 2:]) * 0.5


def _positive(lengths):
    return ops.where(lengths > 0, lengths, 1)
