"""Regions: runs of neighbouring positions along an axis, whose channels are put side by side."""

import keras
import numpy as np
from keras import ops

from keras_mlp.layers import fusing
from keras_mlp.layers.configs import registered
from keras_mlp.layers.parts import part
from keras_mlp.layers.sizes import check_side

_BORDERS = ("circular", "replicate", "zeros")


@registered
class RegionPartition(keras.layers.Layer):
    """A map, moved along an axis and cut into regions, as one position a region.

        y[j, :] = [x'[j size], …, x'[j size + size - 1]],   x'[i] = x[i - shift]

    Where the length is no multiple of `size`, the moved map is continued at its end.

    Source: Guo et al. 2021 (Hire-MLP), sections 3.2 (inner-region rearrangement) and 3.3 (cross-region).

    Args:
        side: "height" or "width".
        size: number of positions of a region.
        shift: positions that the map moves towards larger indices first.
        shift_border: "circular" for what has left at the end to come in at the start, "zeros".
        border: what continues the map at its end: "circular" for its own start, "replicate" for its last
            position, "zeros".

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: `(batch, ceil(height / size), width, size * channels)`, or with the width cut instead of the height.

    Raises:
        ValueError: an argument is none of those allowed, or the map is shorter than the shift or its continuation.
    """

    def __init__(self, side, size, shift=0, shift_border="circular", border="circular", **kwargs):
        check_side(side)
        if size < 1 or shift < 0:
            raise ValueError(f"`size` must be positive, `shift` not negative. Received: size={size!r}, shift={shift!r}")
        if shift_border not in ("circular", "zeros"):
            raise ValueError(f'`shift_border` must be "circular" or "zeros". Received: shift_border={shift_border!r}')
        if border not in _BORDERS:
            raise ValueError(f"`border` must be one of {_BORDERS}. Received: border={border!r}")
        super().__init__(**kwargs)
        self.side, self.size, self.shift = side, size, shift
        self.shift_border, self.border = shift_border, border
        self.axis = 1 if side == "height" else 2

    def build(self, input_shape):
        length = input_shape[self.axis]
        if length is not None and length < (need := max(self.shift, -length % self.size)):
            raise ValueError(
                f"The {self.side} of the map must be at least {need} positions, to be moved by {self.shift} and cut "
                f"into regions of {self.size}. Received: {length}. Use a larger image."
            )
        super().build(input_shape)

    def call(self, x):
        length = ops.shape(x)[self.axis]
        missing = -length % self.size

        def cut(x, start, length):
            return part(x, {self.axis: (start, length)})

        parts, circular = [x], self.shift_border == "circular"
        if self.shift:
            left = cut(x, length - self.shift, self.shift) if circular else ops.zeros_like(cut(x, 0, self.shift))
            parts = [left, cut(x, 0, length - self.shift)]
        if not isinstance(missing, int) or missing:
            # One concatenation for both: the moved map's start is the start of what has been put there.
            moved = ops.concatenate(parts, self.axis) if len(parts) > 1 else x
            start = cut(moved, 0, missing)
            if self.border == "circular":
                parts.append(start)
            elif self.border == "zeros":
                parts.append(ops.zeros_like(start))
            else:
                parts.append(ops.zeros_like(start) + cut(moved, length - 1, 1))
        x = ops.concatenate(parts, self.axis) if len(parts) > 1 else x
        _, height, width, channels = ops.shape(x)
        if self.side == "width":  # neighbours already lie side by side
            return ops.reshape(x, (-1, height, width // self.size, self.size * channels))
        x = ops.reshape(x, (-1, height // self.size, self.size, width, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4))
        return ops.reshape(x, (-1, height // self.size, width, self.size * channels))

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        if shape[self.axis] is not None:
            shape[self.axis] = -(-shape[self.axis] // self.size)
        shape[-1] *= self.size
        return tuple(shape)


@registered
class RegionMerge(keras.layers.Layer):
    """The way back from regions to positions: what `RegionPartition` continued is cut off, what it moved moves back.

    Args:
        side: "height" or "width".
        size: number of positions of a region.
        shift: positions that the map moves towards smaller indices, around its end.

    Input shape: regions, as they are the output of `RegionPartition`, and a map of the size to return to.
    Output shape: that of the map, with as many channels as the regions have a position.

    Raises:
        ValueError: `side` is neither.
    """

    def __init__(self, side, size, shift=0, **kwargs):
        check_side(side)
        super().__init__(**kwargs)
        self.side, self.size, self.shift = side, size, shift
        self.axis = 1 if side == "height" else 2

    def call(self, inputs):
        regions, like = inputs
        length = ops.shape(like)[self.axis]
        _, height, width, channels = ops.shape(regions)
        channels = channels // self.size
        if self.side == "width":
            x = ops.reshape(regions, (-1, height, width * self.size, channels))
        else:
            x = ops.reshape(regions, (-1, height, width, self.size, channels))
            x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4)), (-1, height * self.size, width, channels))

        def cut(start, length):
            return part(x, {self.axis: (start, length)})

        if self.shift:
            return ops.concatenate([cut(self.shift, length - self.shift), cut(0, self.shift)], self.axis)
        return cut(0, length)

    def compute_output_shape(self, input_shape):
        regions, like = input_shape
        return (*like[:-1], regions[-1] // self.size)


@fusing.carries.answer(RegionPartition)
def _side_by_side(layer, scale, shift, shape):
    length = shape[layer.axis]
    continued = length is None or length % layer.size
    zeros = (layer.shift and layer.shift_border == "zeros") or (continued and layer.border == "zeros")
    if zeros and np.any(shift):
        return None
    return np.tile(scale, layer.size), np.tile(shift, layer.size)


@fusing.sizes.answer(RegionMerge)
def _like(layer):
    return (1,)
