"""What all exports ask of a model and of a path, before anything slow starts."""

import os
import pathlib

import keras


def checked_path(path, suffix: str) -> pathlib.Path:
    """Where a file is to be written; a `ValueError` where it cannot be.

    Args:
        path: the file.
        suffix: what its name must end in, "" for a folder.
    """
    path = pathlib.Path(path)
    if suffix and path.suffix != suffix:
        raise ValueError(f'`path` must end in "{suffix}". Received: path={str(path)!r}')
    if suffix and path.is_dir():
        raise ValueError(f"`path` is a folder, not a file: {path}")
    if not suffix and path.is_file():
        raise ValueError(f"`path` is a file, and a folder is to be written: {path}")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent} to write {path.name} into. Make it first.")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"The folder {path.parent} cannot be written.")
    return path


def checked_shape(model, what: str, input_shape=None) -> tuple[int, ...]:
    """The static shape of the images that an exported model takes; a `ValueError` for what cannot be exported.

    Args:
        model: functional or sequential model with one input and one output.
        what: the format, for messages.
        input_shape: `(height, width, channels)`, needed where the model leaves one of them open.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "`model` must be a functional Keras model, or a sequential one that knows its input. "
            f"Received: {model!r} of type {type(model).__name__}"
        )
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Export to {what} needs the TensorFlow backend. Received: the backend "
            f'"{keras.backend.backend()}". Save the model to a .keras file and export it in a process with '
            "KERAS_BACKEND=tensorflow."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "`model` must have one input and one output. "
            f"Received: {len(model.inputs)} inputs and {len(model.outputs)} outputs"
        )
    if quantized := [layer.name for layer in model.layers if getattr(layer, "quantization_mode", None)]:
        raise ValueError(
            f"`model` was quantised by Keras already (layer {quantized[0]!r}). Export the model from before: "
            "`to_tflite` quantises by itself."
        )
    own = tuple(model.inputs[0].shape[1:])
    shape = own if input_shape is None else tuple(input_shape)
    if None in shape:
        raise ValueError(
            f"The model leaves its input size open: {own}. Say which to export with `input_shape`, "
            f"e.g. {tuple(side or 224 for side in own)}. Received: input_shape={input_shape}"
        )
    if len(shape) != len(own) or any(side not in (None, given) for side, given in zip(own, shape, strict=True)):
        raise ValueError(f"`input_shape` must fit the model's input {own}. Received: input_shape={input_shape}")
    return shape
