"""What is measured of a classifier, by Keras' own metrics."""

import keras
from keras import ops

from keras_mlp.classifiers import BINARY, MULTI_LABEL, Output


def of(output: Output, threshold: float = 0.5) -> list:
    """Return the metrics of a classifier.

    Args:
        output: what its output means.
        threshold: probability above which a class, or of two the second, is taken to be true.

    Returns:
        For exclusive classes and one-hot labels "top1", and "top5" where there are more than five; for one unit and
        labels `(batch, 1)` "accuracy" and "auc", the area under the ROC curve; for multi-label classifiers and labels
        of 0 and 1 "average_precision", the area under each class's precision over recall, "auc" and, of the decisions
        at the threshold, "f1": means over the classes, in which one without any positive example counts as 0.
    """
    if output.kind not in (BINARY, MULTI_LABEL):
        top5 = [keras.metrics.TopKCategoricalAccuracy(5, name="top5")] if output.units > 5 else []
        return [keras.metrics.CategoricalAccuracy(name="top1"), *top5]
    logits = output.activation == "linear"
    if output.kind == BINARY:
        accuracy = Accuracy(threshold=threshold, from_logits=logits, name="accuracy")
        return [accuracy, keras.metrics.AUC(from_logits=logits, name="auc")]
    each = dict(multi_label=True, num_labels=output.units, from_logits=logits)
    return [
        keras.metrics.AUC(curve="PR", **each, name="average_precision"),
        keras.metrics.AUC(**each, name="auc"),
        F1(average="macro", threshold=threshold, from_logits=logits, name="f1"),
    ]


class _OfDecisions:
    """What Keras' metrics of decisions lack: logits, and labels that mixup has blended, true from one half on.

    Args:
        from_logits: whether predictions are logits; else probabilities.
    """

    def __init__(self, from_logits=False, **options):
        super().__init__(**options)
        self.from_logits = from_logits

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_pred = ops.sigmoid(y_pred) if self.from_logits else y_pred
        return super().update_state(ops.cast(ops.greater_equal(y_true, 0.5), y_pred.dtype), y_pred, sample_weight)

    def get_config(self):
        return {**super().get_config(), "from_logits": self.from_logits}


@keras.saving.register_keras_serializable(package="keras_mlp")
class Accuracy(_OfDecisions, keras.metrics.BinaryAccuracy):
    """Share of right decisions."""


@keras.saving.register_keras_serializable(package="keras_mlp")
class F1(_OfDecisions, keras.metrics.F1Score):
    """Harmonic mean of precision and recall."""
