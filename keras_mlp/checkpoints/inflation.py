"""An image model's weights as the beginning of a video model of the same architecture."""

import keras
import numpy as np

from keras_mlp import names
from keras_mlp.checkpoints import naming
from keras_mlp.checkpoints.untrusted import some

KERNELS = ("mean", "middle")


def inflate(image_model: keras.Model, video_model: keras.Model, kernels: str = "mean") -> tuple[str, ...]:
    """Give a video model the weights of an image model.

    Weights that both models have are copied. A kernel over several frames becomes the image's kernel at each frame,
    divided by the number of frames. Embeddings of places are the image's. The image has one embedding of a frame: each
    frame of the video gets it. It is zero in a model with one embedding for each position. Vectors for the offsets of
    frames become zeros. Layers that only the video model has, such as MorphMLP's over frames, stay as they are, and so
    does a classifier of other classes.

    Source: Carreira and Zisserman 2017 (I3D), https://arxiv.org/abs/1705.07750, section 3; facebookresearch/SlowFast,
    `inflate_weight` in utils/checkpoint.py, with which MViT's video models begin.

    Args:
        image_model: a model of this package for images, such as `keras_mlp.MViTB16Separable(weights="imagenet")`.
        video_model: one for videos of the same architecture, height and width; its variables are set.
        kernels: "mean" for the above, or "middle" for the image's kernel at the middle frame and zeros at the others.
            With "middle", all frames of a video that stands still begin with what the image model computes.

    Returns:
        Names of the variables that stay as they were.

    Raises:
        ValueError: the models do not take images and videos, or are not of one architecture and size; nothing has
            changed then.

    Example:

    ```python
    video = keras_mlp.MorphMLPVideoS16(weights=None, classes=174)
    keras_mlp.inflate(keras_mlp.MorphMLPS(weights="FILE.pth"), video)
    ```
    """
    if kernels not in KERNELS:
        raise ValueError(f"`kernels` must be one of {KERNELS}. Received: kernels={kernels!r}")
    shapes = [model.inputs[0].shape for model in (image_model, video_model)]
    if [len(shape) for shape in shapes] != [4, 5]:
        raise ValueError(
            "`image_model` must take images (batch, height, width, channels) and `video_model` videos with frames "
            f"before the height. They take {tuple(shapes[0])} and {tuple(shapes[1])}."
        )
    theirs = {name: np.asarray(variable) for name, (_, variable) in naming.named_variables(image_model).items()}
    theirs = _separated(theirs)
    ours = {name: variable for name, (_, variable) in naming.named_variables(video_model).items()}
    layers = {name.partition("/")[0] for name in theirs}
    values, fresh, wrong = {}, [], []
    for name, variable in ours.items():
        shape = tuple(variable.shape)
        if name.endswith("/frames_offsets"):
            values[name] = np.zeros(shape)
        elif name not in theirs and (name.partition("/")[0] not in layers or name.endswith("class_token")):
            fresh.append(name)
        elif name not in theirs:
            wrong.append(f"{name} is not in the image model")
        elif (value := _inflated(theirs[name], shape, kernels)) is not None:
            values[name] = value
        elif _of_classifier(name):
            fresh.append(name)
        else:
            wrong.append(f"{name} is {theirs[name].shape} in the image model, {shape} in the video model")
    wrong += [f"{name} is not in the video model" for name in theirs if name not in ours and not _of_classifier(name)]
    if wrong or not values:
        raise ValueError(
            f"The weights of {image_model.name} do not fit {video_model.name}: {some(wrong)}. Build both of one "
            "architecture, and bring the image model to the height and width of the videos by keras_mlp.resize."
        )
    for name, value in values.items():
        ours[name].assign(value)
    return tuple(fresh)


def _inflated(value, shape, kernels):
    """The value for a variable of a video model of this shape; `None` where it does not fit."""
    if value.shape == shape:
        return value
    if value.shape == shape[1:]:  # a kernel over frames
        frames = shape[0]
        if kernels == "mean":
            return np.broadcast_to(value / frames, shape)
        return np.stack([value * (frame == frames // 2) for frame in range(frames)])
    if value.ndim == 2 and value.shape == (1, shape[-1]) and len(shape) == 2:  # the embedding of an image's one frame
        return np.broadcast_to(value, shape)
    return None


def _separated(theirs) -> dict:
    """The same with one embedding of each position as those of places, of the one frame and of the class token."""
    found = dict(theirs)
    for name in theirs:
        layer, _, last = name.rpartition("/")
        if last == "embedding" and f"{layer}/class_token" in theirs:
            (token, *_), places = np.split(found.pop(name), [1])
            zeros = np.zeros((1, places.shape[-1]), places.dtype)
            found |= {
                f"{layer}/places": places,
                f"{layer}/frames": zeros,
                f"{layer}/class_token_embedding": token,
            }
    return found


def _of_classifier(name) -> bool:
    place = names.parse(name.partition("/")[0])
    return place is not None and place.part == "head"
