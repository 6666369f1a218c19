"""What happens beside the steps of `model.fit`.

All callbacks learn from the run's `Progress` where it is. `Record`, the first of them, keeps it.
"""

import contextlib
import csv
import math
import signal
import time

import keras

from keras_mlp.files import atomic_path
from keras_mlp.training.data import Data
from keras_mlp.training.data.source import Supply
from keras_mlp.training.distribution import Alone
from keras_mlp.training.objective import Objective
from keras_mlp.training.plain import plain, uncompiled
from keras_mlp.training.resume import Checkpoints, Interrupted, NotFinite, Progress


class Record(keras.callbacks.Callback):
    """Keeps the run's progress, and takes up an epoch in its middle.

    It adds `images_per_second` to the logs, and at the end of an epoch `learning_rate` and `seconds`. An epoch that is
    taken up after some steps ends as many steps earlier; its logs are the means over all its steps.

    Args:
        progress: where the run is; it is kept up to date.
        batch_size: global batch.
        objective: what the log's columns are by.
    """

    def __init__(self, progress: Progress, batch_size: int, objective: Objective):
        super().__init__()
        self.progress = progress
        self.batch_size = batch_size
        self.objective = objective

    def on_epoch_begin(self, epoch, logs=None):
        self.before = self.progress.step, dict(self.progress.logs)
        self.began = self.start = time.perf_counter()
        self.first, self.rate, self.ends = -1, math.nan, False

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        self.rate = (batch - self.first) * self.batch_size / (now - self.start)
        if self.first < 0:  # the first step waits for data and, in the first epoch, for the compiler
            self.start, self.first = now, batch
        self._join(batch + 1, logs)
        self.progress.step = self.before[0] + batch + 1
        self.progress.logs = {name: float(value) for name, value in logs.items()}
        logs["images_per_second"] = self.rate
        if self.before[0] and self.progress.step == self.progress.steps:
            self.model.stop_training = self.ends = True  # Keras has no other way to end an epoch

    def on_epoch_end(self, epoch, logs=None):
        if self.ends:
            self.model.stop_training = False
        logs.update(self.progress.logs)
        logs["images_per_second"] = self.rate
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        logs["seconds"] = time.perf_counter() - self.began
        for name, value in self.objective.columns(logs).items():
            self.progress.history.setdefault(name, []).append(float(value))
        self.progress.epoch, self.progress.step, self.progress.logs = epoch + 1, 0, {}

    def _join(self, steps, logs):
        """From the means over these steps to those over the steps before, too."""
        before, means = self.before
        for name, mean in means.items():
            logs[name] = (before * mean + steps * logs[name]) / (before + steps)


class Together(keras.callbacks.Callback):
    """Lets all processes of a run know the same: the means of what each measured, and that one was asked to stop.

    It comes before all that decides something by the logs, so that all decide alike.

    Args:
        workers: the processes.
        asked: holds a signal's number as soon as this process is asked to stop, or another one was.
    """

    def __init__(self, workers: Alone, asked: list[int]):
        super().__init__()
        self.workers = workers
        self.asked = asked

    def on_train_batch_end(self, batch, logs=None):
        *means, asked = self.workers.mean([*map(float, logs.values()), float(bool(self.asked))])
        logs.update(zip(list(logs), means, strict=True))
        if asked and not self.asked:
            self.asked.append(signal.SIGTERM)

    def on_epoch_end(self, epoch, logs=None):
        means = self.workers.mean([*map(float, logs.values())])
        logs.update(zip(list(logs), means, strict=True))


class Judge(keras.callbacks.Callback):
    """Adds what the objective measures beside metrics to an epoch's logs.

    It comes before `Averaged`, so that the average is measured where there is one, and before all that reads the logs.

    Args:
        objective: what measures.
        validation: evaluation data.
    """

    def __init__(self, objective: Objective, validation: Data):
        super().__init__()
        self.objective = objective
        self.validation = validation

    def on_test_end(self, logs=None):
        self.found = self.objective.judge(self.model, self.validation)

    def on_epoch_end(self, epoch, logs=None):
        logs.update({f"val_{name}": float(value) for name, value in self.found.items()})


class Waiting(keras.callbacks.Callback):
    """Tells when the model waits for its data, as where videos are decoded more slowly than it learns.

    Args:
        supply: counts the batches that were made.
        say: is given a text after an epoch in which nothing was ready after more than half of the steps.
    """

    def __init__(self, supply: Supply, say):
        super().__init__()
        self.supply = supply
        self.say = say

    def on_train_begin(self, logs=None):
        self.supply.made = self.taken = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.steps = self.waits = 0

    def on_train_batch_end(self, batch, logs=None):
        self.taken += 1
        self.steps += 1
        self.waits += self.supply.made <= self.taken

    def on_epoch_end(self, epoch, logs=None):
        if 2 * self.waits > self.steps:
            self.say(
                f"the model waited for data after {self.waits} of {self.steps} steps: decoding is slower than it. "
                "Smaller files, or more cores, would make training faster"
            )


class StopOnNaN(keras.callbacks.Callback):
    """Ends training with an error at the first loss that is not a number, before anything is saved from it.

    Args:
        progress: where the run is.
    """

    def __init__(self, progress: Progress):
        super().__init__()
        self.progress = progress

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise ArithmeticError(not_finite(f"The loss became {logs['loss']}", self.progress))


def not_finite(what: str, progress: Progress) -> str:
    """The message that a run has gone wrong."""
    return (
        f"{what} in epoch {progress.epoch + 1}, step {progress.step}, and training was stopped. What was saved before "
        "is sound. Try a lower learning rate, a longer warm-up, gradient clipping (gradient_clip_norm=1.0), or "
        "mixed_bfloat16 or float32 in place of mixed_float16."
    )


class TensorBoard(keras.callbacks.TensorBoard):
    """Keras' own, but what it knows of an epoch is in its file when the next one begins, whatever ends the process."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        for writer in self._writers.values():
            writer.flush()


class CountBroken(keras.callbacks.Callback):
    """Notes the images that could not be read, and ends training with an error when there are too many.

    Args:
        progress: where the run is.
        train, validation: the data; the latter may be `None`.
    """

    def __init__(self, progress: Progress, train: Data, validation: Data | None):
        super().__init__()
        self.progress = progress
        self.train = train
        self.validation = validation
        train.broken.numbers.update(progress.broken)

    def on_train_batch_end(self, batch, logs=None):
        self.progress.broken = sorted(self.train.broken.numbers)
        self.train.broken.check()

    def on_epoch_end(self, epoch, logs=None):
        if self.validation:
            self.validation.broken.check()


class Averaged(keras.callbacks.Callback):
    """Gives the model its weights' moving average while it is evaluated or saved, and then its weights back.

    `keras.callbacks.SwapEMAWeights` does it by additions and subtractions on TensorFlow, which round: each evaluation
    would change the weights a little.
    """

    @contextlib.contextmanager
    def exchanged(self):
        """The model with the average, to be saved."""
        self._exchange()
        yield
        self._exchange()

    def _exchange(self):
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        averages = optimizer._model_variables_moving_average
        for weight, average in zip(optimizer._trainable_variables, averages, strict=True):
            kept = keras.ops.copy(weight)
            weight.assign(average)
            average.assign(kept)

    def on_test_begin(self, logs=None):
        self._exchange()

    def on_test_end(self, logs=None):
        self._exchange()


class Save(keras.callbacks.Callback):
    """Saves the model after each epoch; a crash leaves the file before whole.

    Args:
        path: a `.keras` file.
        wanted: whether to save after this epoch.
        states: context managers in which the model is as it is to be saved.
        compiled: whether the optimiser is saved too, to train on; a model to be used is a third of that size without.
    """

    def __init__(self, path, wanted=lambda: True, states=(), compiled=True):
        super().__init__()
        self.path = path
        self.wanted = wanted
        self.states = states
        self.compiled = compiled

    def on_epoch_end(self, epoch, logs=None):
        if self.wanted():
            self.save()

    def save(self):
        """Save now."""
        with contextlib.ExitStack() as stack:
            for state in self.states:
                stack.enter_context(state())
            model = self.model
            if not self.compiled:
                model = uncompiled(plain(model), plain(model).name)
            model.save(stack.enter_context(atomic_path(self.path)))


class Log(keras.callbacks.Callback):
    """Writes a table of all epochs after each of them.

    Not `keras.callbacks.CSVLogger`, which adds a line: an epoch that was done again would be there twice.

    Args:
        path: of the table, comma-separated, a row an epoch.
        progress: where the run is.
    """

    def __init__(self, path, progress: Progress):
        super().__init__()
        self.path = path
        self.progress = progress

    def on_epoch_end(self, epoch, logs=None):
        history = self.progress.history
        with atomic_path(self.path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["epoch", *history])
            rows.writerows((epoch, *values) for epoch, values in enumerate(zip(*history.values(), strict=True)))


class StopEarly(keras.callbacks.Callback):
    """Ends training when the model has not become better for a while.

    Not `keras.callbacks.EarlyStopping`, which knows nothing of the epochs before a run was taken up again.

    Args:
        progress: where the run is.
        patience: epochs without a better one after which it ends.
        objective: what better is by.
    """

    def __init__(self, progress: Progress, patience: int | None, objective: Objective):
        super().__init__()
        self.progress = progress
        self.objective = objective
        self.patience = patience

    def on_epoch_end(self, epoch, logs=None):
        if self.objective.stagnates(self.progress.history, self.patience):
            self.model.stop_training = True


class Checkpoint(keras.callbacks.Callback):
    """Saves the run's state, so that it can go on from there exactly; comes after all that the state depends on.

    Args:
        checkpoints: where.
        progress: where the run is.
        seconds: how often within an epoch; after each epoch it is saved anyway.
        asked: holds a signal's number as soon as the run is asked to stop: then the state is saved and the run ends.
        before_leaving: called then, too.
    """

    def __init__(self, checkpoints: Checkpoints, progress: Progress, seconds: float, asked, before_leaving):
        super().__init__()
        self.checkpoints = checkpoints
        self.progress = progress
        self.seconds = seconds
        self.asked = asked
        self.before_leaving = before_leaving

    def on_train_begin(self, logs=None):
        self.last = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        due = self.asked or time.monotonic() - self.last >= self.seconds
        if due and self.progress.step < self.progress.steps:  # the epoch's end is saved as such
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        self.save()

    def save(self):
        """Save now, and leave if that was asked for."""
        progress = self.progress
        try:
            self.checkpoints.save(self.model, progress)
        except NotFinite as error:
            raise ArithmeticError(not_finite("The weights became NaN or infinite", progress)) from error
        self.last = time.monotonic()
        if self.asked:
            self.before_leaving()
            raise Interrupted(
                f"stopped in epoch {progress.epoch + 1} after {progress.step} steps; all is saved, and the same "
                "command goes on from there",
                self.asked[0],
            )
