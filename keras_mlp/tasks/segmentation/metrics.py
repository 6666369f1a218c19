"""Scores of segmentations, from how often each class was taken for each other."""

import numpy as np

from keras_mlp.tasks.segmentation.losses import VOID


def confusion(labels, predictions, classes: int, void: int = VOID) -> np.ndarray:
    """How often positions of each class were taken for each class.

    Args:
        labels: integers of any shape; void positions are left out.
        predictions: integers of the same shape.
        classes: number of classes.
        void: label of void positions.

    Returns:
        Counts `(classes, classes)`, the true class first.

    Raises:
        ValueError: the shapes differ, or a label is neither a class nor void.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape:
        raise ValueError(f"Labels are {labels.shape} and predictions {predictions.shape}: they must be alike.")
    labels, predictions = labels[labels != void].astype("int64"), predictions[labels != void].astype("int64")
    for name, values in (("label", labels), ("prediction", predictions)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            wrong = values[(values < 0) | (values >= classes)][0]
            raise ValueError(f"Each {name} must be one of 0–{classes - 1}, or {void} for void. Received: {wrong}")
    return np.bincount(classes * labels + predictions, minlength=classes**2).reshape(classes, classes)


def segmentation_scores(counts) -> dict:
    """What is published of segmentations, from the counts of `confusion`.

    Returns:
        `{"mIoU", "mAcc", "aAcc"}`, shares of 1, and `{"IoU", "Acc"}`, arrays `(classes,)`. The intersection over union
        of a class that is in neither labels nor predictions, and the accuracy of one that is in no label, are `nan`,
        and no part of the means.
    """
    counts = np.asarray(counts, np.float64)
    right, labelled, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou, accuracy = right / (labelled + predicted - right), right / labelled
        overall = right.sum() / counts.sum()
    means = {
        name: float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
        for name, values in (("mIoU", iou), ("mAcc", accuracy))
    }
    return means | {"aAcc": float(overall), "IoU": iou, "Acc": accuracy}
