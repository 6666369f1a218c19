"""The losses of classifiers: from what labels and outputs mean to Keras' own, and the one that Keras lacks."""

import keras
import numpy as np
from keras import ops

from keras_mlp.cards import Recipe
from keras_mlp.classifiers import EXCLUSIVE, MULTI_LABEL, Output
from keras_mlp.training.plain import plain


@keras.saving.register_keras_serializable(package="keras_mlp")
class SigmoidCrossentropy(keras.losses.Loss):
    """Binary cross entropy summed over the classes, as papers have it for one-hot labels; Keras' own takes the mean.

    Args:
        from_logits: whether predictions are logits; else probabilities.
        label_smoothing: share of each label that is spread evenly over all classes.
    """

    classes = EXCLUSIVE  # which `keras_mlp.classifiers` asks for

    def __init__(self, from_logits=False, label_smoothing=0.0, name="sigmoid_crossentropy", **options):
        super().__init__(name=name, **options)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        y_true = (1 - self.label_smoothing) * y_true + self.label_smoothing / y_true.shape[-1]
        return ops.sum(ops.binary_crossentropy(y_true, y_pred, from_logits=self.from_logits), axis=-1)

    def get_config(self):
        return {**super().get_config(), "from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


_LOSSES = {"softmax": keras.losses.CategoricalCrossentropy, "sigmoid": SigmoidCrossentropy}


def loss(recipe: Recipe, model, multi_label: bool = False, output: Output | None = None):
    """Return the recipe's loss for the model's own output, probabilities or logits.

    Args:
        recipe: the recipe. Its loss is that of one-hot labels; a single unit and multi-label data have Keras' binary
            cross entropy, the mean over the classes.
        model: a classifier.
        multi_label: whether labels say of each class whether it is true; else they are one-hot, for a single unit 0
            or 1.
        output: what the model's output means, if it does not tell itself.

    Raises:
        ValueError: the model's classifier has the other activation than the recipe's loss.
    """
    one_of(_LOSSES, "loss", recipe.loss)
    output = output or output_of(model, multi_label)
    if output.kind == EXCLUSIVE and output.activation not in ("linear", recipe.loss):
        raise ValueError(
            f"The recipe's loss is the {recipe.loss} cross entropy, but the model's output has the activation "
            f"{output.activation}. Build it with classifier_activation={recipe.loss!r} or None, or change the recipe: "
            "dataclasses.replace(recipe, loss=…)."
        )
    return cross_entropy(output, recipe.loss, recipe.label_smoothing)


def cross_entropy(output: Output, kind: str | None = None, label_smoothing: float = 0.0):
    """Return a loss for labels as `loss` has them.

    Args:
        output: what the model's output means.
        kind: "softmax" or "sigmoid", for exclusive classes; by default what the model's activation is, softmax for
            logits.
        label_smoothing: share of each label that is spread evenly over all classes, or, where they do not exclude each
            other, over true and false.

    Raises:
        ValueError: the model's last activation is no softmax, no sigmoid, and not none.
    """
    output.logits(np.zeros((1, output.units)))  # which tells where there are none
    options = dict(from_logits=output.activation == "linear", label_smoothing=label_smoothing)
    if output.kind != EXCLUSIVE:
        return keras.losses.BinaryCrossentropy(**options)
    kind = kind or ("softmax" if output.activation == "linear" else output.activation)
    return one_of(_LOSSES, "loss", kind)(**options)


def output_of(model, multi_label: bool = False) -> Output:
    """What a model's output means where labels are one-hot, or multi-label."""
    return Output.of(plain(model), MULTI_LABEL if multi_label else EXCLUSIVE)


def one_of(table, field, value):
    """The entry of a table that a recipe's field asks for, or an error that names those that there are."""
    if value not in table:
        raise ValueError(f"A recipe's {field} should be one of {', '.join(sorted(table))}. Received: {value!r}")
    return table[value]
