"""The maps inside a model, for what looks at them."""

import contextlib

import keras

from keras_mlp import copying, names, pyramid
from keras_mlp.features import ends, map_of


def maps(model: keras.Model) -> keras.Model:
    """The map that leaves each block of a model.

    Args:
        model: a functional model with one input of images, or one that holds such a model.

    Returns:
        A model from the same input to `{name: (batch, height, width, channels)}`, in the order of the blocks. Of one
        of this package the names are "stem", "blocks_i", "stages_s_i", and "norm" for a map after the last block; of
        another, those of all its layers that give a map.

    Raises:
        ValueError: `model` is not functional, takes no images, or passes through no map.
    """
    only_input(model)

    def take(source, calls):
        every = {call.operation.name: call.outputs[0] for call in calls if _is_map(call.outputs[0])}
        blocks = ends(calls)
        if blocks:
            of_parts = {names.block(name): tensor for name, tensor in every.items()}
            found = {"stem": of_parts.get("stem")}
            for block, end in blocks.items():
                with contextlib.suppress(ValueError):  # the block has dropped positions
                    found[block] = map_of(end, calls, source, f"{block}_map")
            found["norm"] = of_parts.get("norm")
            every = {name: tensor for name, tensor in found.items() if tensor is not None}
        if not every:
            raise ValueError(
                f"`model` passes through no map (batch, height, width, channels). It takes {source.shape}."
            )
        return every

    return pyramid.cut(model, take, "maps")


def chosen(model: keras.Model, layer: str | None) -> tuple[str, keras.Model]:
    """A model from the same input to one of its maps, and the name of the map.

    Args:
        model: see `maps`.
        layer: name of a block, or of a layer that gives a map; by default the last map.

    Raises:
        ValueError: there is none of that name, or see `maps`.
    """
    known = maps(model)
    if layer is None:
        layer = list(known.output)[-1]
    if layer in known.output:
        return layer, keras.Model(known.input, known.output[layer])
    return layer, keras.Model(model.inputs[0], _of_layer(model, layer, known.output))


def on_the_way(model: keras.Model, layer: str | None) -> keras.KerasTensor:
    """A map that everything after it in the model is made of: the output of a block or layer, by default the last map.

    Raises:
        ValueError: there is none of that name.
    """
    only_input(model)
    every = {call.operation.name: call.outputs[0] for call in copying.calls(model) if _is_map(call.outputs[0])}
    of_blocks = {names.block(name): tensor for name, tensor in every.items()}
    if layer in of_blocks:
        return of_blocks[layer]
    return list(every.values())[-1] if layer is None and every else _of_layer(model, layer, of_blocks)


def only_input(model, videos: bool = False) -> keras.KerasTensor:
    """The input of a model of images, or with `videos` of a model of images or clips.

    Raises:
        ValueError: `model` is no functional or sequential Keras model with one such input.
    """
    inputs = getattr(model, "inputs", None) or ()
    ranks = (4, 5) if videos else (4,)
    clips = ", or of clips with the frames before the height" if videos else ""
    if not isinstance(model, keras.Model) or len(inputs) != 1 or len(inputs[0].shape) not in ranks:
        raise ValueError(
            "`model` must be a functional Keras model with one input of images (batch, height, width, channels)"
            f"{clips}. Received: {model!r} with the inputs {[tuple(one.shape) for one in inputs]}"
        )
    return inputs[0]


def image_size(model, given=None) -> tuple[int, int]:
    """Height and width of the images to look at a model with: those given, its own, else 224.

    Raises:
        ValueError: `given` are not two positive whole numbers, or differ from those of a model of one size.
    """
    own = only_input(model).shape[1:-1]
    size = tuple(given) if given is not None else tuple(side or 224 for side in own)
    whole = len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)
    if not whole or any(side and side != asked for side, asked in zip(own, size, strict=True)):
        raise ValueError(f"`image_size` must be two positive integers that the model takes, {own}. Received: {given!r}")
    return size


def need_tensorflow():
    """Raise a `RuntimeError` where gradients cannot be taken as this package takes them."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"Gradients are taken by TensorFlow. The Keras backend is {keras.backend.backend()!r}.")


def _of_layer(model, name, known):
    for call in copying.calls(model):
        if call.operation.name == name and len(call.outputs[0].shape) == 4:
            return call.outputs[0]
    blocks = ", ".join(filter(None, known))
    raise ValueError(f"`layer` must be a block or a layer that gives a map: {blocks}. Received: {name!r}")


def _is_map(tensor) -> bool:
    """Whether a tensor is a map; a pooled vector that keeps its axes is none."""
    return len(tensor.shape) == 4 and 1 not in tensor.shape[1:-1]
