"""What happens beside the steps of `model.fit`."""

import math
import time

import keras

from keras_mlp.files import atomic_path


class StopOnNaN(keras.callbacks.Callback):
    """Ends training with an error at the first loss that is not a number, before anything is saved from it."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = logs["loss"]
        if not math.isfinite(loss):
            raise ArithmeticError(
                f"The loss became {loss} in epoch {self.epoch + 1}, step {batch + 1}, and training was stopped. What "
                "was saved after earlier epochs is sound. Try a lower learning rate, a longer warm-up, gradient "
                "clipping (gradient_clip_norm=1.0), or mixed_bfloat16 or float32 in place of mixed_float16."
            )


class Speed(keras.callbacks.Callback):
    """Adds `images_per_second` of training to the logs, and at the end of an epoch `learning_rate`.

    Args:
        batch_size: global batch.
    """

    def __init__(self, batch_size: int):
        super().__init__()
        self.batch_size = batch_size

    def on_epoch_begin(self, epoch, logs=None):
        self.start, self.first, self.rate = time.perf_counter(), -1, math.nan

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        self.rate = (batch - self.first) * self.batch_size / (now - self.start)
        logs["images_per_second"] = self.rate
        if self.first < 0:  # the first step waits for data and, in the first epoch, for the compiler
            self.start, self.first = now, batch

    def on_epoch_end(self, epoch, logs=None):
        logs["images_per_second"] = self.rate
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class Save(keras.callbacks.Callback):
    """Saves the model after each epoch, or after those with the best score; a crash leaves the file before whole.

    Args:
        path: a `.keras` file.
        score: from an epoch's logs to something that can be compared, higher is better; `None` saves always.
        averaged: the callback that exchanges the weights and their moving average, to save the average.
        compiled: whether the optimiser is saved too, to train on; a model to be used is a third of that size without.
    """

    def __init__(self, path, score=None, averaged: keras.callbacks.SwapEMAWeights | None = None, compiled=True):
        super().__init__()
        self.path = path
        self.score = score
        self.averaged = averaged
        self.compiled = compiled
        self.best = None

    def on_epoch_end(self, epoch, logs=None):
        if self.score:
            score = self.score(logs)
            if self.best is not None and score <= self.best:
                return
            self.best = score
        # Not SwapEMAWeights(swap_on_epoch=True), which ends with the wrong weights when training stops early.
        if self.averaged:
            self.averaged.on_test_begin()
        with atomic_path(self.path) as temporary:
            model = self.model
            if not self.compiled:
                model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
            model.save(temporary)
        if self.averaged:
            self.averaged.on_test_end()
