"""Pictures of detections."""

import numpy as np

from keras_mlp.tasks.colours import colours
from keras_mlp.tasks.detection.evaluation import pasted

LINE = 400
"""Pixels of an image's longer side for each pixel of a line's width."""


def draw(image, found: dict, names=None, threshold: float = 0.3, share: float = 0.45):
    """A picture of an image with the boxes that were found, their classes and scores, and their masks in colours.

    Args:
        image: pixels 0–255 `(height, width, 1 or 3)`.
        found: what `keras_mlp.tasks.detect` gives: "boxes" `(k, 4)` in the image's pixels, "labels" `(k,)`, -1 where
            there is none, "scores" `(k,)`, which may be missing, and perhaps "masks" `(k, height, width)` or in a grid
            over each box.
        names: of the classes; `None` for their numbers.
        threshold: score from which on something is drawn.
        share: of the colours of masks in the mixture, in 0–1.

    Returns:
        A `PIL.Image.Image` of the image's size.

    Raises:
        ValueError: the image or the boxes have another shape.
    """
    from PIL import Image, ImageDraw, ImageFont

    image, boxes, labels = np.asarray(image), np.asarray(found["boxes"]), np.asarray(found["labels"])
    if image.ndim != 3 or boxes.shape != (len(labels), 4):
        raise ValueError(
            f"An image is (height, width, channels), boxes are (k, 4) and labels (k,). Received: {image.shape}, "
            f"{boxes.shape} and {labels.shape}"
        )
    scores = np.asarray(found.get("scores", np.ones(len(labels))))
    kept = np.flatnonzero((labels >= 0) & (scores >= threshold))[::-1]  # the best ones on top
    pixels = np.broadcast_to(np.clip(image, 0, 255)[..., :3], (*image.shape[:2], 3)).astype("float64")
    of_class = colours()
    for i in kept if "masks" in found else ():
        (mask,) = pasted(found, [i], image.shape[:2])
        pixels[mask] = (1 - share) * pixels[mask] + share * of_class[1 + labels[i] % 255]
    picture = Image.fromarray(np.rint(pixels).astype("uint8"))
    pen, line = ImageDraw.Draw(picture), max(1, round(max(picture.size) / LINE))
    font = ImageFont.load_default(max(10, 9 * line))
    for i in kept:
        colour = tuple(map(int, of_class[1 + labels[i] % 255]))
        left, top, right, bottom = (float(side) for side in boxes[i])
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=line)
        name = str(labels[i]) if names is None else names[labels[i]]
        told = f"{name} {scores[i]:.2f}" if "scores" in found else name
        *_, width, height = pen.textbbox((0, 0), told, font)
        above = top - height if top >= height else top
        pen.rectangle((left, above, left + width, above + height), fill=colour)
        dark = sum(colour) > 380
        pen.text((left, above), told, fill="black" if dark else "white", font=font)
    return picture
