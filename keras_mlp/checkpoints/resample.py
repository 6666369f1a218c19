"""Weights tied to a grid of positions, carried over to another grid; models carried over to another input size.

Let a layer mix the `S` positions of an old grid and let a new grid have `S'`. Two matrices with rows that sum to one
say how a map is read on the other grid: `D` (S, S') reads a new map at the old positions, `U` (S', S) an old map at the
new ones. Both interpolate bilinearly over the two-dimensional grid, separately along height and width, and average over
the area where the target is coarser (antialiasing). Then

    input positions of a weight:   W' = W D        the layer sees the new image at the resolution it was trained for,
    output positions of a weight:  W' = U W        and its answer is spread over the new grid.

For one linear layer `y = W x + b` this is `W' = U W D`, `b' = U b`; for the two of a token MLP `W1' = W1 D`,
`W2' = U W2` and `b2' = U b2`. Because the rows sum to one, an image that is constant keeps its answer exactly.
(The arrays here keep positions on whatever axis the layer says; the code applies `D` and `U` to that axis.)
"""

import keras
import numpy as np

from keras_mlp.checkpoints import naming
from keras_mlp.layers.grid import GridLayer


def _interpolation_1d(source: int, target: int) -> np.ndarray:
    """Matrix (target, source) that resizes a line: triangle filter, half-pixel centres, antialiased."""
    scale = source / target
    support = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(source) + 0.5 - centres[:, None]) / support
    matrix = np.maximum(0.0, 1.0 - distance)
    return matrix / matrix.sum(axis=1, keepdims=True)


def interpolation(source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """Matrix that reads a map given on the grid `source` at the positions of the grid `target`, both row-major.

    Args:
        source, target: `(height, width)`.

    Returns:
        float64 array `(target positions, source positions)`; each row sums to one.
    """
    return np.kron(_interpolation_1d(source[0], target[0]), _interpolation_1d(source[1], target[1]))


def resample(weight, axes, source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """Carry `weight` over from the grid `source` to the grid `target`.

    Args:
        weight: array.
        axes: what each of its axes runs over, "in", "out" or `None` (`GridLayer.grid_axes`).
        source, target: `(height, width)`.

    Returns:
        Array of the same number of axes; in the dtype of `weight`.
    """
    result = np.asarray(weight, np.float64)
    for axis, over in enumerate(axes):
        if over is not None:
            matrix = interpolation(target, source).T if over == "in" else interpolation(source, target)
            result = np.moveaxis(np.tensordot(matrix, result, axes=(1, axis)), 0, axis)
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
    size = tuple(size) if isinstance(size, list | tuple) else size
    if not (isinstance(size, tuple) and len(size) == 2 and all(isinstance(s, int) and s > 0 for s in size)):
        raise ValueError(f"`size` must be two positive integers, (height, width) in pixels. Received: size={size!r}")
    if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or ()) != 1:
        raise ValueError(f"`model` must be a functional Keras model with one input. Received: {model!r}")
    old_input = model.inputs[0]
    if len(old_input.shape) < 4:
        raise ValueError(f"`model` must take images (batch, height, width, channels). It takes {old_input.shape}.")
    resized = _clone(model, size)
    for old, new in zip(naming.weighted_layers(model), naming.weighted_layers(resized), strict=True):
        copy_weights(old, new)
    return resized


def _clone(model, size):
    """A fresh copy of `model`, and of the models nested in it that see the same image, with inputs of `size`."""
    batch, *frames, height, width, channels = model.inputs[0].shape

    def clone_layer(layer):
        same_image = isinstance(layer, keras.Model) and layer.inputs[0].shape[-3:-1] == (height, width)
        return _clone(layer, size) if same_image else layer.__class__.from_config(layer.get_config())

    dtype, name = model.inputs[0].dtype, model.inputs[0].name
    new_input = keras.Input((*frames, *size, channels), batch_size=batch, dtype=dtype, name=name)
    return keras.models.clone_model(model, input_tensors=new_input, clone_function=clone_layer)


def copy_weights(old: keras.layers.Layer, new: keras.layers.Layer):
    """Copy the weights of `old` to `new`, resampled where the layer says that they are tied to the grid."""
    for source, target in zip(old.weights, new.weights, strict=True):
        value = keras.ops.convert_to_numpy(source)
        axes = axes_of(new, target)
        if axes and new.grid != old.grid:
            value = resample(value, axes, old.grid, new.grid)
        if value.shape != tuple(target.shape):
            raise ValueError(
                f"Layer {old.name!r} cannot follow the new input size: its weight {target.path!r} has the shape "
                f"{value.shape} and would have {tuple(target.shape)}, and it says nothing of how to resample it."
            )
        target.assign(value)


def axes_of(layer, variable) -> tuple[str | None, ...] | None:
    """What the axes of `variable` run over, if `layer` ties it to its grid."""
    return layer.grid_axes.get(naming.path_in_layer(layer, variable)) if isinstance(layer, GridLayer) else None
