"""Training with a recipe into a folder, and evaluation: both are plain `model.fit` and `model.evaluate`."""

import contextlib
import csv
import dataclasses
import json
import pathlib
import shutil
import sys
import warnings

import keras

from keras_mlp import copying
from keras_mlp.cards import Recipe
from keras_mlp.classifiers import Output
from keras_mlp.extras import need
from keras_mlp.files import atomic_path, remove_leftovers
from keras_mlp.training import callbacks as ours
from keras_mlp.training import curves, depth, identity, objectives, precision, recipes, report
from keras_mlp.training.data import Data
from keras_mlp.training.distribution import Alone
from keras_mlp.training.objective import Objective
from keras_mlp.training.objectives.classification import Classification
from keras_mlp.training.plain import plain, uncompiled
from keras_mlp.training.resume import STATES, Checkpoints, Followed, Interrupted, Progress, wait_for_the_step
from keras_mlp.training.terminal import Terminal

# Everything that a run leaves; the report is the last.
FILES = (
    *("recipe.json", "classes.txt", identity.FILE, "log.csv", "tensorboard"),
    *("best.keras", "last.keras", "curves.png", "report.md"),
)
# What it has beside them as long as it runs.
CHECKPOINTS = "checkpoints"


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
    `log.csv` (a row an epoch), `tensorboard` (the same for TensorBoard), `best.keras` (of the epoch with the best top-1
    accuracy, for a single unit accuracy and for multi-label data mean average precision, on the validation data, or
    without such on the training data; without its optimiser), `last.keras` (with
    it, to train on), `curves.png` and `report.md`. With a moving average of the weights, validation and `best.keras`
    use it, and so do in the end the model and `last.keras`.

    If the process ends before the training does, by whatever cause, the same call goes on with it: from the last state
    in `checkpoints`, and to the weights that it would have come to without a break. Every file but TensorBoard's is
    written whole or not at all. Ctrl-C and SIGTERM wait for the end of a step and save; a second one does not wait.

    Args:
        model: a classifier (of two classes it may have one unit), or for a recipe without labels a
            `keras_mlp.training.moco_v3.MoCoV3`; it is compiled here. Its precision is as it was built, whatever the
            recipe says. If another is trained beside it, as with `keras_mlp.training.distill.Distiller`, what is saved
            and reported is the plain one.
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
        jit_compile: of `model.compile`: whether XLA compiles the training step. "auto" leaves it to Keras, whose answer
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
    objective = objective or objectives.of(recipe, train.multi_label)
    train, validation = objective.check(model, train, validation)
    workers = workers or Alone()
    workers.check(train.batch_size, jit_compile)
    for package in ("matplotlib", "tensorboard"):  # better missed now than after training
        need(package, extra="train")
    output = pathlib.Path(output)
    recipe = dataclasses.replace(recipes.at_batch_size(recipe, train.batch_size), precision=precision.of(model))
    with workers.scope():
        optimizer = recipes.optimizer(recipe, model, train.steps)
        model.compile(optimizer, **objective.compile_arguments(model, recipe), jit_compile=jit_compile)
        model.optimizer.build(model.trainable_variables)
    workers.prepare(model)
    settings = {**objective.settings(), **(settings or {})}
    written = json.dumps({**dataclasses.asdict(recipe), **settings}, indent=2) + "\n"
    if verbose == "auto":
        verbose = 1 if sys.stdout and sys.stdout.isatty() else 2
    if workers.rank:
        verbose = 0

    if verbose:
        for text in dict.fromkeys(data.left_out for data in (train, validation) if data and data.left_out):
            print(text, flush=True)

    with workers.noticing():
        checkpoints = None
        try:
            with workers.chief_first():
                identities = identity.of(train, validation)
                more = False
                if not overwrite:
                    more = _check_folder(output, json.loads(written), extend)
                    if (output / "recipe.json").exists():
                        identity.check(output, identities)
                checkpoints = (Followed if workers.rank else Checkpoints)(output / CHECKPOINTS)
                if not workers.rank:
                    _tidy(output, overwrite)
                    if more:
                        _reopen(model, output, checkpoints, train.steps)
                        _write(output / "recipe.json", written)
                finished = (output / "report.md").exists() and not overwrite
                if not (workers.rank or finished or checkpoints.files()):
                    _write(output / "recipe.json", written)
                    _write(output / "classes.txt", "".join(f"{name}\n" for name in train.classes))
                    _write(output / identity.FILE, json.dumps(identities, indent=2) + "\n")
                    checkpoints.save(model, Progress(train.steps))
            if finished:
                return _finished(model, output, verbose)
            progress = _take_up(model, checkpoints, verbose)
            if progress.steps != train.steps:
                raise ValueError(
                    f"{output} holds a run on other data: {progress.steps} steps an epoch then, {train.steps} now. "
                    "Give it the data that it was begun with to go on, choose another folder, or begin anew with "
                    "overwrite=True (--overwrite)."
                )
            _check_same(workers, progress, output)
            workers.begin(model)
            _fit(
                *(model, train, validation, recipe, output, checkpoints, progress),
                *(callbacks, verbose, checkpoint_seconds, workers, objective),
            )
            if verbose:
                for data in filter(None, (train, validation)):
                    if data.broken:
                        print(data.broken, *data.broken.reasons(), sep="\n")
            if not workers.rank:
                text = report.text(model, train, validation, recipe, progress.history, settings, objective)
                _write(output / "report.md", text)
                shutil.rmtree(checkpoints.folder)
            workers.wait()  # a process that ends takes the others with it
        except Interrupted:
            workers.wait()
            raise
        except OSError as error:
            reason = error.strerror or error
            message = f"{reason}; what was saved in {output} before is whole, and the same command goes on from it"
            raise OSError(error.errno, message) from error
        finally:
            if checkpoints:
                checkpoints.close()
    return _history(model, progress.history)


def _tidy(output, overwrite):
    """Remove what a killed process left half-written; and the whole run, if it is to begin anew."""
    for name in FILES:
        remove_leftovers(output / name)
    if overwrite:
        _remove(output)


def _check_same(workers, progress, output):
    """Refuse processes that would go on from different states."""
    place = [progress.epoch, progress.step]
    if workers.mean(place) != place:
        raise ValueError(
            f"The processes go on from different states, this one from epoch {place[0] + 1}, step {place[1]}: {output} "
            "has to be one folder that all of them see."
        )


def _fit(
    model,
    train,
    validation,
    recipe,
    output,
    checkpoints,
    progress,
    callbacks,
    verbose,
    checkpoint_seconds,
    workers,
    objective,
):
    """The rest of a run; in the end the model has its weights, or their average."""
    averaged = [ours.Averaged()] if recipe.ema_decay is not None else []
    stages = [depth.Unfreeze(model, recipe.unfreeze_epochs)] if recipe.unfreeze_epochs else []
    saved_as = [
        *(callback.exchanged for callback in averaged),
        *(callback.thawed for callback in stages),
        lambda: workers.saved_as(model),
    ]
    last = ours.Save(output / "last.keras", states=saved_as)

    def improved():
        return objective.best_epoch(progress.history) == progress.epoch - 1

    chief = not workers.rank
    written = [
        last,
        ours.Save(output / "best.keras", improved, saved_as, compiled=False),
        ours.Log(output / "log.csv", progress),
        ours.TensorBoard(output / "tensorboard", write_graph=False),
        *([Terminal(progress, recipe.epochs, verbose == 1, objective)] if verbose else []),
    ]
    with wait_for_the_step() as asked, _any_number_of_batches():
        try:
            model.fit(
                train.after(progress.epoch * train.steps + progress.step).dataset,
                steps_per_epoch=train.steps,
                initial_epoch=progress.epoch,
                epochs=progress.epoch if objective.stagnates(progress.history, recipe.patience) else recipe.epochs,
                validation_data=validation and workers.evaluation(validation).dataset,
                shuffle=False,  # the data are shuffled; Keras would warn
                verbose=0,
                callbacks=[
                    *([ours.Together(workers, asked)] if workers.size > 1 else []),
                    ours.Record(progress, train.batch_size, objective),
                    ours.StopOnNaN(progress),
                    ours.CountBroken(progress, train, validation),
                    *averaged,
                    *stages,
                    *(written if chief else []),
                    ours.StopEarly(progress, recipe.patience, objective),
                    *callbacks,
                    ours.Checkpoint(
                        checkpoints, progress, checkpoint_seconds, asked, last.save if chief else lambda: None
                    ),
                ],
            )
        finally:
            for callback in stages:
                callback.on_train_end()  # which Keras leaves out after an error
            if chief and progress.history:
                curves.plot(progress.history, output / "curves.png", objective)
    if chief:
        with workers.saved_as(model), atomic_path(output / "last.keras") as temporary:
            model.save(temporary)


def _check_folder(output, settings, extend) -> bool:
    """Refuse a folder that holds another run, or what is left of one; whether the run is to have more epochs."""
    before = [name for name in FILES if (output / name).exists()]
    if not before:
        return False
    try:
        then = json.loads((output / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        then = None
    # These are written before the first state is saved.
    begun = set(before) - {"recipe.json", "classes.txt", identity.FILE}
    kept = (output / "report.md").exists() or any((output / CHECKPOINTS).glob(STATES))
    if then is None or (begun and not kept):
        raise ValueError(
            f"{output} holds a run already ({', '.join(before)}), of which too little is left to go on with it. Choose "
            "another folder or remove it."
        )
    changed = sorted(name for name in {*then, *settings} if then.get(name) != settings.get(name))
    more = set(changed) <= {"epochs", "warmup_epochs", "warmup_steps"} and settings["epochs"] > then["epochs"]
    if changed and not (more and extend):
        differences = ", ".join(f"{name}: {then.get(name)}, now {settings.get(name)}" for name in changed)
        longer = " go on with it for more epochs with extend=True (--extend)," if more else ""
        raise ValueError(
            f"{output} holds a run with other settings ({differences}). Give the same to go on with it,{longer} choose "
            "another folder, or begin anew with overwrite=True (--overwrite)."
        )
    return more


def _reopen(model, output, checkpoints, steps):
    """Make the last state of a finished run anew, from `last.keras` and the log; a run that is not finished has one."""
    if not (output / "report.md").exists():
        return
    last = keras.models.load_model(output / "last.keras")
    variables = [*plain(model).variables, *model.optimizer.variables]
    values = [*last.variables, *last.optimizer.variables]
    if [tuple(variable.shape) for variable in variables] != [tuple(value.shape) for value in values]:
        raise ValueError(
            f"{output / 'last.keras'} does not hold all that this run trained, so that it cannot be extended. Begin "
            "another run, with these weights."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    history = _logged(output)
    checkpoints.save(model, Progress(steps, epoch=len(history["loss"]), history=history))
    (output / "report.md").unlink()


def _remove(output):
    for name in FILES:
        path = output / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in (output / CHECKPOINTS).glob(STATES):
        path.unlink()


def _take_up(model, checkpoints, verbose) -> Progress:
    progress, unreadable = checkpoints.restore(model)
    if verbose:
        for name in unreadable:
            print(f"{checkpoints.folder / name} cannot be read; the one before is taken")
        if progress.epoch or progress.step:
            print(f"going on in epoch {progress.epoch + 1} after {progress.step} steps", flush=True)
    return progress


def _finished(model, output, verbose):
    """What `fit` answers where there is nothing left to do."""
    if verbose:
        print(f"{output} holds this run, and it is finished", flush=True)
    shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
    plain(model).set_weights(keras.models.load_model(output / "last.keras", compile=False).get_weights())
    copying.settle(plain(model))
    return _history(model, _logged(output))


def _logged(output) -> dict[str, list[float]]:
    """The values of the log by name."""
    with open(output / "log.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0] if name != "epoch"}


def _history(model, history):
    result = keras.callbacks.History()
    result.set_model(model)
    result.history, result.epoch = history, list(range(len(history["loss"])))
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
    with _any_number_of_batches():
        result = judge.evaluate(data.dataset, return_dict=True, verbose=verbose)
    data.broken.check()
    return result


@contextlib.contextmanager
def _any_number_of_batches():
    """Without Keras' warning that data have ended whose number is not known before, as where broken images may be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Your input ran out of data")
        yield


def _write(path, text):
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
