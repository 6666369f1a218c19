"""Maps inside a model: what leaves its blocks, by number, and its layers, by name."""

import difflib
import math

import keras

from keras_mlp import copying, names, pyramid
from keras_mlp.layers import SequenceToMap, WindowMerge

_FRONT = 2
"""How many tokens may stand in front of the positions: a class token, and one that learns from a teacher."""


def features(model: keras.Model, *, blocks=(), layers=()) -> keras.Model:
    """What leaves some of a model's blocks or layers.

    Blocks are counted from 0 at the input, those of all stages in one row; -1 is the last one. Where a block works on a
    sequence of tokens, the map of its positions is given, without the tokens in front of them.

    Args:
        model: a model of this package, with or without its top, or a functional or sequential model that calls one.
        blocks: numbers of blocks.
        layers: names of layers, as in `model.layers`; what they give is passed on as it is.

    Returns:
        A functional `keras.Model` from the same input to `{"block_0": (batch, height, width, channels), "NAME": …}`, in
        the order asked for; the maps of a video model keep their frames. It shares its layers and weights with `model`.

    Raises:
        ValueError: nothing is asked for, there is no such block or layer, or a block drops tokens, so that its output
            is no map. See `keras_mlp.feature_pyramid` for what `model` must be.

    Example:
        middle = keras_mlp.features(keras_mlp.MLPMixerB16(weights=None), blocks=(5, -1))
        middle(images)["block_5"]  # (batch, 14, 14, 768)
    """
    if isinstance(blocks, int):
        blocks = (blocks,)
    if isinstance(layers, str):
        layers = (layers,)
    if not len(blocks) and not len(layers):
        raise ValueError("Give the numbers of `blocks`, such as blocks=(0, -1), or the names of `layers`.")

    def cut(source, calls):
        found = list(ends(calls).values())
        outputs = {}
        for block in blocks:
            if isinstance(block, bool) or not isinstance(block, int) or not -len(found) <= block < len(found):
                raise ValueError(
                    f"`blocks` must hold whole numbers from {-len(found)} to {len(found) - 1}, because the model has "
                    f"{len(found)} blocks. Received: blocks={tuple(blocks)!r}"
                )
            number = block % len(found)
            outputs[f"block_{number}"] = map_of(found[number], calls, source, f"block_{number}_map")
        by_name = {call.operation.name: call.outputs for call in calls}
        for layer in layers:
            if layer not in by_name:
                near = difflib.get_close_matches(str(layer), by_name, n=3) or list(by_name)[:3]
                raise ValueError(f"There is no layer {layer!r}. Near it are: {', '.join(map(repr, near))}.")
            outputs[layer] = by_name[layer][0] if len(by_name[layer]) == 1 else list(by_name[layer])
        return outputs

    return pyramid.cut(model, cut, "features")


def ends(calls) -> dict:
    """The last call of each block by the block's name, in the order of the blocks."""
    found = {}
    for call in calls:
        place = names.parse(call.operation.name)
        if place is not None and place.part == "block":
            found[place.numbers] = call
    return {names.block(found[numbers].operation.name): found[numbers] for numbers in sorted(found)}


def map_of(end, calls, source, name: str):
    """The map that leaves a block.

    Args:
        end: the last of its calls.
        calls: all calls of the model.
        source: input of the model.
        name: of the layer that makes a map of a sequence or of windows, where the block leaves these.

    Raises:
        ValueError: the block leaves the positions of no map, because it drops some.
    """
    output, axes = end.outputs[0], len(source.shape)
    for merge in calls:  # of a stage that works in windows, after its last block
        if isinstance(merge.operation, WindowMerge) and merge.input_tensors[0].shape == output.shape:
            return copying.anew(merge.operation, name=name)([output, merge.input_tensors[1]])
    if len(output.shape) == axes:
        return output
    maps = [tensor for call in calls for tensor in call.outputs if len(tensor.shape) == axes]
    tokens = output.shape[1]
    like = [
        tensor
        for tensor in maps
        if None not in (tokens, *tensor.shape[1:-1]) and 0 <= tokens - math.prod(tensor.shape[1:-1]) <= _FRONT
    ]
    if len(output.shape) != 3 or not like:
        raise ValueError(
            f"{end.operation.name!r} leaves {tuple(output.shape)}, which are the positions of no map of the model. Ask "
            "for another block."
        )
    return SequenceToMap(name=name)([output, max(like, key=lambda tensor: math.prod(tensor.shape[1:-1]))])
