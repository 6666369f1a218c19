"""Global filters: a product in the spectrum of a map, which is a circular convolution as large as the map."""

import functools

import keras
import numpy as np
from keras import ops

from keras_mlp.layers import products, showing
from keras_mlp.layers.configs import registered
from keras_mlp.layers.grid import GridLayer
from keras_mlp.layers.normalization import at_least_float32

_LONG = 48
"""Sides of a map up to which products with the matrices of the transform take less time than fast transforms do.

With as many channels as published models have, on two CPU cores: at 28 x 28 positions the products take 0.7 to 1.0
times as long, at 56 x 56 1.5 to 2 times under XLA and in training.
"""


@registered
class GlobalFilter(GridLayer):
    """The spectrum of each channel, multiplied by a learned complex filter.

        Y = irfft2(K * rfft2(X)),    K: (height, width // 2 + 1, channels), complex

    The last axis of the weight is the real and the imaginary part. Both transforms are over the positions. The inverse
    one takes no notice of the imaginary part of what must be real in the spectrum of a real map, as that of PyTorch,
    NumPy and TensorFlow. Computes in float32 at least, as the authors' code does.

    Source: Rao et al. 2021 (GFNet), https://arxiv.org/abs/2107.00645; Rao et al. 2022 (HorNet),
    https://arxiv.org/abs/2207.14284, for `size`.

    Args:
        size: `(height, width)` of the maps that the filter is for. Other maps are filtered by a filter that is
            interpolated at each call, linearly between its corners. By default the size of the first map; the layer
            is then tied to it.

    Input shape: `(batch, height, width, channels)`; without `size` all but the batch known.
    Output shape: the same.
    """

    grid_axes = {"filter": ("height spectrum", "half width spectrum", None, None)}

    def __init__(self, size=None, **kwargs):
        super().__init__(**kwargs)
        self.size = size and tuple(size)
        if self.size:
            self.grid_axes = {}

    def build(self, input_shape):
        if self.size:
            keras.layers.Layer.build(self, input_shape)
        else:
            super().build(input_shape)
        height, width = self.size or self.grid
        start = keras.initializers.RandomNormal(stddev=0.02)
        shape = (height, width // 2 + 1, input_shape[-1], 2)
        self.filter = self.add_weight(name="filter", shape=shape, initializer=start)

    def call(self, x):
        kept = ops.cast(self.filter, at_least_float32(self.compute_dtype))
        if self.size:
            with keras.name_scope(products.TRANSFORM_BY_PRODUCT):
                kept = self._for_grid(kept, ops.shape(x)[1:3])
        return filtered(x, kept)

    def compute_output_shape(self, input_shape):
        return input_shape

    def _for_grid(self, kept, grid):
        """The filter for a grid of `(height, width)`, which a graph alone may know."""
        known = all(isinstance(side, int) for side in grid)
        if known and tuple(grid) == self.size:
            return kept
        height, half, channels, _ = kept.shape
        kept = ops.matmul(_between_corners(height, grid[0], kept.dtype), ops.reshape(kept, (height, -1)))
        kept = ops.reshape(kept, (-1, half, channels * 2))
        kept = ops.matmul(_between_corners(half, grid[1] // 2 + 1, kept.dtype), kept)
        return ops.reshape(kept, (grid[0], grid[1] // 2 + 1, channels, 2))


@showing.weights.answer(GlobalFilter)
def _as_convolution(layer):
    height, width = layer.size or layer.grid
    spectra = showing.array(layer.filter)
    windows = np.fft.irfft2(spectra[..., 0] + 1j * spectra[..., 1], (height, width), axes=(0, 1))
    windows = np.roll(windows, (height // 2, width // 2), axis=(0, 1))
    return showing.largest_first(
        "a channel's filter as a circular window, itself in the middle", np.moveaxis(windows, -1, 0)
    )


def filtered(x, kept):
    """The map `x` with its spectrum multiplied by a filter.

    It is computed in the precision of the filter, by fast transforms where they are faster, and by products with the
    matrices of the transform on small maps and in files for other runtimes, most of which have no fast transforms.
    Costs leave these products out, as papers leave out fast transforms.

    Args:
        x: map `(batch, height, width, channels)`.
        kept: `(height, width // 2 + 1, channels, 2)`: the real and the imaginary part of what to multiply by.

    Returns:
        A map of the same shape and precision.
    """
    height, width = x.shape[1:3]
    small = None not in (height, width) and max(height, width) <= _LONG
    y = ops.cast(x, kept.dtype)
    if small or products.in_export():
        with keras.name_scope(products.TRANSFORM_BY_PRODUCT):
            y = _by_products(y, kept, height, width)
    else:
        y = _by_fast_transforms(y, kept)
    return ops.cast(y, x.dtype)


def spectrum(weights):
    """The spectrum of a line of weights, for `filtered`, which then is the circular convolution with them.

    Args:
        weights: `(length, channels)`.

    Returns:
        A filter of maps of one row, `(1, length // 2 + 1, channels, 2)`.
    """
    with keras.name_scope(products.TRANSFORM_BY_PRODUCT):
        forward, _ = _half_transform(weights.shape[0])
        parts = [ops.matmul(ops.convert_to_tensor(matrix, weights.dtype), weights) for matrix in forward]
    return ops.expand_dims(ops.stack(parts, axis=-1), 0)


def _by_products(x, kept, height, width):
    channels, half = x.shape[-1], width // 2 + 1
    transform, inverse = (
        [ops.convert_to_tensor(matrix, x.dtype) for matrix in matrices] for matrices in _half_transform(width)
    )
    x = ops.reshape(x, (-1, width, channels))
    # The real rows above the imaginary ones, as one matrix of twice the height.
    parts = [ops.reshape(products.left_product(matrix, x), (-1, height, half * channels)) for matrix in transform]
    y = ops.concatenate(parts, axis=1)
    if height > 1:
        y = products.left_product(ops.convert_to_tensor(_full_transform(height), x.dtype), y)
    re, im = ops.split(y, 2, axis=1)
    kept_re, kept_im = (ops.reshape(kept[..., part], (height, half * channels)) for part in (0, 1))
    y = ops.concatenate([re * kept_re - im * kept_im, re * kept_im + im * kept_re], axis=1)
    if height > 1:
        y = products.left_product(ops.convert_to_tensor(_full_transform(height).T / height, x.dtype), y)
    parts = (ops.reshape(part, (-1, half, channels)) for part in ops.split(y, 2, axis=1))
    re, im = (products.left_product(matrix, part) for matrix, part in zip(inverse, parts, strict=True))
    return ops.reshape(re + im, (-1, height, width, channels))


def _by_fast_transforms(x, kept):
    height, width = ops.shape(x)[1:3]
    re, im = ops.rfft(ops.transpose(x, (0, 3, 1, 2)))
    kept_re, kept_im = (ops.transpose(kept[..., part], (2, 1, 0)) for part in (0, 1))
    re, im = ops.fft((ops.swapaxes(re, 2, 3), ops.swapaxes(im, 2, 3)))
    re, im = re * kept_re - im * kept_im, re * kept_im + im * kept_re
    re, im = ops.fft((re, -im))  # of the conjugate: the conjugate of the inverse, `height` times
    scale = 1 / ops.cast(height, x.dtype)
    y = ops.irfft((ops.swapaxes(re, 2, 3) * scale, ops.swapaxes(im, 2, 3) * -scale), fft_length=width)
    return ops.transpose(y, (0, 2, 3, 1))


@functools.cache
def _half_transform(length):
    """Matrices of the transform of `length` real numbers, `(real, imaginary)`, and those of its inverse."""
    angles = 2 * np.pi * np.outer(np.arange(length // 2 + 1), np.arange(length)) / length
    # All but the first, and the last of an even length, stand for their mirror images, too.
    twice = np.where((np.arange(len(angles)) == 0) | (2 * np.arange(len(angles)) == length), 1, 2)[:, None] / length
    forward = np.cos(angles), -np.sin(angles)
    return forward, tuple((matrix * twice).T for matrix in forward)


@functools.cache
def _full_transform(length):
    """Matrix of the transform of complex numbers, real above imaginary parts. Its transpose inverts all but scale."""
    angles = 2 * np.pi * np.outer(np.arange(length), np.arange(length)) / length
    return np.block([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]])


def _between_corners(old, new, dtype):
    """Matrix (new, old) of linear interpolation in which the first and the last number stay the first and the last."""
    at = ops.arange(new, dtype=dtype) * (old - 1) / ops.maximum(ops.cast(new - 1, dtype), 1)
    distance = ops.abs(ops.expand_dims(at, 1) - ops.arange(old, dtype=dtype))
    return ops.maximum(1 - distance, 0)
