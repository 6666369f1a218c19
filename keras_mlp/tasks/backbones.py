"""What a head on top of a backbone reads: one map a level, each with a norm of its own where the authors put one."""

import functools

import keras

from keras_mlp import copying, names, zoo
from keras_mlp.layers import SequenceToMap
from keras_mlp.pyramid import feature_pyramid


def family_of(backbone: keras.Model):
    """The family of a backbone, told by the model's name; `None` for a name that is none of the zoo's."""
    for family in zoo.FAMILIES.values():
        if backbone.name in family.builders:
            return family
    return None


def levels(backbone: keras.Model, level_norm="published") -> dict:
    """The maps of a backbone, finest first.

    Args:
        backbone: a model of the zoo without its top.
        level_norm: the norm of each map, a function that makes a layer of its name; `None` for none, where the last map
            leaves the backbone's final norm. "last" for norms like that final one. "published" for what the authors of
            the family have in their detectors and segmentors, which a backbone's name tells. Norms are called
            "level_0_norm" and so on.

    Returns:
        `{"P2": tensor, …}`, tensors of the backbone's graph.

    Raises:
        ValueError: the backbone ends in its classifier, or has no last norm that others could be like.
    """
    if len(backbone.output_shape) != 4:
        raise ValueError(
            "`backbone` must give a map (batch, height, width, channels): build it with include_top=False and without "
            f"`pooling`. Received: {backbone.name} with the output {backbone.output_shape}"
        )
    if level_norm == "published":
        family = family_of(backbone)
        level_norm = family.level_norm if family else None
    if level_norm is None:
        return feature_pyramid(backbone).output
    if level_norm == "last":
        level_norm = functools.partial(_like, last_norm(backbone))
    maps = feature_pyramid(backbone, final_norm=False).output
    return {name: level_norm(f"level_{i}_norm")(x) for i, (name, x) in enumerate(maps.items())}


def last_norm(backbone: keras.Model) -> keras.layers.Layer:
    """The norm after a backbone's last block.

    Raises:
        ValueError: there is none, as in a backbone whose norms are fused into its other layers.
    """
    for layer in backbone.layers:
        if names.local(layer.name) == "norm":
            return layer
    raise ValueError(
        f"{backbone.name} has no norm after its last block, which those of its maps could be like. Give `level_norm` "
        "as a function that makes a layer of its name, or as None."
    )


def _like(layer, name):
    """A new layer of the same settings."""
    return type(layer).from_config(layer.get_config() | {"name": name})


def blocks(backbone: keras.Model, numbers) -> list:
    """What leaves some blocks of a backbone of one level, as maps.

    Args:
        backbone: a model of the zoo without its top whose blocks are numbered through, such as ViT or MLP-Mixer.
        numbers: of the blocks, from 0, or from -1 for the last; in any order.

    Returns:
        Tensors `(batch, height, width, channels)`; tokens in front of the positions are left out.

    Raises:
        ValueError: there is no such block, or blocks are numbered by stage.
    """
    ends, stem = {}, None
    for call in copying.calls(backbone):
        place = names.parse(call.operation.name)
        if place is None or len(call.outputs) != 1:
            continue
        if place.part == "block" and len(place.numbers) == 1:
            ends[place.numbers[0]] = call.outputs[0]
        elif place.part == "stem" and len(call.outputs[0].shape) == 4:
            stem = call.outputs[0]
    wanted = [len(ends) + number if number < 0 else number for number in numbers]
    if unknown := [number for number, found in zip(numbers, wanted, strict=True) if found not in ends]:
        have = f"blocks 0–{len(ends) - 1}" if ends else "no blocks that are numbered through, as stages have not"
        raise ValueError(f"{backbone.name} has {have}. Received: blocks={unknown}")
    maps = {}
    for number in set(wanted):
        x = ends[number]
        maps[number] = x if len(x.shape) == 4 else SequenceToMap(name=f"neck_map_{number}")([x, stem])
    return [maps[number] for number in wanted]


def depth(backbone: keras.Model) -> int:
    """How many blocks a backbone of one level has."""
    places = filter(None, (names.parse(layer.name) for layer in backbone.layers))
    return len({place.numbers for place in places if place.part == "block"})


def policy_of(backbone: keras.Model):
    """The dtype policy of a backbone's layers."""
    return next((layer.dtype_policy for layer in reversed(backbone.layers) if layer.weights), None)
