"""What a head on top of a backbone reads: one map a level, each with a norm of its own where the authors put one."""

import functools
import re

import keras
from keras import layers

from keras_mlp import copying, names, zoo
from keras_mlp.layers import Activation, SequenceToMap, layer_norm, precision
from keras_mlp.pyramid import pyramid_of


def family_of(backbone: keras.Model):
    """The family of a backbone, told by the model's name; `None` for a name that is none of the zoo's."""
    for family in zoo.FAMILIES.values():
        if backbone.name in family.builders:
            return family
    return None


def levels(backbone: keras.Model, level_norm="published") -> dict:
    """The maps of a backbone, finest first.

    Of a backbone of one level, such as ViT or MLP-Mixer, they are those of `simple_pyramid`.

    Args:
        backbone: a model of the zoo without its top, or a pyramid: a model that gives maps by their names, such as
            `simple_pyramid` makes it. A pyramid's maps are taken as they are.
        level_norm: the norm of each map, a function that makes a layer of its name; `None` for none, where the last map
            leaves the backbone's final norm; "raw" for none, not even that one. "last" for norms like that final one.
            "published" for what the authors of the family have in their detectors and segmentors, which a backbone's
            name tells: the norms, and where the maps are taken. Norms are called "level_0_norm" and so on.

    Returns:
        `{"P2": tensor, …}`, tensors of the backbone's graph, named as in `keras_mlp.feature_pyramid`.

    Raises:
        ValueError: the backbone ends in its classifier, `level_norm` is unknown, or the backbone has no last norm that
            others could be like.
    """
    maps = own_levels(backbone, level_norm)
    return maps if len(maps) > 1 else _simple_pyramid(maps, CHANNELS, STRIDES)


def check(backbone):
    """Raise a `ValueError` unless `backbone` gives a map or, as a pyramid, maps by their names."""
    output = getattr(backbone, "output", None)
    maps = output if is_pyramid(backbone) else {"": output}
    if any(len(getattr(x, "shape", ())) != 4 for x in maps.values()):
        shape = getattr(backbone, "output_shape", None)
        raise ValueError(
            "`backbone` must be a model that gives a map (batch, height, width, channels): build it with "
            'include_top=False and without `pooling`. One that gives several must call them "P2", "P3", … in a '
            f"dictionary. Received: {getattr(backbone, 'name', repr(backbone))} with the output {shape}"
        )


def is_pyramid(model) -> bool:
    """Whether a model gives a dictionary by names of strides, "P2" for 4 pixels and so on."""
    output = getattr(model, "output", None)
    return isinstance(output, dict) and len(output) > 0 and all(re.fullmatch(r"P\d+", name) for name in output)


def own_levels(backbone: keras.Model, level_norm="published") -> dict:
    """The maps that a backbone passes through, be it one; see `levels`."""
    check(backbone)
    if is_pyramid(backbone):
        return dict(sorted(backbone.output.items(), key=lambda item: int(item[0][1:])))
    starts = ()
    if level_norm == "published":
        family = family_of(backbone)
        level_norm, starts = (family.level_norm(backbone.name), family.level_starts) if family else (None, ())
    if isinstance(level_norm, str) and level_norm not in ("raw", "last"):
        raise ValueError(
            '`level_norm` must be "published", "last", "raw", None or a function that makes a layer of its name. '
            f"Received: level_norm={level_norm!r}"
        )
    if level_norm in (None, "raw"):
        return pyramid_of(backbone, final_norm=level_norm is None, starts=starts).output
    if level_norm == "last":
        level_norm = functools.partial(_like, last_norm(backbone))
    maps = pyramid_of(backbone, final_norm=False, starts=starts).output
    return {name: level_norm(f"level_{i}_norm")(x) for i, (name, x) in enumerate(maps.items())}


CHANNELS, STRIDES = 256, (4, 8, 16, 32)
"""Width and strides of a simple pyramid by default, which are ViTDet's."""


def simple_pyramid(backbone: keras.Model, channels: int = CHANNELS, strides=STRIDES, level_norm="published"):
    """A pyramid for a backbone of one level, such as ViT, MLP-Mixer, ResMLP or gMLP: all maps are made of its last one.

    A map of twice the resolution comes of a transposed convolution of 2 x 2 positions, which halves the width; each
    further doubling has a layer norm and GELU before it. A map of half the resolution has the maxima of 2 x 2
    positions. Then each has a convolution of 1 x 1 and one of 3 x 3 positions, with a layer norm after each.

    Detectors and segmentors that need several levels make one with the default arguments where they are given a
    backbone of one level.

    Args:
        backbone: a model of the zoo without its top, of one level.
        channels: width of the maps.
        strides: of the maps in pixels, finest first, powers of two. Where the backbone's is none, such as 14, the
            nearest one counts for it, and the maps' strides have the same ratio to theirs.
        level_norm: the norm of the map that all are made of; see `keras_mlp.tasks.UPerNet`.

    Returns:
        A functional `keras.Model` from the backbone's input to `{"P2": (batch, height / 4, width / 4, channels), …}`,
        sides rounded up below the backbone's resolution. It shares the backbone's layers, and detectors and segmentors
        take it as their backbone.

    Raises:
        ValueError: the backbone has several levels or its top, or an argument is out of its range.

    Source: Li et al. 2022 (ViTDet), https://arxiv.org/abs/2203.16527, section 3, in the form of detectron2's
        `SimpleFeaturePyramid`.

    Example:
        backbone = keras_mlp.ViTB16(include_top=False, input_shape=(512, 512, 3))
        model = keras_mlp.tasks.UPerNet(keras_mlp.tasks.simple_pyramid(backbone, channels=384), classes=150)
    """
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise ValueError(f"`channels` must be a positive integer. Received: channels={channels!r}")
    powers = [stride.bit_length() - 1 for stride in strides if isinstance(stride, int) and stride > 0]
    if not powers or [2**power for power in sorted(set(powers))] != list(strides):
        raise ValueError(f"`strides` must be powers of two, in rising order. Received: strides={strides!r}")
    if len(maps := own_levels(backbone, level_norm)) > 1:
        raise ValueError(
            f"`simple_pyramid` is for backbones of one level. {backbone.name} has {', '.join(maps)}: give it to the "
            "detector or segmentor as it is."
        )
    with precision.policy(policy_of(backbone)):
        outputs = _simple_pyramid(maps, channels, strides)
    return keras.Model(backbone.inputs[0], outputs, name=f"{backbone.name}_simple_pyramid")


def _simple_pyramid(maps, channels, strides) -> dict:
    """The maps of `simple_pyramid`, from a backbone's one map by its name."""
    ((name, x),) = maps.items()
    same = dict(data_format="channels_last", padding="same")
    there, width = int(name[1:]), x.shape[-1]
    outputs = {}
    for power in (stride.bit_length() - 1 for stride in strides):
        y, level = x, f"neck_pyramid_{power}"
        for i in range(there - power):
            if i:
                y = _norm(f"{level}_up_{i - 1}_norm")(y)
                y = Activation("gelu", name=f"{level}_up_{i - 1}_act")(y)
            y = layers.Conv2DTranspose(max(1, width >> (i + 1)), 2, 2, **same, name=f"{level}_up_{i}")(y)
        for i in range(power - there):
            y = layers.MaxPooling2D(2, **same, name=f"{level}_down_{i}")(y)
        for kernel_size in (1, 3):
            conv = f"{level}_conv{kernel_size}"
            y = layers.Conv2D(channels, kernel_size, **same, use_bias=False, name=conv)(y)
            y = _norm(f"{conv}_norm")(y)
        outputs[f"P{power}"] = y
    return outputs


def _norm(name):
    return layer_norm(name, epsilon=1e-6)


def from_stride(backbone: keras.Model, stride: int, level_norm="published") -> tuple[list, list[int]]:
    """The maps of a backbone from a stride on, or the coarsest where there are none, and their strides in pixels.

    Args:
        backbone, level_norm: see `levels`.
        stride: power of two; finer maps are left out.

    Returns:
        `(maps, strides)`, finest first.

    Raises:
        ValueError: `levels` refuses the backbone.
    """
    maps = levels(backbone, level_norm)
    names = [name for name in maps if 2 ** int(name[1:]) >= stride] or list(maps)[-1:]
    return [maps[name] for name in names], [_stride(backbone, name, maps[name]) for name in names]


def _stride(backbone, name, x) -> int:
    """The stride of a map, which its name tells, unless it is no power of two."""
    power, side = 2 ** int(name[1:]), backbone.inputs[0].shape[1]
    cells = x.shape[1]
    if side is None or cells is None or side // power <= cells <= -(-side // power):
        return power
    return round(side / cells)


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
