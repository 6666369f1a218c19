"""A training recipe, as data: what is allowed of each value stands beside its type."""

import dataclasses
from typing import Annotated

from keras_mlp.allowed import Number, OneOf, OrNone, Pair, Several, Text, check

PRECISIONS = ("float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16")
"""Keras' dtype policies that a recipe may name."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training recipe: what a paper's table of hyper-parameters holds.

    `keras_mlp.training` turns it into `compile` arguments, callbacks and a data pipeline. A value that is not what is
    declared beside its type is a `ValueError`.

    Args:
        source: where the values are published, or what they were inferred from.
        optimizer: "adamw", "adam", "lamb", "lars" or "sgd".
        learning_rate: peak rate at `batch_size`.
        learning_rate_rule: how the rate follows another batch size: "linear", "sqrt" or "constant".
        batch_size: global batch.
        epochs: passes over the training data, warm-up included.
        steps: length of the training in steps, where the source counts steps; overrides `epochs`.
        warmup_epochs: epochs of linear warm-up; may be fractional.
        warmup_steps: steps of linear warm-up, where the source counts steps; overrides `warmup_epochs`.
        schedule: "cosine", "linear", "poly" (the power 0.9 of what is left) or "constant", after the warm-up.
        rate_factors: `(word, factor)` pairs: what the rate of a variable is multiplied by in whose path the word is, by
            the first that fits; 0 leaves it as it is.
        rate_delays: `(word, epochs)` pairs: how many epochs a variable's rate stays 0 in whose path the word is, by the
            first that fits. The schedule goes on meanwhile.
        final_learning_rate: floor of the schedule, at `batch_size`.
        weight_decay: decoupled, multiplied by the rate at each step.
        no_weight_decay: words in a variable's path that spare it from weight decay. In these words and those of
            `rate_factors` and `rate_delays` a "*" is anything.
        loss: "softmax" or "sigmoid" cross entropy; or "contrastive", without labels.
        label_smoothing: in [0, 1).
        mixup, cutmix: Beta parameter alpha; 0 switches it off.
        rand_augment: `(operations, magnitude)`, the magnitude as the source writes it (10 is full), or `None`.
        random_erasing: probability.
        repeated_augmentation: how often an epoch takes each of its images, augmented anew, in the same batch; it is no
            longer for that, so each sees another part of the data.
        horizontal_flip: mirror half of the training images.
        random_resized_crop: `(smallest, largest)` share of the image's area, or `None` for no random crop.
        drop_path_rate: stochastic depth.
        dropout_rate: dropout.
        gradient_clip_norm: clip the gradients' global norm; `None` for no clipping.
        gradient_clip_factor: clip the norm of each unit's gradient to this share of the norm of its weights; `None` for
            no such clipping.
        ema_decay: decay of the moving average of the weights; `None` for none.
        layer_decay: factor of the rate from each block to the one below it, for fine-tuning; 1 is the same for all.
        unfreeze_epochs: epochs in which further blocks begin to train, from the top, in the last one all; before the
            first the classifier trains alone. Without any all train from the beginning.
        balance_classes: weigh each image by how rare its class is.
        patience: epochs without a better model after which training ends; `None` for never.
        precision: Keras dtype policy, e.g. "mixed_bfloat16", or `None` to take what suits the machine.
    """

    source: Annotated[str, Text()]
    optimizer: Annotated[str, OneOf(("adamw", "adam", "lamb", "lars", "sgd"))] = "adamw"
    learning_rate: Annotated[float, Number(above=0)] = 1e-3
    learning_rate_rule: Annotated[str, OneOf(("linear", "sqrt", "constant"))] = "linear"
    batch_size: Annotated[int, Number(least=1, whole=True)] = 1024
    epochs: Annotated[int, Number(least=1, whole=True)] = 300
    steps: Annotated[int | None, OrNone(Number(least=1, whole=True))] = None
    warmup_epochs: Annotated[float, Number(least=0)] = 5
    warmup_steps: Annotated[int | None, OrNone(Number(least=0, whole=True))] = None
    schedule: Annotated[str, OneOf(("cosine", "linear", "poly", "constant"))] = "cosine"
    final_learning_rate: Annotated[float, Number(least=0)] = 1e-5
    rate_factors: Annotated[tuple[tuple[str, float], ...], Several(Pair(Text(), Number(least=0)))] = ()
    rate_delays: Annotated[tuple[tuple[str, int], ...], Several(Pair(Text(), Number(least=0, whole=True)))] = ()
    weight_decay: Annotated[float, Number(least=0)] = 0.05
    no_weight_decay: Annotated[tuple[str, ...], Several(Text())] = ("bias", "beta", "gamma")
    loss: Annotated[str, OneOf(("softmax", "sigmoid", "contrastive"))] = "softmax"
    label_smoothing: Annotated[float, Number(least=0, below=1)] = 0.1
    mixup: Annotated[float, Number(least=0)] = 0.0
    cutmix: Annotated[float, Number(least=0)] = 0.0
    rand_augment: Annotated[tuple[int, float] | None, OrNone(Pair(Number(least=1, whole=True), Number(least=0)))] = None
    random_erasing: Annotated[float, Number(least=0, most=1)] = 0.0
    repeated_augmentation: Annotated[int, Number(least=1, whole=True)] = 1
    horizontal_flip: Annotated[bool, OneOf((True, False))] = True
    random_resized_crop: Annotated[
        tuple[float, float] | None, OrNone(Pair(Number(above=0, most=1), Number(above=0, most=1), rising=True))
    ] = (0.08, 1.0)
    drop_path_rate: Annotated[float, Number(least=0, below=1)] = 0.0
    dropout_rate: Annotated[float, Number(least=0, below=1)] = 0.0
    gradient_clip_norm: Annotated[float | None, OrNone(Number(above=0))] = None
    gradient_clip_factor: Annotated[float | None, OrNone(Number(above=0))] = None
    ema_decay: Annotated[float | None, OrNone(Number(least=0, below=1))] = None
    layer_decay: Annotated[float, Number(above=0, most=1)] = 1.0
    unfreeze_epochs: Annotated[tuple[int, ...], Several(Number(least=0, whole=True), rising=True)] = ()
    balance_classes: Annotated[bool, OneOf((True, False))] = False
    patience: Annotated[int | None, OrNone(Number(least=1, whole=True))] = None
    precision: Annotated[str | None, OrNone(OneOf(PRECISIONS))] = None

    def __post_init__(self):
        check(self, "A recipe")

    @classmethod
    def defaults(cls) -> dict:
        """The values of the fields that need not be given, by name."""
        fields = dataclasses.fields(cls)
        return {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
