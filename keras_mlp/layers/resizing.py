"""Maps of another size: interpolation between positions, and averages over parts of a map."""

import keras
import numpy as np
from keras import ops

from keras_mlp.layers import fusing
from keras_mlp.layers.configs import registered

INTERPOLATIONS = ("bilinear", "nearest")


def _taps(source, target, interpolation, align_corners):
    """For each of `target` positions of a side the two of `source` that it lies between, and how far from the first.

    Both numbers may be tensors, where a size is not known.
    """
    known = isinstance(source, int) and isinstance(target, int)
    np_ = np if known else ops
    whole = (lambda values: values.astype("int32")) if known else (lambda values: ops.cast(values, "int32"))
    at = np_.arange(target, dtype="float32") if not known else np.arange(target)
    source_, target_ = (source, target) if known else (ops.cast(source, "float32"), ops.cast(target, "float32"))
    if interpolation == "nearest":
        first = np_.floor(at * source_ / target_)
        return whole(first), None, None
    if align_corners:
        at = at * (source_ - 1) / np_.maximum(target_ - 1, 1)
    else:
        at = np_.maximum((at + 0.5) * source_ / target_ - 0.5, 0)
    first = np_.minimum(np_.floor(at), source_ - 1)
    return whole(first), whole(np_.minimum(first + 1, source_ - 1)), at - first


def interpolation_matrix(source: int, target: int) -> np.ndarray:
    """Matrix `(target, source)` that resizes a line of positions as `resized` does it bilinearly, float64."""
    first, second, share = _taps(source, target, "bilinear", False)
    matrix, at = np.zeros((target, source)), np.arange(target)
    np.add.at(matrix, (at, first), 1 - share)
    np.add.at(matrix, (at, second), share)
    return matrix


def resized(x, size, interpolation: str = "bilinear", align_corners: bool = False):
    """A map resized as PyTorch's `interpolate` does it, without antialiasing.

    Args:
        x: map `(batch, height, width, channels)`.
        size: `(height, width)` of the result, integers or tensors.
        interpolation: "bilinear" or "nearest".
        align_corners: whether the first and last positions of a side lie on each other. If not, positions are cells,
            and the edges of the first and last ones do.

    Returns:
        A tensor `(batch, *size, channels)` of the dtype of `x`.
    """
    if interpolation == "bilinear" and not align_corners and keras.backend.standardize_dtype(x.dtype) != "float64":
        # TensorFlow's own operator, which computes in float32, and which LiteRT has.
        dtype = x.dtype
        y = ops.image.resize(ops.cast(x, "float32"), size, "bilinear", antialias=False, data_format="channels_last")
        return ops.cast(y, dtype)
    for axis, target in zip((1, 2), size, strict=True):
        source = x.shape[axis] if x.shape[axis] is not None else ops.shape(x)[axis]
        if isinstance(source, int) and isinstance(target, int) and source == target:
            continue
        first, second, share = _taps(source, target, interpolation, align_corners)
        y = ops.take(x, first, axis=axis)
        if share is not None:
            share = ops.reshape(ops.cast(share, x.dtype), (-1, 1, 1) if axis == 1 else (-1, 1))
            y = y + (ops.take(x, second, axis=axis) - y) * share
        x = y
    return x


@registered
class Resize(keras.layers.Layer):
    """A map resized by a factor, or to the size of another map, as PyTorch's `interpolate` does it.

    Args:
        factor: integer by which height and width grow; `None` for the size of a second map.
        interpolation: "bilinear" or "nearest".
        align_corners: see `resized`.

    Input shape: `(batch, height, width, channels)`; without a factor, a list of it and a map of the size to resize to,
        whose channels do not matter. Sizes may be unknown.
    Output shape: `(batch, new height, new width, channels)`.

    Raises:
        ValueError: `interpolation` is none of both.
    """

    def __init__(self, factor=None, interpolation="bilinear", align_corners=False, **kwargs):
        super().__init__(**kwargs)
        if interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"`interpolation` must be one of {', '.join(INTERPOLATIONS)}. Received: interpolation={interpolation!r}"
            )
        self.factor, self.interpolation, self.align_corners = factor, interpolation, align_corners

    def call(self, inputs):
        x, like = (inputs, None) if self.factor else inputs
        shape = ops.shape(x if self.factor else like)
        size = tuple(side * (self.factor or 1) for side in shape[1:3])
        return resized(x, size, self.interpolation, self.align_corners)

    def compute_output_shape(self, input_shape):
        if self.factor:
            batch, *sides, channels = input_shape
            return (batch, *(side and side * self.factor for side in sides), channels)
        x, like = input_shape
        return (x[0], *like[1:3], x[-1])


@fusing.carries.answer(Resize)
def _weighted(layer, scale, shift, shape):
    return scale, shift  # the weights of each position sum to one


@fusing.sizes.answer(Resize)
def _like(layer):
    return () if layer.factor else (1,)


@registered
class AdaptiveAveragePooling(keras.layers.Layer):
    """Averages over `size * size` parts of a map, which overlap where its sides are no multiples of `size`.

    Part `i` of a side of `n` positions has those from `floor(i n / size)` up to `ceil((i + 1) n / size)`, as PyTorch's
    `AdaptiveAvgPool2d` has them.

    Args:
        size: number of parts a side.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: `(batch, size, size, channels)`.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def _matrix(self, side):
        part, position = np.arange(self.size)[:, None], ops.arange(side)[None]
        after = ops.cast(position, "int32") - ops.cast(part * side // self.size, "int32")
        before = ops.cast(-(-(part + 1) * side // self.size), "int32") - ops.cast(position, "int32")
        inside = ops.cast(ops.logical_and(after >= 0, before > 0), self.compute_dtype)
        return inside / ops.sum(inside, axis=1, keepdims=True)

    def call(self, x):
        height, width = ops.shape(x)[1:3]
        x = ops.einsum("ih,bhwc->biwc", self._matrix(height), x)
        return ops.einsum("jw,biwc->bijc", self._matrix(width), x)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.size, self.size, input_shape[-1])


@fusing.carries.answer(AdaptiveAveragePooling)
def _averaged(layer, scale, shift, shape):
    return scale, shift
