"""Feature pyramids: the maps that a model passes through, for detection and segmentation."""

import math

import keras

from keras_mlp import names

_SAMPLE = 448
"""Side in pixels to measure strides at where the model's own size is unknown: 64 * 7, so that all patches fit."""


def feature_pyramid(model: keras.Model) -> keras.Model:
    """The feature maps of `model`, one for each of its levels.

    A level is what lies between two halvings of the height and width; its map is what leaves its last block, and that
    of the last level what leaves the final norm (what the model answers with `include_top=False`). Models of one level,
    such as MLP-Mixer, give one map.

    The name of a map is "P" and the base-2 logarithm of its stride, "P2" for a stride of 4. Strides that are no power
    of two take the nearest name: 7 and 14 (Vision Permutator) are "P3" and "P4".

    The maps of a video model keep their frames: `(batch, frames, height, width, channels)`.

    Args:
        model: a model of this package, with or without its top.

    Returns:
        A functional `keras.Model` from the same input to `{"P2": (batch, H / 4, W / 4, C), …}`, finest first. It shares
        its layers and weights with `model`.

    Raises:
        ValueError: `model` is not functional, has more than one input, or has no map in it.

    Example:
        pyramid = keras_mlp.feature_pyramid(keras_mlp.SMLPNetT(weights=None, include_top=False))
        {name: tensor.shape for name, tensor in pyramid.output.items()}  # {"P2": (None, 56, 56, 80), …}
    """
    if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or ()) != 1:
        raise ValueError(f"`model` must be a functional Keras model with one input. Received: {model!r}")
    source = model.inputs[0]
    maps = [layer for layer in model.layers if _is_map(layer, source)]
    if not maps:
        raise ValueError(
            f"`model` must pass through maps, of as many axes as its input. None of its {len(model.layers)} layers "
            f"gives one for the input {source.shape}. Received: {model!r}"
        )
    ends, seen = [], set()
    for layer in model.layers:
        place = names.parse(layer.name)
        if place and place.part == "down" and place not in seen:
            seen.add(place)
            ends.append(layer.input)
    ends.append(maps[-1].output)
    sides = [size or _SAMPLE for size in source.shape[1:-1]]
    shapes = keras.Model(source, ends).compute_output_shape((1, *sides, source.shape[-1]))
    levels, power = {}, 0
    for end, shape in zip(ends, shapes, strict=True):
        # From level to level, because sizes that are rounded up make the whole stride too small.
        power += round(math.log2(max(sides[-2] / shape[-3], sides[-1] / shape[-2])))
        levels[f"P{power}"] = end  # of two of one stride, the later one
        sides = shape[-3:-1]
    return keras.Model(source, levels, name=f"{model.name}_pyramid")


def _is_map(layer, source) -> bool:
    """Whether `layer` gives one tensor of as many axes as the images."""
    output = getattr(layer, "output", None)
    return not isinstance(layer, keras.layers.InputLayer) and len(getattr(output, "shape", ())) == len(source.shape)
