"""One process on one device: what every way of sharing a batch starts from."""

import contextlib
import textwrap

import keras


class WorkerLost(RuntimeError):
    """Another process of the run has ended, so that this one cannot go on."""

    at_once = True  # how the process has to end: libraries would wait for the lost one


class Alone:
    """One process that trains on one device; what the others do otherwise is what they override."""

    rank = 0  # of this process; 0 is the chief, who alone writes
    size = 1  # processes
    replicas = 1  # devices of all processes
    may_compile = True  # whether XLA may compile the step

    def scope(self):
        """Where the model is built and compiled."""
        return contextlib.nullcontext()

    def check(self, batch_size: int, jit_compile):
        """Refuse what does not work with so many devices.

        Raises:
            ValueError: the global batch is not a multiple of the number of devices, or `jit_compile` is `True` where
                XLA cannot compile a step on several devices.
        """
        if batch_size % self.replicas:
            raise ValueError(
                f"On {self.replicas} devices the batch should be a multiple of {self.replicas}. "
                f"Received: batch_size={batch_size}"
            )
        if jit_compile is True and not self.may_compile:
            raise ValueError(
                "XLA cannot compile a step that several devices share through tf.distribute. Use jit_compile='auto'."
            )

    def prepare(self, model):
        """Change a compiled model, whose optimiser is built, so that its steps are shared."""

    def begin(self, model):
        """Do what has to be done when the model has the state from which it starts."""

    def saved_as(self, model):
        """Context in which a model is as it is to be saved."""
        return contextlib.nullcontext()

    def evaluation(self, data):
        """The evaluation data (`keras_mlp.training.data.Data`) as `fit` takes them here."""
        return data

    def mean(self, values: list[float]) -> list[float]:
        """The means of numbers over all processes, each of which has to ask."""
        return values

    def wait(self):
        """Wait until all processes are here."""
        self.mean([0.0])

    @contextlib.contextmanager
    def chief_first(self):
        """Let the chief through the block before the others."""
        if self.rank:
            self.wait()
        yield
        if not self.rank:
            self.wait()

    @contextlib.contextmanager
    def noticing(self):
        """Turn the errors by which a backend tells that another process has gone into `WorkerLost`."""
        yield


def need_backend(backend, strategy):
    if keras.backend.backend() != backend:
        raise ValueError(
            f"The strategy {strategy} needs KERAS_BACKEND={backend}. Keras runs on {keras.backend.backend()}."
        )


def check_rank(addresses, rank):
    if rank is None or not 0 <= rank < len(addresses):
        raise ValueError(
            f"Each process needs its own rank, here of 0–{len(addresses) - 1}: its place among the addresses. "
            f"Received: rank={rank}"
        )


def lost(workers, error):
    text = str(error)
    reason = textwrap.shorten(text.partition("aborted by: ")[2] or text, 120, placeholder="…")
    return (
        f"Another of the {workers.size} processes has ended, and process {workers.rank} stops too ({reason}). What was "
        "saved is whole: the same command on all machines goes on from it."
    )
