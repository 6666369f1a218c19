"""What token mixing has learned: its weights as pictures over the grid."""

import keras
import numpy as np

from keras_mlp import files, names
from keras_mlp.checkpoints import naming
from keras_mlp.extras import need
from keras_mlp.layers import TokenMLP

# In inches: the side of a picture, the gap between two, and the margins.
_CELL, _GAP = 0.72, 0.06
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.9, 0.75, 0.85, 0.15


def plot_token_mixing(model: keras.Model, path, layer: int | str | None = None, units: int = 16):
    """Draw the weights of token-mixing units as small pictures, as in figure 5 of the MLP-Mixer paper.

    A unit of the first layer of a `TokenMLP` has one weight for every position of the grid, which makes a picture of
    the grid's size: red where it adds, blue where it subtracts, white where it does not look. Units are
    those with the largest weights, by their Euclidean norm, in that order; the colours of one block share one scale.

    Args:
        model: a model with `TokenMLP` layers.
        path: PNG file to write.
        layer: one of those layers, by its number from 0 or by its name; all its units are drawn then, up to `units`
            squared. By default all layers, a row of `units` each.
        units: how many pictures make a row, at most.

    Raises:
        ValueError: the model has no such layer, or `units` is less than one.
        ImportError: matplotlib is not installed.
    """
    if not isinstance(units, int) or units < 1:
        raise ValueError(f"`units` must be a positive integer. Received: units={units!r}")
    layers = [found for found in naming.weighted_layers(model) if isinstance(found, TokenMLP)]
    if not layers:
        raise ValueError(f"Model {model.name!r} has no TokenMLP layers: there are no token-mixing weights to draw.")
    if layer is None:
        rows = [(_label(found), _pictures(found, units)) for found in layers]
        limits = [_limit(pictures) for _, pictures in rows]
    else:
        chosen = _choose(layers, layer)
        pictures = _pictures(chosen, units**2)
        rows = [("" if i else _label(chosen), pictures[i : i + units]) for i in range(0, len(pictures), units)]
        limits = [_limit(pictures)] * len(rows)
    figure = _draw(rows, limits, f"Token mixing of {model.name}")
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, facecolor="white")


def _choose(layers, layer):
    for number, found in enumerate(layers):
        if layer in (number, found.name):
            return found
    known = ", ".join(found.name for found in layers)
    raise ValueError(f"`layer` must be a number below {len(layers)} or one of {known}. Received: layer={layer!r}")


def _label(layer) -> str:
    place = names.parse(layer.name)
    return f"block {'.'.join(map(str, place.numbers))}" if place and place.part == "block" else layer.name


def _pictures(layer, units) -> np.ndarray:
    """The weights of the units of largest norm, `(units, height, width)`."""
    kernel = keras.ops.convert_to_numpy(keras.ops.cast(layer.fc1.kernel, "float32")).T
    largest = np.argsort(-np.linalg.norm(kernel, axis=1), kind="stable")[:units]
    return kernel[largest].reshape(-1, *layer.grid)


def _limit(pictures) -> float:
    """Where the colours end; weights that are all zero are white."""
    return float(np.abs(pictures).max()) or 1.0


def _draw(rows, limits, title):
    """A figure of `rows`, `(label, pictures)`, whose colours end at plus and minus `limits`."""
    figures = need("matplotlib.figure", extra="analysis")
    columns, grid = max(len(pictures) for _, pictures in rows), rows[0][1].shape[1:]
    cell_width, cell_height = _CELL, _CELL * grid[0] / grid[1]
    width = _LEFT + columns * cell_width + _RIGHT
    height = _TOP + len(rows) * cell_height + _BOTTOM
    figure = figures.Figure(figsize=(width, height))

    def place(left, bottom, box_width, box_height):
        return figure.add_axes((left / width, bottom / height, box_width / width, box_height / height))

    def write(left, bottom, text, **style):
        figure.text(left / width, bottom / height, text, va="center", **style)

    write(_LEFT, height - 0.32, title, fontsize=12, fontweight="bold")
    note = "one picture a hidden unit: its weight for every position of the grid, largest norm first"
    write(_LEFT, height - 0.58, note, fontsize=8.5, color="0.35")
    for row, ((label, pictures), limit) in enumerate(zip(rows, limits, strict=True)):
        bottom = height - _TOP - (row + 1) * cell_height
        middle = bottom + (cell_height - _GAP) / 2
        write(_LEFT - 0.12, middle, label, fontsize=9, ha="right")
        for column, picture in enumerate(pictures):
            axes = place(_LEFT + column * cell_width, bottom, cell_width - _GAP, cell_height - _GAP)
            axes.imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color="0.8", linewidth=0.5)
        scale = place(_LEFT + columns * cell_width + 0.04, bottom, 0.07, cell_height - _GAP)
        scale.imshow(np.linspace(1, -1, 101)[:, np.newaxis], cmap="RdBu_r", aspect="auto")
        scale.set_axis_off()
        write(_LEFT + columns * cell_width + 0.16, middle, f"±{limit:.2g}", fontsize=7.5, color="0.35")
    return figure
