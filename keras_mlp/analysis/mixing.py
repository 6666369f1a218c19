"""Pictures of token mixing over the grid of positions: its weights, and what it computes for an image."""

import dataclasses
import itertools

import keras
import numpy as np

from keras_mlp import copying, files, names
from keras_mlp.analysis import inner
from keras_mlp.checkpoints import naming
from keras_mlp.extras import need
from keras_mlp.layers import showing

# In inches: the side of a picture, the gap between two, and the margins.
_CELL, _GAP = 0.72, 0.06
_LEFT, _RIGHT, _TOP, _LINE, _BOTTOM = 0.9, 0.75, 0.6, 0.22, 0.15


@dataclasses.dataclass(frozen=True)
class _Row:
    """Pictures of one layer beside each other: `limit` is where their colours end."""

    label: str
    pictures: np.ndarray
    limit: float


def mixings(model: keras.Model, image=None) -> dict[str, showing.Pictures]:
    """What the layers of a model show of their mixing of positions.

    These are, without an image: weights of MLPs and linear layers along tokens and sides, of gates, windows, circulant
    matrices and global filters, relative positions (PosMLP and the tables of attention), channel perceptrons
    (RepMLPNet; with the convolutions in them after `keras_mlp.fuse`). And with one: generated matrices (DynaMixer),
    phases (Wave-MLP), distances (ActiveMLP), the routes to experts (Sparse-MLP), attention maps.

    Args:
        model: a Keras model, from this package or with its layers in it.
        image: `(height, width, channels)`, pixels as the model takes them, or of a model of videos a clip `(frames,
            height, width, channels)`; `None` for what no image is needed for.

    Returns:
        By the name of the layer, in the model's order; where a layer has weights to show and makes something of the
        image, the latter by its name and "of the image". `showing.Pictures` tells what they are.

    Raises:
        ValueError: there is an image, and the model is no functional model of such images.
    """
    found, made = {}, {} if image is None else _made(model, np.asarray(image, "float32"))
    for layer in naming.weighted_layers(model):
        found[layer.name] = showing.weights(layer)
        if layer.name in made and found[layer.name] is not None:
            found[f"{layer.name} of the image"] = made.pop(layer.name)
    return {name: pictures for name, pictures in (found | made).items() if pictures is not None}


def _made(model, image) -> dict[str, showing.Pictures]:
    own = inner.only_input(model, videos=True)
    sides = itertools.zip_longest(own.shape[1:], image.shape, fillvalue=0)
    if any(side not in (None, given) for side, given in sides):
        what = "image" if len(own.shape) == 4 else "clip"
        raise ValueError(f"`image` must be one {what} {own.shape[1:]}. Received: shape {image.shape}")
    calls = [call for call in copying.calls(model) if showing.made.knows(call.operation) and call.arguments.args]
    if not calls:
        return {}
    given = keras.Model(own, {call.operation.name: call.arguments.args[0] for call in calls})(image[None])
    return {call.operation.name: showing.made(call.operation, given[call.operation.name]) for call in calls}


def plot_token_mixing(model: keras.Model, path, layer: int | str | None = None, units: int = 16, image=None):
    """Draw what token mixing has learnt as small pictures, as in figure 5 of the MLP-Mixer paper.

    A unit of the first layer of a `TokenMLP` has one weight for every position of the grid, which makes a picture of
    the grid's size: red where it adds, blue where it subtracts, white where it does not look. `mixings` tells what
    other layers show. Units are those with the largest weights, by their Euclidean norm, in that order; where none
    counts more, they are evenly spaced. The colours of one layer share one scale.

    Args:
        model: a model with layers that show something.
        path: PNG file to write.
        layer: one of those layers, by its number from 0 or by its name; all its pictures are drawn then, up to `units`
            squared. By default all layers, a row of `units` each.
        units: how many pictures make a row, at most.
        image: an image or a clip, as of `mixings`: what layers make of it is drawn, too.

    Raises:
        ValueError: the model has no such layer, or `units` is less than one; or see `mixings`.
        ImportError: matplotlib is not installed.
    """
    if not isinstance(units, int) or units < 1:
        raise ValueError(f"`units` must be a positive integer. Received: units={units!r}")
    found = mixings(model, image)
    if not found:
        raise ValueError(
            f"Model {model.name!r} has no layers that show how they mix tokens"
            + (" without an image: pass `image`." if image is None else ".")
        )
    if layer is None:
        labels = _labels(list(found))
        rows = [_row(labels[name], pictures.some(units)) for name, pictures in found.items()]
        captions = dict.fromkeys(pictures.caption for pictures in found.values())
    else:
        name = _choose(list(found), layer)
        pictures = found[name].some(units**2)
        limit = _limit(pictures)
        starts = range(0, len(pictures), units)
        rows = [_Row("" if i else _labels([name])[name], pictures[i : i + units], limit) for i in starts]
        captions = [found[name].caption]
    figure = _draw(rows, f"Token mixing of {model.name}", captions)
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, facecolor="white")


def _choose(known, layer) -> str:
    for number, name in enumerate(known):
        if layer in (number, name):
            return name
    raise ValueError(
        f"`layer` must be a number below {len(known)} or one of {', '.join(known)}. Received: layer={layer!r}"
    )


def _labels(known) -> dict[str, str]:
    """The labels of layers: the number of the block if no other layer of the block is drawn, else the name."""
    places = {name: names.parse(name) for name in known}
    blocks = {
        name: f"block {'.'.join(map(str, place.numbers))}" if place and place.part == "block" else name
        for name, place in places.items()
    }
    return {name: block if list(blocks.values()).count(block) == 1 else name for name, block in blocks.items()}


def _row(label, pictures) -> _Row:
    return _Row(label, pictures, _limit(pictures))


def _limit(pictures) -> float:
    """Where the colours end; pictures that are all zero are white."""
    return float(np.abs(pictures).max()) or 1.0


def _draw(rows, title, captions):
    """A figure of rows of pictures, whose colours end at plus and minus their limits."""
    figures = need("matplotlib.figure", extra="analysis")
    columns = max(len(row.pictures) for row in rows)
    # No picture is flatter or steeper than four to one: of a single line one would see nothing.
    heights = [_CELL * min(max(row.pictures.shape[1] / row.pictures.shape[2], 0.25), 4) for row in rows]
    left = max(_LEFT, 0.2 + 0.075 * max(len(row.label) for row in rows))
    top = _TOP + _LINE * len(captions)
    notes = [f"one picture: {words}" for words in captions]
    width = max(left + columns * _CELL + _RIGHT, 0.4 + 0.068 * max(map(len, notes)))
    height = top + sum(heights) + _BOTTOM
    figure = figures.Figure(figsize=(width, height))

    def place(left, bottom, box_width, box_height):
        return figure.add_axes((left / width, bottom / height, box_width / width, box_height / height))

    def write(left, bottom, text, **style):
        figure.text(left / width, bottom / height, text, va="center", **style)

    write(0.2, height - 0.32, title, fontsize=12, fontweight="bold")
    for number, words in enumerate(notes):
        write(0.2, height - 0.58 - _LINE * number, words, fontsize=8.5, color="0.35")
    bottom = height - top
    for row, cell in zip(rows, heights, strict=True):
        bottom -= cell
        middle = bottom + (cell - _GAP) / 2
        write(left - 0.12, middle, row.label, fontsize=9, ha="right")
        signed = row.pictures.min() < 0
        colours = dict(cmap="RdBu_r", vmin=-row.limit) if signed else dict(cmap="Greys", vmin=0)
        for column, picture in enumerate(row.pictures):
            axes = place(left + column * _CELL, bottom, _CELL - _GAP, cell - _GAP)
            axes.imshow(picture, vmax=row.limit, interpolation="nearest", aspect="auto", **colours)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color="0.8", linewidth=0.5)
        scale = place(left + columns * _CELL + 0.04, bottom, 0.07, cell - _GAP)
        scale.imshow(np.linspace(1, -1 if signed else 0, 101)[:, np.newaxis], cmap=colours["cmap"], aspect="auto")
        scale.set_axis_off()
        ends = f"±{row.limit:.2g}" if signed else f"{row.limit:.2g}"
        write(left + columns * _CELL + 0.16, middle, ends, fontsize=7.5, color="0.35")
    return figure
