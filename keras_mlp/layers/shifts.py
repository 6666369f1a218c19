"""Shifts: groups of channels moved along an axis by different distances."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mlp")
class AxialShift(keras.layers.Layer):
    """Groups of channels moved along the height or the width, zeros coming in from outside.

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
        if side not in ("height", "width"):
            raise ValueError(f'`side` must be "height" or "width". Received: side={side!r}')
        if size < 1 or size % 2 == 0:
            raise ValueError(f"`size` must be a positive odd number. Received: size={size!r}")
        super().__init__(**kwargs)
        self.side, self.size, self.dilation = side, size, dilation

    def call(self, x):
        if self.size == 1:
            return x
        channels, most = x.shape[-1], self.size // 2 * self.dilation
        along = (most, most)
        pads = ((0, 0), along, (0, 0), (0, 0)) if self.side == "height" else ((0, 0), (0, 0), along, (0, 0))
        padded, width, moved = ops.pad(x, pads), -(-channels // self.size), []
        for group, start in enumerate(range(0, channels, width)):
            shift = (group - self.size // 2) * self.dilation
            # The end counts from the end, so that the length need not be known.
            cut = slice(most - shift, -(most + shift) or None)
            window = (slice(None), cut) if self.side == "height" else (slice(None), slice(None), cut)
            moved.append(padded[(*window, ..., slice(start, min(start + width, channels)))])
        return ops.concatenate(moved, axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"side": self.side, "size": self.size, "dilation": self.dilation}
