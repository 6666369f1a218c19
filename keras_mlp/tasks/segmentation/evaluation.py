"""How good a segmenter is, and what it sees, as a picture."""

import keras
import numpy as np

from keras_mlp.tasks.colours import colours
from keras_mlp.tasks.segmentation.inference import probabilities
from keras_mlp.tasks.segmentation.losses import VOID
from keras_mlp.tasks.segmentation.metrics import confusion, segmentation_scores
from keras_mlp.tasks.segmentation.objective import Segmentation, logits_of
from keras_mlp.training.data import Data
from keras_mlp.training.data.broken import in_plain_words


def evaluate(model: keras.Model, data: Data, verbose="auto", **views) -> dict:
    """Measure a segmenter.

    Args:
        model: the segmenter.
        data: evaluation data, as `keras_mlp.tasks.load` gives them without a recipe: images resized to the model's
            size, or with `image_size=None` at their own, as published segmenters are measured.
        verbose: 1 for a progress bar, 0 for silence; "auto" is 1.
        **views: `window`, `stride`, `scales`, `flip` and `resize` of `keras_mlp.tasks.segment`.

    Returns:
        `{"mIoU", "mAcc", "aAcc"}`, shares of 1, and by class `{"IoU", "Acc"}`, arrays `(classes,)`, `nan` for classes
        that are nowhere; see `keras_mlp.tasks.segmentation_scores`.

    Raises:
        ValueError: the model and the data do not fit together.
    """
    own_size = None in data.dataset.element_spec[0].shape[1:3]
    Segmentation().fitted(model, data)
    classes = logits_of(model).shape[-1]
    total, bar = np.zeros((classes, classes), int), keras.utils.Progbar(data.steps, verbose=int(verbose in ("auto", 1)))
    with in_plain_words():
        for images, targets in data.dataset:
            if own_size or views:
                found = probabilities(model, images, **views)
            else:
                found = model(images, training=False)
                found = found["logits"] if isinstance(found, dict) else found
            found = keras.ops.argmax(found, axis=-1)
            labels = np.asarray(targets["masks"])[..., 0]
            total += confusion(labels, keras.ops.convert_to_numpy(found), classes)
            bar.add(1)
    data.broken.check()
    return segmentation_scores(total)


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
    legend = legend_of([int(label) for label in np.unique(labels[known])], names)
    whole = Image.new("RGB", (picture.width + legend.width, max(picture.height, legend.height)), "white")
    whole.paste(picture, (0, 0))
    whole.paste(legend, (picture.width, 0))
    return whole


def legend_of(labels, names):
    """A picture of the colours of some classes with their names, a `PIL.Image.Image`."""
    from PIL import Image, ImageDraw

    row, width = 16, 34 + max([7 * len(names[label]) for label in labels], default=0)
    picture = Image.new("RGB", (width, row * len(labels) + 4), "white")
    pen = ImageDraw.Draw(picture)
    for i, label in enumerate(labels):
        top = row * i + 4
        pen.rectangle((8, top, 20, top + 10), fill=tuple(map(int, colours()[label])))
        pen.text((26, top - 1), names[label], fill="black")
    return picture
