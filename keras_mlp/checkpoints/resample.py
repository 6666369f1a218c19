"""Weights tied to a grid of positions, carried over to another grid; models carried over to another input size.

Let a layer mix the `S` positions of an old grid and let a new grid have `S'`. Two matrices with rows that sum to one
carry maps between the grids: `U` (S', S) an old map to the new grid, `D` (S, S') a new map back to the old one. Then

    input positions of a weight:   W' = W D        the layer reads the new map at the resolution it was trained for,
    output positions of a weight:  W' = U W        and its output is spread over the new grid.

For one linear layer `y = W x + b` this is `W' = U W D`, `b' = U b`; for the two of a token MLP `W1' = W1 D`,
`W2' = U W2` and `b2' = U b2`. As the rows of `D` sum to one, a layer's output for a constant map is the old output.

`U` and `D` are products of one matrix for the height and one for the width. Along an axis that grows, `U` copies to
each new position the nearest old one and `D` averages the copies, so `D U = 1`. Copies stay equal in everything that
works position by position (norms, channel mixing, residuals), so *every* block does on an image of enlarged patches, a
constant image among them, exactly what it did on the old grid; only the average before the head counts a position as
often as it was copied, which makes no difference where the new side is a multiple of the old one. Along an axis that
shrinks nothing can keep all of the old map; there both matrices weigh positions by the area that they share.

Weights of families whose authors resize them in another way are carried over in that way: by cubic convolution or
linearly, with positions as cells (as position embeddings are) or with the first and last number on each other (as
spectra are).
"""

import functools
import math

import keras
import numpy as np

from keras_mlp.adapters import is_factor
from keras_mlp.checkpoints import naming
from keras_mlp.copying import Copier, parts
from keras_mlp.layers.grid import GridLayer


def _shared_length(source: int, target: int) -> np.ndarray:
    """Matrix (target, source) that averages a line of cells into another number of cells, by the length they share."""
    edges = np.arange(target + 1) * source / target
    cells = np.arange(source)
    shared = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    shared = np.maximum(shared, 0.0)
    return shared / shared.sum(axis=1, keepdims=True)


def _along_one_axis(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """`U` (new, old) and `D` (old, new) of one side of the grid."""
    if new < old:
        return _shared_length(old, new), _shared_length(new, old)
    nearest = ((np.arange(new) + 0.5) * old / new).astype(int)
    copy = np.eye(old)[nearest]
    return copy, copy.T / copy.sum(axis=0)[:, None]


def _cubic(old: int, new: int, corners: bool) -> np.ndarray:
    """Matrix (new, old) of cubic convolution with a = -0.75, numbers beyond the ends being those at the ends.

    It is PyTorch's `interpolate(mode="bicubic", align_corners=corners)` along one axis, without antialiasing. Source:
    Keys 1981, Cubic convolution interpolation for digital image processing, equation 4.
    """
    at = _positions(old, new, corners)
    matrix, a = np.zeros((new, old)), -0.75
    for offset in range(-1, 3):
        tap = np.floor(at).astype(int) + offset
        d = np.abs(at - tap)
        near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        np.add.at(matrix, (np.arange(new), np.clip(tap, 0, old - 1)), np.where(d <= 1, near, far))
    return matrix


def _without_sign(matrix) -> np.ndarray:
    """The matrix that carries distances over, of one for offsets: an offset and its opposite have the same number."""
    new, old = (n // 2 for n in matrix.shape)
    onward, backward = matrix[new:, old:], matrix[new:, old::-1]
    return onward + backward * (np.arange(old + 1) > 0)


def _positions(old: int, new: int, corners: bool) -> np.ndarray:
    """Where `new` numbers are among `old` ones: the first and last on each other, or as cells of one length."""
    return np.arange(new) * (old - 1) / max(new - 1, 1) if corners else (np.arange(new) + 0.5) * old / new - 0.5


def _linear(old: int, new: int, corners: bool) -> np.ndarray:
    """Matrix (new, old) of linear interpolation, numbers beyond the ends being those at the ends.

    It is PyTorch's `interpolate(mode="linear", align_corners=corners)` along one axis.
    """
    at = np.clip(_positions(old, new, corners), 0, old - 1)
    below = np.floor(at).astype(int)
    matrix = np.zeros((new, old))
    np.add.at(matrix, (np.arange(new), below), 1 - (at - below))
    np.add.at(matrix, (np.arange(new), np.minimum(below + 1, old - 1)), at - below)
    return matrix


def carry_over(old: tuple[int, int], new: tuple[int, int], side: str = "") -> tuple[np.ndarray, np.ndarray]:
    """The matrices that carry maps between two grids, both in row-major order.

    Args:
        old, new: `(height, width)` of the grids.
        side: "height" or "width" for the positions of one side, instead of those of the grid.

    Returns:
        `U` (new positions, old positions) and `D` (old positions, new positions) of the module's docstring, float64.
        The rows of both sum to one.
    """
    height, width = (_along_one_axis(*sides) for sides in zip(old, new, strict=True))
    if side:
        return {"height": height, "width": width}[side]
    return tuple(np.kron(h, w) for h, w in zip(height, width, strict=True))


def _along(matrix, weight, axis) -> np.ndarray:
    """`matrix` applied to an axis of `weight`, which runs over positions and may, faster, run over something else."""
    positions = matrix.shape[1]
    before, after = weight.shape[:axis], weight.shape[axis + 1 :]
    split = weight.reshape(*before, positions, -1, *after)
    carried = np.moveaxis(np.tensordot(matrix, split, axes=(1, axis)), 0, axis)
    return carried.reshape(*before, -1, *after)


def _matrix(over, old, new, reduction) -> np.ndarray:
    """The matrix that carries an axis over that runs over `over`, from the grid `old` to the grid `new`."""
    side, _, direction = over.rpartition(" ")
    if direction == "spectrum":
        return _cubic(*(lengths(grid)[side] for grid in (old, new)), corners=True)
    if direction in ("embedding", "linear", "corners"):
        interpolated = _cubic if direction == "embedding" else _linear
        along = functools.partial(interpolated, corners=direction == "corners")
        signed = side.replace("distances", "offsets")
        sides = zip(*(_sides(signed, grid, reduction) for grid in (old, new)), strict=True)
        matrices = [along(*pair) for pair in sides]
        return functools.reduce(np.kron, map(_without_sign, matrices) if signed != side else matrices)
    up, down = carry_over(old, new, side)
    return down.T if direction == "in" else up


_SIDES = {
    "": slice(None),
    "image": slice(-2, None),
    "frames": slice(-3, -2),
    "height": slice(-2, -1),
    "width": slice(-1, None),
}
"""Which sides of a grid are meant by what stands before "embedding", "linear", "offsets" and "distances"."""


def _sides(over: str, grid: tuple[int, ...], reduction: int) -> list[int]:
    """How many vectors lie along each side of a grid that an axis runs over, the slowest first."""
    if over == "reduced":
        return [n // reduction for n in grid]
    name = over.removesuffix("offsets").removesuffix("distances").rstrip()
    return [2 * n - 1 if over.endswith("offsets") else n for n in grid[_SIDES[name]]]


def lengths(grid: tuple[int, ...], reduction: int = 1) -> dict[str, int]:
    """How long an axis is on a grid, by what stands in `GridLayer.grid_axes` before its last word."""
    kinds = [f"{name} {kind}".strip() for name in _SIDES for kind in ("", "offsets", "distances")]
    return {kind: math.prod(_sides(kind, grid, reduction)) for kind in (*kinds, "reduced")} | {
        "half width": grid[-1] // 2 + 1
    }


def resample(
    weight, axes, old: tuple[int, ...], new: tuple[int, ...], in_front: int = 0, reduction: int = 1
) -> np.ndarray:
    """Carry `weight` over from the grid `old` to the grid `new`.

    Args:
        weight: array.
        axes: what each of its axes runs over (`GridLayer.grid_axes`).
        old, new: `(height, width)`, or of a video `(frames, height, width)`.
        in_front: how many tokens stand before the positions (`GridLayer.in_front`); they stay as they are.
        reduction: how many positions of a side are one of the reduced grid (`GridLayer.reduction`).

    Returns:
        Array of the same number of axes, in the dtype of `weight`.
    """
    result = np.asarray(weight, np.float64)
    for axis, over in enumerate(axes):
        if over is not None:
            first, rest = np.split(result, [in_front], axis=axis)
            result = np.concatenate([first, _along(_matrix(over, old, new, reduction), rest, axis)], axis=axis)
    return result.astype(np.asarray(weight).dtype)


def resize(model: keras.Model, size: tuple[int, int]) -> keras.Model:
    """The same model, with the same weights, at another input size.

    Weights that are tied to the grid are resampled (see the module's docstring for the maths); all others are copied.
    Optimizer state and compilation are not carried over.

    Args:
        model: a functional model with one image input, from this package or with its layers in it.
        size: `(height, width)` of the new input in pixels.

    Returns:
        A new model. `model` is unchanged.

    Raises:
        ValueError: `size` is no pair of positive integers, the model has not one image input, a layer refuses the size
            (its message names sizes nearby that work), or a layer that is not grid-tied would change shape.
    """
    size = checked_size(size)
    if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or ()) != 1:
        raise ValueError(f"`model` must be a functional Keras model with one input. Received: {model!r}")
    old_input = model.inputs[0]
    if len(old_input.shape) < 4:
        raise ValueError(f"`model` must take images (batch, height, width, channels). It takes {old_input.shape}.")
    batch, *frames, _, _, channels = old_input.shape
    image = keras.Input((*frames, *size, channels), batch_size=batch, dtype=old_input.dtype, name=old_input.name)
    return Resizer()(model, image)


def checked_size(size) -> tuple[int, int]:
    """The size of an input, `(height, width)`; a `ValueError` for what is no pair of positive integers."""
    size = tuple(size) if isinstance(size, list | tuple) else size
    if not (isinstance(size, tuple) and len(size) == 2 and all(isinstance(s, int) and s > 0 for s in size)):
        raise ValueError(f"`size` must be two positive integers, (height, width) in pixels. Received: size={size!r}")
    return size


class Resizer(Copier):
    """Copies a model for an input of another size."""

    def axes(self, layer, variable) -> tuple[str | None, ...] | None:
        """What the axes of a weight run over; `None` where it is not tied to the grid."""
        return axes_of(layer, variable)

    def value(self, old, new):
        grids = [(one, other) for one, other in parts(old, new) if isinstance(other, GridLayer)]

        def value(source, target):
            array = keras.ops.convert_to_numpy(source)
            for one, other in grids:
                if any(variable is target for variable in other.weights) and (axes := self.axes(other, target)):
                    if one.grid != other.grid and not keras.backend.is_float_dtype(array.dtype.name):
                        raise ValueError(
                            f"Layer {old.name!r} was quantised by Keras: {target.path!r} holds steps, which cannot be "
                            "resampled to another grid. Resize the model first, then quantise it."
                        )
                    array = resample(array, axes, one.grid, other.grid, other.in_front, other.reduction)
                    break  # layers inside this one may say the same
            if array.shape != tuple(target.shape):
                raise ValueError(
                    f"Layer {old.name!r} cannot follow the new input size: its weight {target.path!r} has the shape "
                    f"{array.shape} and would have {tuple(target.shape)}, and it says nothing of how to resample it."
                )
            return array

        return value


def axes_of(layer, variable) -> tuple[str | None, ...] | None:
    """What the axes of `variable` run over, if `layer` ties it to its grid."""
    if not isinstance(layer, GridLayer):
        return None
    path = naming.path_in_layer(layer, variable)
    if not is_factor(variable):
        return layer.grid_axes.get(path)
    # An adapter's factors share with what they adapt all axes but the last, or the last.
    adapted, _, side = path.replace("lora_", "").rpartition("_")
    axes = layer.grid_axes.get(adapted)
    return axes and ((*axes[:-1], None) if side == "a" else (None, axes[-1]))
