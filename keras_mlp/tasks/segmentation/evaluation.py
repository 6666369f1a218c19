"""How good a segmenter is."""

import keras
import numpy as np

from keras_mlp.tasks.segmentation.inference import probabilities, run
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
            found = probabilities(model, images, **views) if own_size or views else run(model, images)
            total += confusion(np.asarray(targets["masks"])[..., 0], found.argmax(-1), classes)
            bar.add(1)
    data.broken.check()
    return segmentation_scores(total)
