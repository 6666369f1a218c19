"""Feature pyramids: the maps that a model passes through, for detection and segmentation."""

import math
from collections.abc import Callable

import keras

from keras_mlp import copying, names

_SAMPLE = 448
"""Side in pixels to measure strides at where the model's own size is unknown: 64 * 7, so that all patches fit."""


def feature_pyramid(model: keras.Model, final_norm: bool = True) -> keras.Model:
    """The feature maps of `model`, one for each of its levels.

    A level is what lies between two halvings of the height and width; its map is what leaves its last block, and that
    of the last level what leaves the final norm (the model's output with `include_top=False`). Models of one level,
    such as MLP-Mixer, give one map.

    The name of a map is "P" and the base-2 logarithm of its stride, "P2" for a stride of 4. Strides that are no power
    of two take the nearest name: 7 and 14 (Vision Permutator) are "P3" and "P4".

    The maps of a video model keep their frames: `(batch, frames, height, width, channels)`.

    Of a model that holds one of this package's, behind augmentations for instance, they are the maps of the latter.

    Args:
        model: a model of this package, with or without its top, or a functional or sequential model that calls one.
        final_norm: whether the last map leaves the norm after the last block, and not the block itself. Detectors and
            segmentors of many families norm each map anew, without it.

    Returns:
        A functional `keras.Model` from the same input to `{"P2": (batch, H / 4, W / 4, C), …}`, finest first. It shares
        its layers and weights with `model`.

    Raises:
        ValueError: `model` is not functional, has more than one input, has no map in it, or calls more than one model
            of this package, or one within a wrapper such as `TimeDistributed`.

    Example:
        pyramid = keras_mlp.feature_pyramid(keras_mlp.SMLPNetT(weights=None, include_top=False))
        {name: tensor.shape for name, tensor in pyramid.output.items()}  # {"P2": (None, 56, 56, 80), …}
    """
    return pyramid_of(model, final_norm)


def pyramid_of(model: keras.Model, final_norm: bool = True, starts=()) -> keras.Model:
    """`feature_pyramid` with the maps of some levels taken before their first block.

    Args:
        model: see `feature_pyramid`.
        final_norm: see `feature_pyramid`.
        starts: numbers of the levels, from 0, whose map is what enters their first block, and not what leaves the last.
    """
    return cut(model, lambda source, calls: _levels(model, source, calls, final_norm, starts), "pyramid")


def cut(model: keras.Model, take: Callable, suffix: str) -> keras.Model:
    """A model from the same input to tensors inside a model, or inside the one of this package that it calls.

    Args:
        model: see `feature_pyramid`.
        take: `(input of a model, its calls in their order) -> outputs`.
        suffix: of the name of what is returned, behind the model's own.

    Raises:
        ValueError: see `feature_pyramid`.
    """
    if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or ()) != 1:
        raise ValueError(f"`model` must be a functional Keras model with one input. Received: {model!r}")
    source, calls, name = model.inputs[0], copying.calls(model), f"{model.name}_{suffix}"
    if any(_is_ours(call.operation) for call in calls) or not (within := _holders(calls)):
        return keras.Model(source, take(source, calls), name=name)
    call = within[0]
    if len(within) > 1 or not copying.is_graph(call.operation):
        raise ValueError(
            f"`model` must have one backbone, which it calls once. It has {_described(within)}: take the {suffix} "
            f"of the model itself. Received: {model!r}"
        )
    return keras.Model(source, cut(call.operation, take, suffix)(*call.arguments.args), name=name)


def _levels(model, source, calls, final_norm, starts) -> dict:
    maps = [call for call in calls if _is_map(call, source) and not _is_of_head(call.operation)]
    maps = [call for call in maps if final_norm or not _is_after_blocks(call.operation)]
    if not maps:
        raise ValueError(
            f"`model` must pass through maps, of as many axes as its input. None of its {len(model.layers)} layers "
            f"gives one for the input {source.shape}. Received: {model!r}"
        )
    ends, entered = [], {}
    for call in calls:
        place = names.parse(call.operation.name)
        if place is None or place.part not in ("stem", "down"):
            continue
        if place.part == "down" and place not in entered:
            ends.append(call.input_tensors[0])
        if _is_map(call, source):
            entered[place] = call.outputs[0]
    ends.append(maps[-1].outputs[0])
    entered = list(entered.values())
    ends = [entered[level] if level in starts else end for level, end in enumerate(ends)]
    sides = [size or _SAMPLE for size in source.shape[1:-1]]
    shapes = keras.Model(source, ends).compute_output_shape((1, *sides, source.shape[-1]))
    levels, power = {}, 0
    for end, shape in zip(ends, shapes, strict=True):
        # From level to level, because sizes that are rounded up make the whole stride too small.
        power += round(math.log2(max(sides[-2] / shape[-3], sides[-1] / shape[-2])))
        levels[f"P{power}"] = end  # of two of one stride, the later one
        sides = shape[-3:-1]
    return levels


def _is_map(call, source) -> bool:
    """Whether `call` gives a tensor of as many axes as the images, alone or in front of smaller ones."""
    first, *others = (len(output.shape) for output in call.outputs)
    return first == len(source.shape) and all(axes < first for axes in others)


def _is_of_head(layer) -> bool:
    """Whether a layer or operation is of the classifier, which may begin with a map of its own."""
    place = names.parse(layer.name)
    return place is not None and place.part == "head"


def _is_after_blocks(layer) -> bool:
    place = names.parse(layer.name)
    return place is not None and place.part == "top"


def _is_ours(layer) -> bool:
    """Whether it is a layer of this package."""
    return type(layer).__module__.startswith("keras_mlp.")


def _holders(calls) -> list:
    """Those calls that are of models, or of layers around models, with layers of this package in them."""
    return [
        call
        for call in calls
        if isinstance(call.operation, keras.layers.Layer) and any(map(_is_ours, call.operation._flatten_layers()))
    ]


def _described(calls) -> str:
    """What calls are of, and how to reach the models in them."""
    found = []
    for layer in (call.operation for call in calls):
        path = f"model.get_layer({layer.name!r})"
        while not isinstance(layer, keras.Model) and isinstance(layer, keras.layers.Wrapper):
            layer, path = layer.layer, f"{path}.layer"
        found.append(path)
    return " and ".join(found)
