"""Bicubic resizing of feature maps as PyTorch does it."""

import keras
import numpy as np
from keras import ops

from keras_mlp.layers import fusing
from keras_mlp.layers.configs import registered
from keras_mlp.layers.normalization import at_least_float32
from keras_mlp.layers.sizes import check_known


def _taps(source, target: int, dtype):
    """For each of `target` positions the four of `source` that it reads, and their weights: both four of `(target,)`.

    Where only the graph knows `source`, the graph computes them, in the precision `dtype`.
    """
    numbers, at, offsets = np, np.arange(target) + 0.5, np.arange(-1, 3)[:, None]
    if not isinstance(source, int):
        numbers = ops
        source, at, offsets = (ops.cast(values, dtype) for values in (source, at, offsets))
    at = at * source / target - 0.5
    left = numbers.floor(at)
    distance = numbers.abs(at - left - offsets)
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    weights = numbers.where(distance <= 1, near, far)
    positions = ops.cast(numbers.clip(left + offsets, 0, source - 1), "int32")
    return ([values[i] for i in range(4)] for values in (positions, weights))


@registered
class BicubicResize(keras.layers.Layer):
    """A map resized by cubic convolution with a = -0.75, half-pixel centres, clamped borders and no antialiasing.

    These are the conventions of PyTorch's `interpolate(mode="bicubic", align_corners=False)`; TensorFlow's bicubic has
    a = -0.5 and other borders. Each side reads four positions, so they are gathered and added, not multiplied by a
    matrix. A map that has the size already passes untouched.

    Source: Keys 1981, Cubic convolution interpolation for digital image processing, equation 4.

    Args:
        size: `(height, width)` of the result.
        multiple: instead of `size`, the next multiple of this many positions on both sides.

    Call arguments:
        x: map `(batch, height, width, channels)`. Its height and width are known, unless `size` is given.
        like: a map whose size the result has, where neither `size` nor `multiple` is given.

    Raises:
        ValueError: more or less than one of `size`, `multiple` and `like` is given, or the size of `x` is not known.
    """

    def __init__(self, size=None, multiple=None, **kwargs):
        super().__init__(**kwargs)
        if size is not None and multiple is not None:
            raise ValueError(f"Pass `size` or `multiple`, not both. Received: size={size}, multiple={multiple}")
        self.size = None if size is None else tuple(size)
        self.multiple = multiple

    def _target(self, shape, like):
        if self.size is None:
            check_known(shape, f"{self.__class__.__name__} resizes features")
        if (like is None) == (self.size is None and self.multiple is None):
            raise ValueError("The layer is called with a map that the result is to be like, or has a size, not both.")
        if like is not None:
            return tuple(like[1:3])
        return self.size or tuple(-(-side // self.multiple) * self.multiple for side in shape[1:3])

    def call(self, x, like=None):
        target = self._target(x.shape, None if like is None else like.shape)
        for axis, side in zip((1, 2), target, strict=True):
            if x.shape[axis] != side:
                positions, weights = _taps(ops.shape(x)[axis], side, at_least_float32(self.compute_dtype))
                shape = (side, 1, 1) if axis == 1 else (side, 1)
                x = sum(
                    ops.take(x, index, axis=axis) * ops.cast(np.reshape(weight, shape), self.compute_dtype)
                    for index, weight in zip(positions, weights, strict=True)
                )
        return x

    def compute_output_shape(self, x_shape, like_shape=None):
        return (x_shape[0], *self._target(x_shape, like_shape), x_shape[3])


@fusing.carries.answer(BicubicResize)
def _weighted(layer, scale, shift, shape):
    return scale, shift  # the weights of each position sum to one


@fusing.sizes.answer(BicubicResize)
def _like(layer):
    return (1,)
