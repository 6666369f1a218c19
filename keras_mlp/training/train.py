"""Training with a recipe into a folder, and evaluation: both are plain `model.fit` and `model.evaluate`."""

import dataclasses
import json
import pathlib

import keras

from keras_mlp.cards import Recipe
from keras_mlp.extras import need
from keras_mlp.files import atomic_path
from keras_mlp.training import callbacks as ours
from keras_mlp.training import curves, precision, recipes
from keras_mlp.training.data import Data

# Everything that a run writes.
FILES = ("recipe.json", "classes.txt", "log.csv", "best.keras", "last.keras", "curves.png")


def fit(
    model,
    train: Data,
    validation: Data | None,
    recipe: Recipe,
    output,
    *,
    callbacks=(),
    overwrite: bool = False,
    verbose="auto",
    jit_compile="auto",
):
    """Train a model with a recipe.

    The folder `output` gets `recipe.json` (the recipe as it was run), `classes.txt` (a name a line), `log.csv` (a row
    an epoch), `best.keras` (of the epoch with the best top-1 accuracy on the validation data, or without such on the
    training data; without its optimiser), `last.keras` (with it, to train on) and `curves.png`. All but the log are
    written whole or not at all. With a moving average of the weights, validation and `best.keras` use it, and so do in
    the end the model and `last.keras`.

    Args:
        model: a classifier; it is compiled here. Its precision is as it was built, whatever the recipe says.
        train: training data, as `keras_mlp.training.data.load(..., recipe=recipe)` gives them; their batch
            size sets the rates by the recipe's rule.
        validation: evaluation data, or `None`.
        recipe: the recipe.
        output: folder, made if need be.
        callbacks: further Keras callbacks.
        overwrite: whether an earlier run's files in `output` may be replaced.
        verbose: of `model.fit`: 1 for a progress bar an epoch, 2 for a line, 0 for silence.
        jit_compile: of `model.compile`: whether XLA compiles the training step.

    Returns:
        Keras' `History`: in `history` the values of the log by name, each a list over the epochs.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the model and the data do not fit together, the recipe does not suit the model, or `output` holds a
            run already.
        ArithmeticError: the loss became NaN or infinite; what was saved after earlier epochs stays.
    """
    for data in filter(None, (train, validation)):
        _check(model, data)
    need("matplotlib", extra="train")  # for the curves; better missed now than after training
    output = pathlib.Path(output)
    before = [name for name in FILES if (output / name).exists()]
    if before and not overwrite:
        raise ValueError(f"{output} holds a run already ({', '.join(before)}). Choose another folder or remove it.")
    recipe = dataclasses.replace(recipes.at_batch_size(recipe, train.batch_size), precision=precision.of(model))
    model.compile(**recipes.compile_arguments(recipe, model, train.steps), jit_compile=jit_compile)

    for name in before:
        (output / name).unlink()
    _write(output / "recipe.json", json.dumps(dataclasses.asdict(recipe), indent=2) + "\n")
    _write(output / "classes.txt", "".join(f"{name}\n" for name in train.classes))
    prefix = "val_" if validation else ""

    def score(logs):
        return logs[f"{prefix}top1"], -logs[f"{prefix}loss"]

    averaged = [keras.callbacks.SwapEMAWeights()] if recipe.ema_decay is not None else []
    history = keras.callbacks.History()
    try:
        model.fit(
            train.dataset,
            steps_per_epoch=train.steps,
            epochs=recipe.epochs,
            validation_data=validation and validation.dataset,
            shuffle=False,  # the data are shuffled; Keras would warn
            verbose=verbose,
            callbacks=[
                ours.StopOnNaN(),
                ours.Speed(train.batch_size),
                *averaged,
                ours.Save(output / "last.keras"),
                ours.Save(output / "best.keras", score, *averaged, compiled=False),
                keras.callbacks.CSVLogger(str(output / "log.csv")),
                history,
                *callbacks,
            ],
        )
        if averaged:
            with atomic_path(output / "last.keras") as temporary:
                model.save(temporary)
    finally:
        if history.history:
            curves.plot(history.history, output / "curves.png")
    return history


def evaluate(model, data: Data, verbose="auto") -> dict[str, float]:
    """Measure a classifier.

    Args:
        model: a classifier, compiled or not; how it was compiled stays.
        data: evaluation data, as `keras_mlp.training.data.load` gives them without a recipe.
        verbose: of `model.evaluate`.

    Returns:
        "loss" (cross entropy, without label smoothing), "top1" and, where there are more than five classes, "top5":
        shares of the images in 0–1.

    Raises:
        ValueError: the model and the data do not fit together.
    """
    _check(model, data)
    judge = keras.Model(model.inputs[0], model.outputs[0])
    judge.compile(loss=recipes.cross_entropy(model), metrics=recipes.metrics(len(data.classes)))
    return judge.evaluate(data.dataset, return_dict=True, verbose=verbose)


def _check(model, data):
    if len(model.output_shape) != 2 or model.output_shape[-1] != len(data.classes):
        raise ValueError(
            f"The data have {len(data.classes)} classes, the model answers {model.output_shape}. Build it with "
            f"include_top=True, classes={len(data.classes)}."
        )
    images = data.dataset.element_spec[0].shape[1:]
    if not images.is_compatible_with(model.input_shape[1:]):
        raise ValueError(f"The images are {tuple(images)}, the model takes {model.input_shape[1:]}. Load them alike.")


def _write(path, text):
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
