"""From a `Recipe` to what `model.compile` takes, and the recipes that belong to no family."""

import dataclasses
import math

import keras
from keras import ops

from keras_mlp.cards import Recipe
from keras_mlp.training import depth, objectives, precision
from keras_mlp.training.adamw import AdamW
from keras_mlp.training.lars import Lars
from keras_mlp.training.losses import SigmoidCrossentropy, cross_entropy, loss, one_of, output_of  # noqa: F401 (names of old)

# Class and further arguments by name; and the same with rates that fall with depth.
_OPTIMIZERS = {
    "adam": (keras.optimizers.Adam, {}),
    "adamw": (AdamW, {}),
    "lamb": (keras.optimizers.Lamb, {}),
    "lars": (Lars, {}),
    "sgd": (keras.optimizers.SGD, {"momentum": 0.9}),
}
_BY_DEPTH = {name: depth.by_depth(kind) for name, (kind, _) in _OPTIMIZERS.items()}


def digits() -> Recipe:
    """Return the recipe for the embedded handwritten digits and a small model trained from scratch."""
    return Recipe(
        source="keras_mlp, tried out on the embedded digits",
        learning_rate=3e-3,
        batch_size=64,
        epochs=40,
        warmup_epochs=3,
        mixup=0.2,
        horizontal_flip=False,
        random_resized_crop=(0.5, 1.0),
        gradient_clip_norm=1.0,
        precision="mixed_bfloat16",
    )


def moving_digits() -> Recipe:
    """Return the recipe for the embedded moving digits and a small video model trained from scratch."""
    return Recipe(
        source="keras_mlp, tried out on the embedded moving digits",
        learning_rate=3e-3,
        batch_size=32,
        epochs=18,
        warmup_epochs=2,
        horizontal_flip=False,
        random_resized_crop=(0.8, 1.0),
        gradient_clip_norm=1.0,
        precision="float32",
    )


def finetune(style: str = "adamw") -> Recipe:
    """Return a recipe for fine-tuning published weights on another data set.

    Args:
        style: "adamw" for few epochs of AdamW with rates that fall with depth, gentle enough for small data; "paper"
            for the transfer recipe of the MLP-Mixer paper, whose rate is to be tried out for each data set.

    Returns:
        The recipe. Change what does not suit with `dataclasses.replace`.

    Raises:
        ValueError: there is no such style.
    """
    if style == "adamw":
        return Recipe(
            source="common practice for fine-tuning with AdamW, not from a paper",
            learning_rate=2e-4,
            batch_size=64,
            epochs=10,
            warmup_epochs=0.5,
            final_learning_rate=1e-6,
            random_resized_crop=(0.35, 1.0),
            gradient_clip_norm=1.0,
            layer_decay=0.8,
        )
    if style == "paper":
        return Recipe(
            source="MLP-Mixer paper, section 3 (momentum SGD, batch 512, clipping at norm 1, cosine with linear "
            "warm-up, no weight decay); rate, warm-up and crops: google-research/vision_transformer; epochs: ours",
            optimizer="sgd",
            learning_rate=0.03,
            batch_size=512,
            epochs=10,
            warmup_steps=500,
            final_learning_rate=0.0,
            weight_decay=0.0,
            label_smoothing=0.0,
            random_resized_crop=(0.05, 1.0),
            gradient_clip_norm=1.0,
        )
    raise ValueError(f'`style` should be "adamw" or "paper". Received: {style!r}')


def pretrain(style: str = "adamw") -> Recipe:
    """Return a recipe for learning features without labels, by `keras_mlp.training.moco_v3`.

    Args:
        style: "adamw" for what the MoCo v3 paper trains vision transformers with, "lars" for what it trains ResNet-50
            with for 100 epochs (with `temperature=1.0` and `heads="resnet"`).

    Returns:
        The recipe.

    Raises:
        ValueError: there is no such style.
    """
    shared = dict(
        source="facebookresearch/moco-v3, CONFIG.md",
        batch_size=4096,
        final_learning_rate=0.0,
        no_weight_decay=(),
        loss="contrastive",
        label_smoothing=0.0,
    )
    if style == "adamw":
        return Recipe(learning_rate=2.4e-3, epochs=300, warmup_epochs=40, weight_decay=0.1, **shared)
    if style == "lars":
        schedule = dict(learning_rate=9.6, epochs=100, warmup_epochs=10, random_resized_crop=(0.2, 1.0))
        return Recipe(optimizer="lars", weight_decay=1e-6, **schedule, **shared)
    raise ValueError(f'`style` should be "adamw" or "lars". Received: {style!r}')


def linear_probe() -> Recipe:
    """Return MoCo v3's recipe for a linear classifier on frozen features, `keras_mlp.training.probe.classifier`."""
    return Recipe(
        source="facebookresearch/moco-v3, CONFIG.md: vision transformers",
        optimizer="sgd",
        learning_rate=12.0,
        batch_size=1024,
        epochs=90,
        warmup_epochs=0,
        final_learning_rate=0.0,
        weight_decay=0.0,
        label_smoothing=0.0,
    )


def at_batch_size(recipe: Recipe, batch_size: int) -> Recipe:
    """Return the recipe for another batch size: its rates follow by the recipe's own rule.

    A recipe that counts steps has as many as see as many images.
    """
    before, recipe = recipe.batch_size, dataclasses.replace(recipe, batch_size=batch_size)
    ratio = batch_size / before
    if recipe.steps is not None:
        recipe = dataclasses.replace(recipe, steps=max(1, round(recipe.steps / ratio)))
    rules = {"linear": ratio, "sqrt": ratio**0.5, "constant": 1.0}
    factor = one_of(rules, "learning_rate_rule", recipe.learning_rate_rule)
    return dataclasses.replace(
        recipe,
        learning_rate=recipe.learning_rate * factor,
        final_learning_rate=recipe.final_learning_rate * factor,
    )


def in_epochs(recipe: Recipe, steps_per_epoch: int) -> Recipe:
    """Return a recipe with the epochs of so many steps in which it ends: those it has, or what its own steps need.

    What is left of the last epoch after the recipe's steps is trained at the final rate.
    """
    if recipe.steps is None:
        return recipe
    return dataclasses.replace(recipe, epochs=math.ceil(recipe.steps / steps_per_epoch))


@keras.saving.register_keras_serializable(package="keras_mlp")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule after a linear warm-up from 0 to its first rate.

    Args:
        schedule: the schedule that follows.
        steps: length of the warm-up.
    """

    def __init__(self, schedule, steps: int):
        super().__init__()
        self.schedule = schedule
        self.steps = steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = self.schedule(0) * step / max(self.steps, 1)
        return ops.where(step < self.steps, rising, self.schedule(step - self.steps))

    def get_config(self):
        schedule = keras.optimizers.schedules.serialize(self.schedule)
        return {"schedule": schedule, "steps": self.steps}

    @classmethod
    def from_config(cls, config):
        return cls(keras.optimizers.schedules.deserialize(config["schedule"]), config["steps"])


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> WarmUp:
    """Return the recipe's schedule, from step 0 to `recipe.steps`, or else to `recipe.epochs * steps_per_epoch`.

    Raises:
        ValueError: the warm-up leaves no step for the rest.
    """
    total = recipe.steps or recipe.epochs * steps_per_epoch
    warmup = recipe.warmup_steps
    if warmup is None:
        warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if warmup >= total:
        raise ValueError(
            f"The recipe's warm-up of {warmup} steps does not fit into {total} steps, in epochs of {steps_per_epoch}. "
            "Train longer or shorten it: dataclasses.replace(recipe, warmup_steps=…)."
        )
    peak, final, decay = recipe.learning_rate, recipe.final_learning_rate, total - warmup
    schedules = {
        "cosine": lambda: keras.optimizers.schedules.CosineDecay(peak, decay, alpha=final / peak),
        "linear": lambda: keras.optimizers.schedules.PolynomialDecay(peak, decay, end_learning_rate=final),
        "poly": lambda: keras.optimizers.schedules.PolynomialDecay(peak, decay, end_learning_rate=final, power=0.9),
        "constant": lambda: keras.optimizers.schedules.PolynomialDecay(peak, decay, end_learning_rate=peak),
        "steps": lambda: keras.optimizers.schedules.PiecewiseConstantDecay(
            [epochs * steps_per_epoch - warmup for epochs in recipe.drops],
            [peak / 10**i for i in range(len(recipe.drops) + 1)],
        ),
    }
    return WarmUp(one_of(schedules, "schedule", recipe.schedule)(), warmup)


def optimizer(recipe: Recipe, model, steps_per_epoch: int, batch_size: int | None = None):
    """Return the recipe's optimiser for a model.

    Args:
        recipe: the recipe.
        model: a built model; its variables' paths say which are spared from weight decay, and its precision whether
            the loss is scaled.
        steps_per_epoch: batches of one epoch.
        batch_size: global batch, if another than the recipe's: the rates follow.

    Returns:
        A Keras optimiser with its schedule, clipping and moving average; within a `LossScaleOptimizer` if a layer of
        the model computes in float16 (Keras' `compile` looks at the global policy alone).

    Raises:
        ValueError: a value of the recipe is not one that `Recipe` allows.
    """
    recipe = at_batch_size(recipe, batch_size or recipe.batch_size)
    kind, further = one_of(_OPTIMIZERS, "optimizer", recipe.optimizer)
    if recipe.layer_decay != 1 or recipe.rate_factors or recipe.rate_delays or recipe.gradient_clip_factor:
        kind = _BY_DEPTH[recipe.optimizer]
        paths = [variable.path for variable in model.trainable_variables]
        delays = {path: depth.first(recipe.rate_delays, path, 0) * steps_per_epoch for path in paths}
        further = {
            **further,
            "rate_factors": depth.rate_factors(model, recipe.layer_decay, recipe.rate_factors),
            "rate_delays": {path: steps for path, steps in delays.items() if steps},
            "clip_factor": recipe.gradient_clip_factor,
        }
    result = kind(
        **further,
        learning_rate=learning_rate(recipe, steps_per_epoch),
        weight_decay=recipe.weight_decay,
        global_clipnorm=recipe.gradient_clip_norm,
        use_ema=recipe.ema_decay is not None,
        ema_momentum=0.99 if recipe.ema_decay is None else recipe.ema_decay,
    )
    # Keras matches words with a variable's own name; layers' names count too here.
    spared = [v for v in model.trainable_variables if any(depth.holds(v.path, w) for w in recipe.no_weight_decay)]
    result.exclude_from_weight_decay(var_list=spared)
    if precision.of(model) == "mixed_float16":
        result = keras.optimizers.LossScaleOptimizer(result)
    return result


def compile_arguments(
    recipe: Recipe, model, steps_per_epoch: int, batch_size: int | None = None, multi_label: bool = False
) -> dict:
    """Return the arguments of `model.compile`.

    Args:
        recipe: the recipe.
        model: a built classifier, compiled or not.
        steps_per_epoch: batches of one epoch.
        batch_size: global batch, if another than the recipe's: the rates follow by its rule.
        multi_label: see `loss`.

    Returns:
        A dictionary with `optimizer` and, unless the loss is the model's own, `loss` and `metrics`.

    Raises:
        ValueError: a value of the recipe is not one that `Recipe` allows, or does not suit the model.

    Example:

    ```python
    data = keras_mlp.training.data.load("digits", "train", image_size=32, batch_size=64, recipe=recipe)
    model.compile(**recipes.compile_arguments(recipe, model, data.steps, data.batch_size))
    model.fit(data.dataset, steps_per_epoch=data.steps, epochs=recipe.epochs)
    ```
    """
    chosen = optimizer(recipe, model, steps_per_epoch, batch_size)
    return {"optimizer": chosen, **objectives.of(recipe, multi_label).compile_arguments(model, recipe)}
