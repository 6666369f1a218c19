"""The maps inside a model, for what looks at them."""

import keras

from keras_mlp import copying, names


def maps(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """The map that leaves each block of `model`, by the block's name, in their order.

    Args:
        model: a functional model with one input of images. Of a model of this package the names are "stem", "blocks_i",
            "stages_s_i", and "norm" for the map after the last block; of another, those of all its layers that give
            a map.

    Returns:
        Symbolic tensors `(batch, height, width, channels)`.

    Raises:
        ValueError: `model` is not functional, takes no images, or passes through no map.
    """
    source = only_input(model)
    found, everything = {}, {}
    for call in copying.calls(model):
        tensor = call.outputs[0]
        if len(tensor.shape) != 4 or any(side == 1 for side in tensor.shape[1:-1]):
            continue  # a token or a vector; a pooled vector that keeps its axes is no map either
        everything[call.operation.name] = tensor
        if block := names.block(call.operation.name):
            found[block] = tensor
    found = found or everything
    if not found:
        raise ValueError(f"`model` passes through no map (batch, height, width, channels). It takes {source.shape}.")
    return found


def chosen(model: keras.Model, layer: str | None) -> tuple[str, keras.KerasTensor]:
    """One of a model's maps and its name: by the name of a block or a layer, by default the last.

    Raises:
        ValueError: there is none of that name, or see `maps`.
    """
    known = maps(model)
    if layer is None:
        return list(known.items())[-1]
    if layer in known:
        return layer, known[layer]
    for call in copying.calls(model):
        if call.operation.name == layer and len(call.outputs[0].shape) == 4:
            return layer, call.outputs[0]
    raise ValueError(f"`layer` must be a block or a layer that gives a map: {', '.join(known)}. Received: {layer!r}")


def only_input(model) -> keras.KerasTensor:
    """The input of a model of images.

    Raises:
        ValueError: `model` is no functional or sequential Keras model with one input of images.
    """
    inputs = getattr(model, "inputs", None) or ()
    if not isinstance(model, keras.Model) or len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ValueError(
            "`model` must be a functional Keras model with one input of images (batch, height, width, channels). "
            f"Received: {model!r} with the inputs {[tuple(one.shape) for one in inputs]}"
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
