"""What training shows in the terminal."""

import math
import shutil
import time

import keras

from keras_mlp.training.objective import Objective
from keras_mlp.training.resume import Progress


class _Pace:
    """Seconds that a step takes, and what the first one took longer, in which there may be compiling."""

    def __init__(self):
        self.began = self.first = self.last = time.monotonic()
        self.steps = 0

    def step(self):
        """A step has ended."""
        self.last = time.monotonic()
        self.steps += 1
        if self.steps == 1:
            self.first = self.last

    @property
    def each(self) -> float:
        return (self.last - self.first) / (self.steps - 1) if self.steps > 1 else self.last - self.began

    @property
    def wait(self) -> float:
        return max(0.0, self.first - self.began - self.each)


class Terminal(keras.callbacks.Callback):
    """Shows loss, the objective's measures, images/s, of videos also frames/s, and the time that is left.

    Args:
        progress: where the run is.
        epochs: of the run.
        in_place: renew one line as long as an epoch lasts; else a line is written after an epoch, and every minute.
        objective: whose measures are shown.
        things: what the examples are called.
        frames: of an example, of videos.
    """

    def __init__(
        self,
        progress: Progress,
        epochs: int,
        in_place: bool,
        objective: Objective,
        things: str = "images",
        frames: int | None = None,
    ):
        super().__init__()
        self.things = things
        self.frames = frames
        self.objective = objective
        self.progress = progress
        self.epochs = epochs
        self.in_place = in_place
        self.interval = 0.2 if in_place else 60
        self.width = 0
        self.compiled = False

    def on_epoch_begin(self, epoch, logs=None):
        self.start = self.shown = time.monotonic()
        self.done = self.progress.step
        self.training, self.testing = _Pace(), _Pace()

    def on_test_begin(self, logs=None):
        self.testing = _Pace()

    def on_test_batch_end(self, batch, logs=None):
        self.testing.step()

    def on_train_batch_end(self, batch, logs=None):
        self.training.step()
        now = time.monotonic()
        if now - self.shown < self.interval:
            return
        self.shown = now
        epoch, step, steps = self.progress.epoch, self.progress.step, self.progress.steps
        left = self.training.each * ((self.epochs - epoch) * steps - step)
        line = self._line(f"{self._place(epoch)}  {step}/{steps}", logs, left)
        if self.in_place:
            line = line[: shutil.get_terminal_size().columns - 1]  # what is broken into two lines cannot be renewed
        self._show(line, end="" if self.in_place else "\n")

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.monotonic() - self.start
        if not self.compiled:  # which the next epochs do not wait for
            seconds, self.compiled = seconds - self.training.wait - self.testing.wait, True
        each = seconds / (1 - self.done / self.progress.steps)
        self._show(self._line(self._place(epoch), logs, each * (self.epochs - epoch - 1)), end="\n")

    def _place(self, epoch):
        return f"epoch {epoch + 1:>{len(str(self.epochs))}}/{self.epochs}"

    def _line(self, place, logs, left):
        parts = [place]
        for prefix, words in (("", ""), ("val_", "validation ")):
            if f"{prefix}loss" in logs:
                parts.append(f"{words}loss {logs[f'{prefix}loss']:.4f}")
            for measure in self.objective.shown(logs):
                if (key := f"{prefix}{measure.key}") in logs:
                    parts.append(f"{measure.title} {measure.text(logs[key])}")
        rate = logs["images_per_second"]
        parts.append(f"{rate:.0f} {self.things}/s")
        if self.frames:
            parts.append(f"{rate * self.frames:.0f} frames/s")
        return "  ".join([*parts, f"{duration(left)} left"])

    def _show(self, line, end):
        print(f"\r{line:<{self.width}}" if self.in_place else line, end=end, flush=True)
        self.width = 0 if end else len(line)


def duration(seconds: float) -> str:
    """Seconds in words: "7 s", "3 min 20 s", "5 h 3 min"."""
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
