"""Losses of dense predictions."""

import keras
from keras import ops

from keras_mlp.classifiers import VOID


@keras.saving.register_keras_serializable(package="keras_mlp")
class PixelCrossEntropy(keras.losses.Loss):
    """Cross entropy of logits and labels, position by position; void positions are left out.

    Args:
        class_weight: weight of each class; `None` for 1. The sum is then divided by the sum of the weights.
        average: "all" for the sum over all positions divided by their number, void ones of weight 1 included, as
            mmsegmentation divides by default; "valid" for the mean over the positions that have a class.
        void: label of void positions.

    Call arguments:
        y_true: labels `(batch, height, width)` or `(batch, height, width, 1)`, integers.
        y_pred: logits `(batch, height, width, classes)`.

    Raises:
        ValueError: `average` is none of both.
    """

    def __init__(self, class_weight=None, average="all", void=VOID, name="pixel_cross_entropy", **options):
        super().__init__(name=name, **options)
        if average not in ("all", "valid"):
            raise ValueError(f'`average` must be "all" or "valid". Received: average={average!r}')
        self.class_weight = None if class_weight is None else tuple(class_weight)
        self.average, self.void = average, void

    def call(self, y_true, y_pred):
        labels = ops.cast(ops.reshape(y_true, ops.shape(y_pred)[:-1]), "int32")
        valid = labels != self.void
        labels = ops.where(valid, labels, 0)
        losses = ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        weights = ops.ones_like(losses)
        if self.class_weight:
            weights = ops.where(valid, ops.take(ops.cast(self.class_weight, losses.dtype), labels), 1)
        counted = ops.where(valid, weights, 0)
        # The loss of a batch is the mean of what is returned.
        total = ops.mean(counted if self.average == "valid" else weights)
        return ops.where(total > 0, losses * counted / ops.maximum(total, 1e-9), 0)

    def get_config(self):
        own = {"class_weight": self.class_weight, "average": self.average, "void": self.void}
        return {**super().get_config(), **own}
