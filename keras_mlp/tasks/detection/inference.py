"""Detection in images of any size."""

import numpy as np

from keras_mlp.tasks.detection import data, evaluation
from keras_mlp.tasks.images import pixels


def detect(detector, image, *, image_size=1333, short_side: int | None = 800) -> dict:
    """What a detector finds in an image.

    The image is resized so that it fits, its ratio kept, and padded below and on the right, as the data are that a
    detector learns from.

    Args:
        detector: a `keras_mlp.tasks.Detector`, or what `keras_mlp.fuse` makes of one.
        image: array `(height, width, channels)` of pixels 0–255, of any size, or a path.
        image_size: height and width in which the image fits, in pixels, or one number for both. A detector of one
            input size has its own.
        short_side: pixels that the image's shorter side has at most; `None` for any. A detector of one input size
            ignores it.

    Returns:
        `{"boxes": (n, 4), "labels": (n,), "scores": (n,)}`, best first: left, top, right and bottom in the image's own
        pixels, integers from 0 and probabilities; and "masks", booleans `(n, height, width)`, of a detector that has
        them.

    Raises:
        ValueError: the image is none, or `image_size` or `short_side` is not positive.
    """
    image = pixels(image, detector.inputs[0].shape[-1])
    whole, own = image.shape[:2], tuple(detector.inputs[0].shape[1:3])
    if None not in own:
        image_size, short_side = own, None
    fit = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(fit) != 2 or min(*fit, 1 if short_side is None else short_side) < 1:
        raise ValueError(
            "`image_size` must be one or two positive numbers of pixels, and `short_side` one or None. Received: "
            f"image_size={image_size!r}, short_side={short_side!r}"
        )
    padded, seen = fitted(image, fit, short_side, own if None not in own else None)
    size = padded.shape[:2]
    found = evaluation.detect(detector, padded[None], seen[None])
    found = evaluation.original({name: values[0] for name, values in found.items()}, size, seen / whole)
    found["boxes"] = np.clip(found["boxes"], 0, np.tile(whole[::-1], 2)).astype(found["boxes"].dtype)
    kept = np.flatnonzero((found["labels"] >= 0) & (found["boxes"][:, 2:] > found["boxes"][:, :2]).all(-1))
    result = {name: found[name][kept] for name in ("boxes", "labels", "scores")}
    return result | ({"masks": evaluation.pasted(found, kept, whole)} if "masks" in found else {})


def fitted(image, fit, short_side: int | None = None, size=None):
    """An image as a detector sees it: resized so that it fits, its ratio kept, and padded below and on the right.

    Args:
        image: pixels 0–255 `(height, width, channels)`.
        fit: height and width in which it fits.
        short_side: pixels that its shorter side has at most; `None` for any.
        size: height and width with the padding; by default the next multiples of 32.

    Returns:
        float32 pixels of that size, and height and width of the image inside.
    """
    from keras_mlp.training.data import geometry

    whole = image.shape[:2]
    seen = data.fitting(whole, fit, short_side).numpy()
    size = size or tuple(int(side) for side in data.padded(seen))
    steps = geometry.Steps(geometry.Resize(whole, seen, "bilinear"), geometry.Pad(seen, size))
    return steps.image(image.astype("float32")).numpy(), seen
