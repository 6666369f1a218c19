"""Patch merging: four neighbouring positions made one, side by side in the channels."""

import keras
import numpy as np
from keras import ops

from keras_mlp.layers import fusing
from keras_mlp.layers.configs import registered


@registered
class PatchMerging(keras.layers.Layer):
    """The four positions of each 2 x 2 cell, one after the other in the channels, the row running fastest.

    An odd height or width gets a row or column of zeros at its end.

    Source: Liu et al. 2021 (Swin), https://arxiv.org/abs/2103.14030, section 3.1.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: `(batch, ceil(height / 2), ceil(width / 2), 4 * channels)`.
    """

    def call(self, x):
        first, second = [], []
        for size in x.shape[1:3]:
            odd = size is None or size % 2 == 1
            # In an axis padded by one, the second positions reach its end and the first ones stop before it.
            first.append(slice(0, -1 if odd else None, 2))
            second.append(slice(1, None, 2))
        x = ops.pad(x, ((0, 0), *((0, int(cut.stop == -1)) for cut in first), (0, 0)))
        (top, left), (bottom, right) = first, second
        cells = [(top, left), (bottom, left), (top, right), (bottom, right)]
        return ops.concatenate([x[:, rows, columns] for rows, columns in cells], axis=-1)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, *(size and -(-size // 2) for size in (height, width)), 4 * channels)


@fusing.carries.answer(PatchMerging)
def _merged(layer, scale, shift, shape):
    whole = all(size is not None and size % 2 == 0 for size in shape[1:3])
    return (np.tile(scale, 4), np.tile(shift, 4)) if whole or not np.any(shift) else None
