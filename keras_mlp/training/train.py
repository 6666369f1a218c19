"""Training with a recipe into a folder, and evaluation: both are plain `model.fit` and `model.evaluate`."""

import sys

import keras

from keras_mlp.cards import Recipe
from keras_mlp.classifiers import Output
from keras_mlp.training import objectives
from keras_mlp.training.data import Data
from keras_mlp.training.data.broken import in_plain_words
from keras_mlp.training.distribution import Alone
from keras_mlp.training.folder import Folder
from keras_mlp.training.objective import Objective
from keras_mlp.training.objectives.classification import Classification
from keras_mlp.training.plain import uncompiled
from keras_mlp.training.run import Run, any_number_of_batches


def fit(
    model,
    train: Data,
    validation: Data | None,
    recipe: Recipe,
    output,
    *,
    settings: dict | None = None,
    callbacks=(),
    overwrite: bool = False,
    extend: bool = False,
    verbose="auto",
    jit_compile="auto",
    checkpoint_seconds: float = 600,
    workers: Alone | None = None,
    objective: Objective | None = None,
):
    """Train a model with a recipe, or go on with a run that was broken off.

    The folder `output` gets `recipe.json` (the recipe as it was run, and `settings`), `classes.txt` (a name a line),
    `data.json` (which data they are: names of the classes, number of images, a digest of the files' names and sizes),
    `log.csv` (a row an epoch), `tensorboard` (the same for TensorBoard), `best.keras` (of the epoch with the best score
    on the validation data, or without such on the training data; without its optimiser), `last.keras` (with it, to
    train on), `curves.png` and `report.md`. The score is the objective's: of a classifier top-1 accuracy, for a single
    unit accuracy, and for multi-label data mean average precision. With a moving average of the weights, validation and
    `best.keras` use it, and so do in the end the model and `last.keras`.

    If the process ends before the training does, by whatever cause, the same call goes on with it: from the last state
    in `checkpoints`, and to the weights that it would have come to without a break. Every file but TensorBoard's is
    written whole or not at all. Ctrl-C and SIGTERM wait for the end of a step and save; a second one does not wait.

    Args:
        model: a classifier (of two classes it may have one unit), for a recipe without labels a
            `keras_mlp.training.moco_v3.MoCoV3`, or what the objective is for; it is compiled here. Its precision is as
            it was built, whatever the recipe says. If another is trained beside it, as with
            `keras_mlp.training.distill.Distiller`, what is saved and reported is the plain one.
        train: training data, as `keras_mlp.training.data.load(..., recipe=recipe)` gives them; their batch
            size sets the rates by the recipe's rule.
        validation: evaluation data, or `None`.
        recipe: the recipe.
        output: folder, made if need be.
        settings: what else decides the result, as the model's name, the data set's and the seed, by name: values that
            JSON has. A run goes on only with the same.
        callbacks: further Keras callbacks. What they know is not saved.
        overwrite: whether to begin anew where `output` holds a run.
        extend: whether to go on with the run in `output`, finished or not, for more epochs than it was begun with. Its
            learning rate follows the schedule of the new number of epochs from there on. A finished run goes on from
            `last.keras`: with a moving average of the weights, from that average.
        verbose: 1 for a line that is renewed as long as an epoch lasts, 2 for a line an epoch, 0 for silence; "auto" is
            1 in a terminal, else 2.
        jit_compile: of `model.compile`: whether XLA compiles the training step. "auto" leaves it to Keras, whose choice
            for TensorFlow is yes on GPUs and TPUs and no on CPUs, where XLA is slow at gradients of depthwise
            convolutions.
        checkpoint_seconds: how often the state is saved within an epoch; it is after each epoch anyway.
        workers: the devices and processes that train together, as `keras_mlp.training.distribution.connect` found
            them, with the model built in their `scope()`; by default one process and one device. `output` is a folder
            that all processes see; the chief alone writes there.
        objective: what the model is trained for: what the targets mean, losses, metrics, and which epoch is the best.
            By default it is what the recipe's loss is made for, classification or contrastive pre-training.

    Returns:
        Keras' `History`: in `history` the values of the log by name, each a list over the epochs.

    Raises:
        ImportError: matplotlib or TensorBoard is not installed.
        ValueError: the model and the data do not fit together, the recipe does not suit the model, `output` holds
            another run or one on other data, or too many images cannot be read.
        RuntimeError: another process is training into `output`.
        keras_mlp.training.distribution.WorkerLost: a process that trains with this one has ended.
        ArithmeticError: the loss became NaN or infinite; what was saved before stays.
        OSError: a file cannot be written, as on a full disk; what was saved before stays.
        keras_mlp.training.resume.Interrupted: a KeyboardInterrupt, after which all is saved.
    """
    workers = workers or Alone()
    if verbose == "auto":
        verbose = 1 if sys.stdout and sys.stdout.isatty() else 2
    run = Run(
        model,
        train,
        validation,
        recipe,
        Folder(output),
        objective or objectives.of(recipe, train.multi_label),
        settings=settings or {},
        callbacks=callbacks,
        workers=workers,
        verbose=0 if workers.rank else verbose,
        checkpoint_seconds=checkpoint_seconds,
    )
    run.check(jit_compile)
    run.compile(jit_compile)
    result = keras.callbacks.History()
    result.set_model(model)
    result.history = run.carry_out(overwrite, extend)
    result.epoch = list(range(len(result.history["loss"])))
    return result


def evaluate(
    model, data: Data, verbose="auto", output: Output | None = None, objective: Objective | None = None
) -> dict[str, float]:
    """Measure a model, a classifier unless another objective is given.

    Args:
        model: the model, compiled or not; how it was compiled stays.
        data: evaluation data, as `keras_mlp.training.data.load` gives them without a recipe.
        verbose: of `model.evaluate`.
        output: what a classifier's output means, where neither its layers nor the loss it is compiled with tell.
        objective: what the model was trained for; by default classification.

    Returns:
        "loss" (of classifiers the cross entropy, without label smoothing) and the objective's metrics. Those of
        classifiers are `keras_mlp.training.metrics.of` the model, each in 0–1: "top1" and, where there are more than
        five classes, "top5"; for a single unit "accuracy" and "auc"; for multi-label data "average_precision", "auc"
        and "f1".

    Raises:
        ValueError: the model and the data do not fit together, or too many images cannot be read.
    """
    objective = objective or Classification(data.multi_label, output)
    data = objective.fitted(model, data)
    judge = uncompiled(model)
    judge.compile(**objective.compile_arguments(model))
    with any_number_of_batches(), in_plain_words():
        result = judge.evaluate(data.dataset, return_dict=True, verbose=verbose)
        result |= objective.judge(judge, data)
    data.broken.check()
    return result
