"""What all exports ask of a model, a path and what they are given with it, before anything slow starts."""

import json
import os
import pathlib

import keras
import numpy as np

from keras_mlp.adapters import quantised
from keras_mlp.export.outputs import names_of
from keras_mlp.labels import check_names


def checked_path(path, suffix: str) -> pathlib.Path:
    """Where a file is to be written; a `ValueError` where it cannot be.

    Args:
        path: the file.
        suffix: what its name must end in, "" for a folder.
    """
    path = pathlib.Path(path).expanduser()
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


def checked_folder(path, suffix: str) -> pathlib.Path:
    """Where a folder is to be written whose name ends in `suffix`; a `ValueError` where it cannot be."""
    if pathlib.Path(path).suffix != suffix:
        raise ValueError(f'`path` must end in "{suffix}". Received: path={str(path)!r}')
    return checked_path(path, "")


def checked_shape(model, what: str, input_shape=None, named: bool = False) -> tuple[int, ...]:
    """The static shape of the images that an exported model takes; a `ValueError` for what cannot be exported.

    Args:
        model: functional or sequential model with one input and one output, or with outputs by name.
        what: the format, for messages.
        input_shape: `(height, width, channels)`, needed where the model leaves one of them open.
        named: whether the format can have several outputs, by name.
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
    several = len(model.outputs) != 1 or names_of(model) is not None
    if len(model.inputs) != 1 or (several and not (named and names_of(model))):
        also = ", or several in a flat dictionary, by name" if named else ""
        raise ValueError(
            f"`model` must have one input and one output{also}. "
            f"Received: {len(model.inputs)} inputs and {len(model.outputs)} outputs"
        )
    if layers := quantised(model):
        raise ValueError(
            f"`model` was quantised by Keras already (layer {layers[0]!r}). Export the model from before: "
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
    check_weights(model)
    return shape


def check_weights(model):
    """Raise a `ValueError` if a weight is NaN or infinite, or would be in float32."""
    wrong = {}
    for variable in model.variables:
        if keras.backend.is_float_dtype(variable.dtype):
            with np.errstate(over="ignore"):
                values = keras.ops.convert_to_numpy(variable).astype("float32")
            if count := values.size - np.count_nonzero(np.isfinite(values)):
                wrong[variable.path] = f"{count} of {values.size}"
    if wrong:
        some = ", ".join(f"{path} ({count})" for path, count in list(wrong.items())[:3])
        raise ValueError(
            f"`model` has weights that are NaN or infinite in float32, in {len(wrong)} of its {len(model.variables)} "
            f"variables: {some}{', …' * (len(wrong) > 3)}. Its training has gone wrong: take a file from before, such "
            "as best.keras."
        )


def checked_images(name: str, images, shape: tuple[int, ...]) -> np.ndarray:
    """Images as an array of real, finite numbers `(n, *shape)`; a `ValueError` where they are no such.

    Args:
        name: of the argument, for messages.
        images: what was given.
        shape: of one image, `(height, width, channels)`.
    """
    try:
        images = np.asarray(images)
    except ValueError as error:
        raise ValueError(f"`{name}` must be images of one size. {error}") from error
    if images.shape[1:] != tuple(shape) or not len(images):
        raise ValueError(
            f"`{name}` must be images of the shape (n, {', '.join(map(str, shape))}) with n > 0. "
            f"Received: {describe(images)}"
        )
    real = np.issubdtype(images.dtype, np.floating) or np.issubdtype(images.dtype, np.integer)
    if not real and images.dtype.name != "bfloat16":
        raise ValueError(f"`{name}` must be real, finite numbers. Received: {describe(images)}")
    with np.errstate(over="ignore"):
        if not np.isfinite(images.astype("float32")).all():
            raise ValueError(f"`{name}` must be real, finite numbers, in float32, too. Received: {describe(images)}")
    return images


def describe(images) -> str | None:
    """Shape and dtype of an array, for messages."""
    return None if images is None else f"shape={np.shape(images)}, dtype={np.asarray(images).dtype}"


def check_told(classes, metadata, outputs: int | None):
    """Raise a `ValueError` if names of classes or metadata cannot be written into a file.

    Args:
        classes: names, or `None`.
        metadata: a dictionary, or `None`.
        outputs: how many numbers the model gives for an image; `None` for a model whose outputs have names.
    """
    if classes is not None:
        if outputs is None:
            raise ValueError("`classes` go with a model of one output. Name those of several in `metadata`.")
        if isinstance(classes, str) or len(classes) != outputs:
            received = repr(classes) if isinstance(classes, str) else f"{len(classes)} names"
            raise ValueError(f"`classes` must name the {outputs} outputs of the model. Received: {received}")
        check_names(classes)
    try:
        json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"`metadata` must be a dictionary of what JSON has: {error}") from error
    if not isinstance(metadata, dict | None):
        raise ValueError(f"`metadata` must be a dictionary. Received: {metadata!r}")
