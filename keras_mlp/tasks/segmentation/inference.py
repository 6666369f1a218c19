"""The classes of an image's pixels: as a whole or in windows, at several scales, mirrored or not."""

import itertools

import keras
import numpy as np
from keras import ops

from keras_mlp.checkpoints import resample
from keras_mlp.layers.resizing import resized
from keras_mlp.tasks.images import pixels


def segment(
    model: keras.Model, image, *, window=None, stride=None, scales=(1.0,), flip: bool = False, resize=None
) -> np.ndarray:
    """The class of each pixel.

    Args:
        model: a segmenter, images to logits.
        image: a path, or an array `(height, width)` or `(height, width, channels)` of pixels 0–255, of any size. Grey
            becomes colour and colour grey, as the model wants it; an alpha channel is left out. A file is turned as its
            EXIF orientation says.
        window: side of the windows in pixels, or `(height, width)`, that are looked at one by one; `None` for the whole
            image. By default a model of one input size looks at windows of that size.
        stride: distance of the windows, at most their side; by default two thirds of it.
        scales: factors on the image's size; over several, probabilities are averaged.
        flip: whether the mirrored image is looked at, too.
        resize: `(longer, shorter)` side into which the image is fitted before the scales, as published segmenters are
            tested: `(2048, 512)` on ADE20K. `None` leaves its size.

    Returns:
        Integers `(height, width)`, a class for each of the image's own pixels.

    Raises:
        OSError: the file cannot be read.
        ValueError: an argument is wrong, or the file is no image.
    """
    image = pixels(image, model.inputs[0].shape[-1])
    views = dict(window=window, stride=stride, scales=scales, flip=flip, resize=resize)
    return probabilities(model, image[None], **views)[0].argmax(-1)


def probabilities(
    model: keras.Model, images, *, window=None, stride=None, scales=(1.0,), flip=False, resize=None
) -> np.ndarray:
    """Probabilities of the classes, `(batch, height, width, classes)`; see `segment` for the arguments.

    Each scale and side gives logits at its own size, which are resized to that of the images before the softmax.
    """
    images = np.asarray(images, keras.backend.standardize_dtype(model.inputs[0].dtype))
    if not scales or any(not scale > 0 for scale in scales):
        raise ValueError(f"`scales` must be positive numbers, at least one. Received: scales={scales!r}")
    window, stride = _tiling(model, window, stride)
    model = _of_window(model, window)  # once, not for each view
    size, total = images.shape[1:3], 0.0
    if resize is not None:
        fitted = min(new / old for new, old in zip(sorted(_pair("resize", resize)), sorted(size), strict=True))
        scales = [scale * fitted for scale in scales]
    for scale, mirrored in itertools.product(scales, (False, True) if flip else (False,)):
        sides = tuple(max(1, int(side * scale + 0.5)) for side in size)
        view = images if sides == size else ops.convert_to_numpy(resized(images, sides))
        found = logits(model, view[:, :, ::-1] if mirrored else view, window, stride)
        found = found[:, :, ::-1] if mirrored else found
        found = found if sides == size else resized(ops.convert_to_tensor(found), size)
        total = total + ops.convert_to_numpy(ops.softmax(found, axis=-1))
    return total / (len(scales) * (2 if flip else 1))


def logits(model: keras.Model, images, window=None, stride=None) -> np.ndarray:
    """Logits `(batch, height, width, classes)` of images as a whole or in windows; see `segment`.

    Where windows overlap, logits are averaged; the last ones of a row or column are moved back inside the image. An
    image that is smaller than the window is padded with zeros on the right and at the bottom.
    """
    window, stride = _tiling(model, window, stride)
    if window is None:
        return run(model, images)
    model, size = _of_window(model, window), images.shape[1:3]
    missing = [max(0, side - have) for side, have in zip(window, size, strict=True)]
    images = np.pad(images, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
    total = count = 0.0
    starts = [
        [min(i * step, have - side) for i in range(max(have - side + step - 1, 0) // step + 1)]
        for have, side, step in zip(images.shape[1:3], window, stride, strict=True)
    ]
    for top, left in itertools.product(*starts):
        there = (slice(None), slice(top, top + window[0]), slice(left, left + window[1]))
        found = run(model, images[there])
        if isinstance(total, float):
            total = np.zeros((*images.shape[:3], found.shape[-1]), found.dtype)
            count = np.zeros((1, *images.shape[1:3], 1), found.dtype)
        total[there] += found
        count[there] += 1
    return (total / count)[:, : size[0], : size[1]]


def _tiling(model, window, stride):
    """The window and the stride as pairs of pixels; two `None` for a model that looks at whole images of any size."""
    window = tuple(model.inputs[0].shape[1:3]) if window is None else _pair("window", window)
    if None in window:
        if stride is not None:
            raise ValueError(
                "`stride` needs a `window`, because this model looks at images of any size as a whole. Received: "
                f"stride={stride!r}"
            )
        return None, None
    stride = tuple(max(1, 2 * side // 3) for side in window) if stride is None else _pair("stride", stride)
    if any(step > side for step, side in zip(stride, window, strict=True)):
        raise ValueError(
            f"`stride` must be at most the window's side, or pixels are left out. Received: stride={stride}, "
            f"window={window}"
        )
    return window, stride


def _of_window(model, window):
    """The model for images of the size of a window; `None` for the model as it is."""
    fits = window is None or tuple(model.inputs[0].shape[1:3]) in (window, (None, None))
    return model if fits else resample.resize(model, window)


def run(model, images) -> np.ndarray:
    """Logits `(batch, height, width, classes)` of images of the model's size, without those of auxiliary heads."""
    found = model(images, training=False)
    return ops.convert_to_numpy(found["logits"] if isinstance(found, dict) else found)


def _pair(name, value) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in pair):
        raise ValueError(f"`{name}` must be a positive integer or two of them. Received: {name}={value!r}")
    return pair
