"""A published tensor in the shape of a variable: as it is, resampled to another grid, or for other input channels."""

import itertools
import math

import keras
import numpy as np

from keras_mlp.checkpoints import resample
from keras_mlp.layers import TokenSequence


def fit(model, layer, variable, array, input_size):
    """`array` in the shape of `variable`, and how: `None` (as it is), "resampled", "adapted"; else the wrong shape."""
    shape = tuple(variable.shape)
    if not array.size:
        return array, array.shape
    axes = resample.axes_of(layer, variable)
    if axes and not layer.follows_input:
        input_size = None
    if axes and array.ndim > len(axes):  # a linear layer that is published as a convolution of one pixel
        array = array.squeeze()
    # Grids of other proportions can have as many positions: only the size they were trained at tells them apart.
    if array.shape == shape and not (axes and input_size):
        return array, None
    if axes and len(axes) == array.ndim:
        others = all(n == m for n, m, over in zip(array.shape, shape, axes, strict=True) if not over)
        grid = _source_grid(model, layer, array.shape, shape, axes, input_size)
        if others and grid:
            if grid == layer.grid:
                return array, None
            moved = resample.resample(array, axes, grid, layer.grid, layer.in_front, layer.reduction)
            return moved, "resampled"
        if others and input_size is None:
            return array, f"{array.shape} (no square grid: pass `input_size`, its height and width)"
    elif [n for n in array.shape if n != 1] == [n for n in shape if n != 1]:
        return array.reshape(shape), None
    if (
        isinstance(layer, keras.layers.DepthwiseConv2D)
        and array.ndim == 4
        and array.shape[-2:] == (1, shape[2] * shape[3])
    ):
        return array.reshape(shape), None  # several outputs a channel, one after the other
    if array.ndim == 2 and len(shape) == 4 and array.shape == (math.prod(shape[:-1]), shape[-1]):
        # A linear layer on all of a map, which PyTorch flattens channel by channel.
        height, width, channels, units = shape
        return array.reshape(channels, height, width, units).transpose(1, 2, 0, 3), None
    channels = model.inputs[0].shape[-1]
    around = (*shape[:-2], *shape[-1:])
    if len(shape) > 2 and shape[-2] == channels and (*array.shape[:-2], *array.shape[-1:]) == around:
        return _adapt_channels(array, channels), "adapted"
    return array, array.shape


def drop_tokens(named, ours) -> list[str]:
    """Take out of `ours` the tokens in front of a sequence, with their embeddings, where the model's has none.

    Args:
        named: `{our name: (layer, variable)}` of the model.
        ours: `{our name: array}` of the checkpoint.

    Returns:
        Our names of the tokens.
    """
    dropped = []
    for name, (layer, _) in named.items():
        place, _, weight = name.rpartition("/")
        if not isinstance(layer, TokenSequence) or layer.tokens or weight != "embedding" or name not in ours:
            continue
        tokens = [other for other in ours if other.rpartition("/")[0] == place and other != name]
        if ours[name].ndim == 2:
            ours[name] = ours[name][len(tokens) :]
        for token in tokens:
            del ours[token]
        dropped += tokens
    return dropped


# Resampling takes memory for the product of the positions of both grids, so that the larger one has a limit.
_MOST_TIMES, _MANY = 16, 4096


def _source_grid(model, layer, shape, shape_here, axes, input_size):
    """The grid that a layer had where the checkpoint was trained, or `None` if the weight's shape does not tell."""

    here, found = resample.lengths(layer.grid, layer.reduction), {}
    for n, n_here, over in zip(shape, shape_here, axes, strict=True):
        if over:
            side = over.rpartition(" ")[0]
            n, n_here = n - layer.in_front, n_here - layer.in_front
            found[side], rest = divmod(n * here[side], n_here)  # an axis may have several numbers for each position
            if rest:
                return None

    def fits(grid):
        return all(resample.lengths(grid, layer.reduction)[side] == n for side, n in found.items())

    *frames, height, width = layer.grid
    frames = [_side(found, "frames", n) for n in frames]
    if input_size is not None:
        sides = zip((height, width), input_size, model.inputs[0].shape[-3:-1], strict=True)
        # Down, or up: a side of 7 may come from one of 14, which was 4 where that was 7.
        rounded = ((side * trained // now, -(-side * trained // now)) for side, trained, now in sides)
        images = itertools.product(*rounded)
    else:
        positions = found.get("image", found.get("distances"))
        if "" in found:
            positions = found[""] // math.prod(frames)
        side = positions and round(positions**0.5)
        height, width = found.get("height", side or height), found.get("width", side or width)
        if "half width" in found:
            height = width = found["height"]
        if "offsets" in found:
            height = width = round(found["offsets"] ** 0.5 + 1) // 2
        images = [(height, width)]
    # Offsets along one side tell its length, whatever the input's was.
    grids = ((*frames, _side(found, "height offsets", h), _side(found, "width offsets", w)) for h, w in images)
    grid = next(filter(fits, grids), None)
    return None if grid is None or math.prod(grid) > max(_MOST_TIMES * here[""], _MANY) else grid


def _side(found, name, otherwise):
    """The length of a side, from the number of positions, or of offsets, that a weight has along it."""
    count = found.get(name)
    if count is None and not name.endswith("offsets"):
        return _side(found, f"{name} offsets", otherwise)
    return otherwise if count is None else (count + 1) // 2 if name.endswith("offsets") else count


def _adapt_channels(kernel, channels):
    """A kernel `(…, in, out)` for other input channels, as timm does: summed for one, else tiled and rescaled."""
    published = kernel.shape[-2]
    if channels == 1:
        return kernel.sum(axis=-2, keepdims=True)
    tiled = np.concatenate([kernel] * -(-channels // published), axis=-2)[..., :channels, :]
    return tiled * np.asarray(published / channels, kernel.dtype)
