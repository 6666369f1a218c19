"""Shifts: groups of channels moved along an axis by different distances."""

import keras
import numpy as np
from keras import ops

from keras_mlp.layers import fusing
from keras_mlp.layers.configs import registered, with_config
from keras_mlp.layers.parts import part, pieces
from keras_mlp.layers.sizes import check_side


@with_config
class _Shift(keras.layers.Layer):
    """Groups of channels moved along the height or the width, zeros coming in from outside."""

    def __init__(self, side, size, **kwargs):
        check_side(side)
        if size < 1 or size % 2 == 0:
            raise ValueError(f"`size` must be a positive odd number. Received: size={size!r}")
        super().__init__(**kwargs)
        self.side, self.size = side, size

    def _windows(self, x, most):
        """What is seen `shift` positions before each position, as a function of the shift, -most ≤ shift ≤ most."""
        axis = 1 if self.side == "height" else 2
        pads = [(most, most) if i == axis else (0, 0) for i in range(4)]
        padded, length = ops.pad(x, pads), ops.shape(x)[axis]

        def window(shift, channels=None):
            ranges = {axis: (most - shift, length)}
            return part(padded, ranges if channels is None else ranges | {3: channels})

        return window

    def compute_output_shape(self, input_shape):
        return input_shape


@registered
class AxialShift(_Shift):
    """Groups of neighbouring channels moved along the height or the width, zeros coming in from outside.

    The channels are cut into `size` groups of `ceil(channels / size)` (the last ones are smaller or missing), and group
    `g` moves by `k = (g - size // 2) * dilation` positions towards larger indices: `y[i] = x[i - k]`.

    Source: Lian et al. 2021 (AS-MLP), section 3.2.

    Args:
        side: "height" or "width".
        size: number of groups, odd; 1 for no shift.
        dilation: distance between neighbouring groups, in positions.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: the same.

    Raises:
        ValueError: `side` is neither, or `size` is not a positive odd number.
    """

    def __init__(self, side, size, dilation=1, **kwargs):
        super().__init__(side, size, **kwargs)
        self.dilation = dilation

    def call(self, x):
        if self.size == 1:
            return x
        half, groups = self.size // 2, pieces(x.shape[-1], self.size)
        window = self._windows(x, half * self.dilation)
        return ops.concatenate([window((g - half) * self.dilation, group) for g, group in enumerate(groups)], -1)


@registered
class CycleShift(_Shift):
    """Channels moved in turn along the height or the width, zeros coming in from outside.

        y[i] of channel c = x[i + (c + size // 2) % size - size // 2] of channel c

    With `size` 3, channels 0, 1, 2, 3, … read 0, 1, -1, 0, … positions further on. A linear layer over the channels
    after it is the paper's Cycle FC.

    Source: Chen et al. 2021 (CycleMLP), section 3.2; the phase is that of the authors' code, not of their figure.

    Args:
        side: "height" or "width".
        size: number of positions that are read, odd.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: the same.

    Raises:
        ValueError: `side` is neither, or `size` is not a positive odd number.
    """

    def call(self, x):
        half = self.size // 2
        window, offset = self._windows(x, half), (np.arange(x.shape[-1]) + half) % self.size - half
        # Channels that lie apart are slow to gather and to put back; whole maps times 0 or 1 are fast, and XLA makes
        # one pass of them.
        return sum(window(-d) * ops.convert_to_tensor(offset == d, x.dtype) for d in range(-half, half + 1))


_MOVES = {"up": (1, -1), "down": (1, 1), "left": (2, -1), "right": (2, 1)}
"""For each way to move the axis, and whether to larger or to smaller indices."""


@registered
class PixelShift(keras.layers.Layer):
    """Groups of channels moved by one position, each its own way; the other channels stay.

        y[h, w] = x[h + 1, w] in a group that moves "up", x[h - 1, w] in one that moves "down", x[h, w + 1] in one that
        moves "left", x[h, w - 1] in one that moves "right", and x[h, w] in the channels after all groups

    A group has `channels // parts` channels. Where it would have none, nothing moves.

    Source: Wang et al. 2022 (ShiftViT), https://arxiv.org/abs/2201.10801, whose moves are the default. With four parts,
    "replicate" and other orders it is the spatial shift of Yu et al. 2021 (S²-MLP), https://arxiv.org/abs/2106.07477.

    Args:
        parts: into how many parts the channels are cut; at least one for each move.
        moves: how the first groups move, one after another.
        border: what comes in at the border: "zeros", or "replicate" for what was there.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: the same.

    Raises:
        ValueError: `moves` has others than these four, `parts` is less than their number, or `border` is neither.
    """

    def __init__(self, parts, moves=("left", "right", "up", "down"), border="zeros", **kwargs):
        if not set(moves) <= set(_MOVES):
            raise ValueError(f"`moves` must be some of {sorted(_MOVES)}. Received: moves={moves!r}")
        if parts < max(len(moves), 1):
            raise ValueError(
                f"`parts` must be at least {max(len(moves), 1)}, one for each move. Received: parts={parts!r}"
            )
        if border not in ("zeros", "replicate"):
            raise ValueError(f'`border` must be "zeros" or "replicate". Received: border={border!r}')
        super().__init__(**kwargs)
        self.parts, self.moves, self.border = parts, tuple(moves), border

    def call(self, x):
        group, channels, moving = x.shape[-1] // self.parts, x.shape[-1], len(self.moves)
        if not group or not moving:
            return x
        groups = [self._moved(x, *_MOVES[move], (i * group, group)) for i, move in enumerate(self.moves)]
        if channels > moving * group:
            groups.append(part(x, {3: (moving * group, channels - moving * group)}))
        return ops.concatenate(groups, axis=-1)

    def _moved(self, x, axis, step, channels):
        """Some of the channels, moved by `step`, 1 or -1, along an axis."""
        length = ops.shape(x)[axis]
        kept = part(x, {axis: (max(-step, 0), length - 1), 3: channels})
        if self.border == "zeros":
            pads = [(0, 0)] * 4
            pads[axis] = (max(step, 0), max(-step, 0))
            return ops.pad(kept, pads)
        edge = part(x, {axis: (0 if step > 0 else length - 1, 1), 3: channels})
        return ops.concatenate([edge, kept] if step > 0 else [kept, edge], axis)

    def compute_output_shape(self, input_shape):
        return input_shape


@fusing.carries.answer(AxialShift, CycleShift)
def _moved(layer, scale, shift, shape):
    return (scale, shift) if layer.size == 1 or not np.any(shift) else None


@fusing.carries.answer(PixelShift)
def _moved_by_one(layer, scale, shift, shape):
    still = shape[-1] < layer.parts or not layer.moves
    return (scale, shift) if still or layer.border == "replicate" or not np.any(shift) else None
