"""Where a model looks on one image: Grad-CAM and occlusion."""

import keras
import numpy as np

from keras_mlp import copying, files
from keras_mlp.analysis import inner
from keras_mlp.extras import need


def grad_cam(model: keras.Model, image, label: int | None = None, layer: str | None = None) -> np.ndarray:
    """Grad-CAM: which positions of a map speak for a class.

        weight of a channel = average over positions of d score / d y,    heat = max(0, sum over channels of weight * y)

    Source: Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391, equations 1 and 2. The score is the logit, as
    there; of a model that ends with a softmax or sigmoid, what that activation is given.

    Args:
        model: a functional classifier of images.
        image: `(height, width, channels)`, pixels as the model takes them.
        label: number of the class; by default that of the highest score.
        layer: name of a block or layer that gives a map; by default the last map.

    Returns:
        float32 array of the image's height and width, from 0 to 1 at the largest. It is 0 everywhere where nothing
        speaks for the class.

    Raises:
        ValueError: the model is no classifier of images, or has no such class or map.
        RuntimeError: the Keras backend is not TensorFlow.
    """
    inner.need_tensorflow()
    import tensorflow as tf

    image, label = _checked(model, image, label)
    tensor = inner.on_the_way(model, layer)
    front, scores = keras.Model(model.inputs[0], tensor), keras.Model(tensor, _logits(model))
    values = tf.convert_to_tensor(front(image, training=False))
    with tf.GradientTape() as tape:
        tape.watch(values)
        score = scores(values, training=False)[:, label]
    gradient = tape.gradient(score, values)
    weights = keras.ops.mean(gradient, axis=(1, 2), keepdims=True)
    heat = keras.ops.relu(keras.ops.sum(keras.ops.cast(weights * values, "float32"), axis=-1, keepdims=True))
    heat = keras.ops.image.resize(heat, image.shape[1:3], interpolation="bilinear", data_format="channels_last")
    return _to_one(np.asarray(heat)[0, ..., 0])


def occlusion(
    model: keras.Model,
    image,
    label: int | None = None,
    side: int | None = None,
    stride: int | None = None,
    batch_size: int = 32,
    progress=lambda batches: batches,
) -> np.ndarray:
    """How much the score of a class falls where a grey square hides a part of the image.

    Source: Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901, section 4.2.

    Args:
        model: a Keras classifier of images.
        image: `(height, width, channels)`, pixels as the model takes them.
        label: number of the class; by default that of the highest score.
        side: of the square in pixels; a fifth of the shorter side by default.
        stride: distance of the squares in pixels; half a side by default.
        batch_size: images at a time.
        progress: function that wraps the list of batches, to show how far the work is.

    Returns:
        float32 array of the image's height and width: the average fall over the squares that hide a pixel. It is
        negative where hiding helps.

    Raises:
        ValueError: the model is no classifier of images, has no such class, or `side` or `stride` is not a positive
            number of pixels.
    """
    image, label = _checked(model, image, label)
    _, height, width, _ = image.shape
    side = max(1, min(height, width) // 5) if side is None else side
    stride = max(1, side // 2) if stride is None else stride
    if not all(isinstance(value, int) and value > 0 for value in (side, stride)):
        raise ValueError(f"`side` and `stride` must be positive integers. Received: side={side!r}, stride={stride!r}")
    corners = [(top, left) for top in _starts(height, side, stride) for left in _starts(width, side, stride)]
    grey = image.mean(axis=(1, 2), keepdims=True)
    whole = model.predict(image, verbose=0)[0, label]
    fall, times = np.zeros((height, width)), np.zeros((height, width))
    for start in progress(range(0, len(corners), batch_size)):
        chunk = corners[start : start + batch_size]
        hidden = np.repeat(image, len(chunk), axis=0)
        for one, (top, left) in zip(hidden, chunk, strict=True):
            one[top : top + side, left : left + side] = grey[0]
        scores = model.predict(hidden, batch_size=batch_size, verbose=0)[:, label]
        for score, (top, left) in zip(scores, chunk, strict=True):
            fall[top : top + side, left : left + side] += whole - score
            times[top : top + side, left : left + side] += 1
    return (fall / times).astype("float32")


def plot_attribution(image, heats: dict[str, np.ndarray], path):
    """Draw an image, and beside it the image under each heat.

    Args:
        image: `(height, width, 1 or 3)`, pixels 0–255.
        heats: by title, `(height, width)` arrays; what is below 0 is left white.
        path: PNG file to write.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figures = need("matplotlib.figure", extra="analysis")
    pixels = np.broadcast_to(np.clip(image, 0, 255), (*np.shape(image)[:2], 3)) / 255
    figure = figures.Figure(figsize=(2.6 * (1 + len(heats)), 2.9), layout="constrained")
    for axes, (title, heat) in zip(
        figure.subplots(1, 1 + len(heats), squeeze=False)[0], {"image": None, **heats}.items(), strict=True
    ):
        axes.imshow(pixels)
        if heat is not None:
            strength = _to_one(np.maximum(heat, 0))
            axes.imshow(strength, cmap="inferno", vmin=0, vmax=1, alpha=0.25 + 0.5 * strength)
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, facecolor="white")


def _checked(model, image, label):
    """The image as a batch of one in float32, and the number of the class."""
    inner.only_input(model)
    output = model.output_shape
    if not isinstance(output, tuple) or len(output) != 2:
        raise ValueError(f"`model` must be a classifier, with scores (n, classes). Its output is {output}.")
    image = np.array(image, "float32")
    if image.ndim != 3:
        raise ValueError(f"`image` must be one image (height, width, channels). Received: shape {image.shape}")
    inner.image_size(model, image.shape[:2])
    if label is None:
        label = int(model.predict(image[np.newaxis], verbose=0)[0].argmax())
    if not isinstance(label, int | np.integer) or not 0 <= label < output[1]:
        raise ValueError(f"`label` must be the number of a class, 0 to {output[1] - 1}. Received: label={label!r}")
    return image[np.newaxis], int(label)


def _logits(model):
    """What the model's last activation is given, where that is a dense layer's own; else the output."""
    output = model.outputs[0]
    layer = output._keras_history.operation
    if isinstance(layer, keras.layers.Dense) and layer.activation in (
        keras.activations.softmax,
        keras.activations.sigmoid,
    ):
        plain = copying.anew(layer, activation="linear", name=f"{layer.name}_logits")
        logits = plain(layer.input)
        copying.carry(layer, plain)
        return logits
    return layer.input if isinstance(layer, keras.layers.Activation | keras.layers.Softmax) else output


def _starts(length, side, stride) -> list[int]:
    """Where squares begin along an axis, so that they hide all of it."""
    last = max(0, length - side)
    return sorted({*range(0, last, stride), last})


def _to_one(heat) -> np.ndarray:
    return (heat / (heat.max() or 1)).astype("float32") if heat.max() > 0 else np.zeros(heat.shape, "float32")
