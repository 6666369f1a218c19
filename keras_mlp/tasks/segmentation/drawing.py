"""What a segmenter sees, as a picture."""

import numpy as np

from keras_mlp.tasks.colours import colours
from keras_mlp.tasks.segmentation.losses import VOID


def draw(image, labels, names=None, share: float = 0.55):
    """A picture of an image with its classes in colours, and a legend of those that are in it.

    Args:
        image: pixels 0–255 `(height, width, 1 or 3)`.
        labels: integers `(height, width)`; void positions keep the image's colours.
        names: of the classes; `None` for no legend.
        share: of the colours in the mixture, in 0–1.

    Returns:
        A `PIL.Image.Image`, as high as the image or as the legend, whichever is higher.

    Raises:
        ValueError: the labels are not of the image's size.
    """
    from PIL import Image

    image, labels = np.asarray(image), np.asarray(labels)
    if image.ndim != 3 or image.shape[:2] != labels.shape:
        raise ValueError(f"Labels of the shape {labels.shape} do not fit an image of {image.shape}.")
    pixels = np.broadcast_to(np.clip(image, 0, 255)[..., :3], (*labels.shape, 3)).astype("float64")
    known = labels != VOID
    mixed = np.where(known[..., None], (1 - share) * pixels + share * colours()[np.where(known, labels, 0)], pixels)
    picture = Image.fromarray(np.rint(mixed).astype("uint8"))
    if names is None:
        return picture
    return with_legend(picture, np.unique(labels[known]).tolist(), names)


def with_legend(picture, labels, names):
    """A picture with the colours of some classes and their names on its right, a `PIL.Image.Image`."""
    from PIL import Image

    legend = _legend(labels, names)
    whole = Image.new("RGB", (picture.width + legend.width, max(picture.height, legend.height)), "white")
    whole.paste(picture, (0, 0))
    whole.paste(legend, (picture.width, 0))
    return whole


def _legend(labels, names):
    from PIL import Image, ImageDraw

    row, width = 16, 34 + max([7 * len(names[label]) for label in labels], default=0)
    picture = Image.new("RGB", (width, row * len(labels) + 4), "white")
    pen = ImageDraw.Draw(picture)
    for i, label in enumerate(labels):
        top = row * i + 4
        pen.rectangle((8, top, 20, top + 10), fill=tuple(map(int, colours()[label])))
        pen.text((26, top - 1), names[label], fill="black")
    return picture
