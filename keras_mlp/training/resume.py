"""Saving a run so exactly that it goes on as if it had never stopped.

Not `keras.callbacks.BackupAndRestore`: it loses the state of random layers and the place in the data, repeats a broken
epoch's first steps with later weights, and replaces its one file in place.
"""

import contextlib
import dataclasses
import json
import pathlib
import signal
import threading

import numpy as np

from keras_mlp import adapters
from keras_mlp.files import atomic_path

PROGRESS = "progress"
STATES = "?????-????????.npz"  # epochs and steps done


@dataclasses.dataclass
class Progress:
    """How far a run has come.

    Args:
        steps: of an epoch.
        epoch: epochs done.
        step: steps done of the next one.
        logs: means over these steps, by name.
        history: values after each epoch, by name, as in Keras' `History.history`.
        broken: numbers of the images that could not be read.
    """

    steps: int
    epoch: int = 0
    step: int = 0
    logs: dict[str, float] = dataclasses.field(default_factory=dict)
    history: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    broken: list[int] = dataclasses.field(default_factory=list)


class NotFinite(ArithmeticError):
    """A weight, or a state of the optimiser, is NaN or infinite."""


class Checkpoints:
    """The newest states of a run: files in a folder, each of which is written whole or not at all.

    Args:
        folder: where; made if need be. One process at a time may have it.
        keep: how many; one is enough unless a disk breaks what was written.

    Raises:
        RuntimeError: another process has the folder.
    """

    def __init__(self, folder, keep: int = 2):
        import filelock

        self.folder = pathlib.Path(folder)
        self.keep = keep
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(self.folder / "lock")  # a killed process leaves it open
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise RuntimeError(f"Another process is training into {self.folder.parent}.") from error
        for left in self.folder.glob("*.tmp-*"):  # by a process that was killed while it wrote
            left.unlink()

    def files(self) -> list[pathlib.Path]:
        """The states that there are, the newest first."""
        return sorted(self.folder.glob(STATES), reverse=True)

    def save(self, model, progress: Progress):
        """Write everything that the next step depends on, except the data.

        Args:
            model: a compiled model whose optimiser is built.
            progress: how far it has come.

        Raises:
            NotFinite: there is nothing worth saving; what was saved before stays.
            OSError: the disk is full, for example; what was saved before stays.
        """
        arrays = {str(i): np.asarray(variable) for i, variable in enumerate(_variables(model))}
        for array in arrays.values():
            if not np.isfinite(array.astype("float32", copy=False)).all():
                raise NotFinite
        arrays[PROGRESS] = np.array(json.dumps(dataclasses.asdict(progress)))
        with atomic_path(self.folder / f"{progress.epoch:05d}-{progress.step:08d}.npz") as temporary:
            np.savez(temporary, **arrays)
        for old in self.files()[self.keep :]:
            old.unlink()

    def restore(self, model) -> tuple[Progress | None, list[str]]:
        """Take up the newest state that can be read.

        Args:
            model: as it was when it was saved, apart from the values of its variables, which are set.

        Returns:
            How far it had come, or `None` where nothing was saved; and the names of files that could not be read, which
            have ".unreadable" at their end now.

        Raises:
            ValueError: the states there are all unreadable, or are another model's.
        """
        unreadable = []
        for file in self.files():
            try:
                with np.load(file, allow_pickle=False) as stored:
                    progress = Progress(**json.loads(str(stored[PROGRESS])))
                    arrays = [stored[str(i)] for i in range(len(stored.files) - 1)]
            except Exception:  # a broken file may make its readers raise anything
                self._set_aside(file)
                unreadable.append(file.name)
                continue
            _assign(_variables(model), arrays, file)
            adapters.settle(model)
            return progress, unreadable
        if unreadable:
            raise ValueError(
                f"None of the states in {self.folder} can be read ({', '.join(unreadable)}). Begin anew in another "
                "folder, from best.keras or last.keras if they are there."
            )
        return None, []

    def close(self):
        """Let another process have the folder."""
        self._lock.release()

    def _set_aside(self, file):
        file.rename(file.with_name(f"{file.name}.unreadable"))


class Followed(Checkpoints):
    """The states of a run that another process, its chief, writes: they are taken up here, and that is all."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def save(self, model, progress: Progress):
        pass

    def close(self):
        pass

    def _set_aside(self, file):
        pass


def _variables(model):
    """Weights, statistics, states of random layers, and the optimiser's."""
    return [*model.variables, *model.optimizer.variables]


def _assign(variables, arrays, file):
    shapes = [tuple(variable.shape) for variable in variables], [array.shape for array in arrays]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{file} is the state of another model or another optimiser: shapes differ.")
    for variable, array in zip(variables, arrays, strict=True):
        if array.dtype.kind == "V":  # bfloat16, which NumPy knows by its size only
            array = array.view(np.asarray(variable).dtype)
        variable.assign(array)


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, and its state is saved.

    Args:
        signal: number of the signal that asked.
    """

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal


@contextlib.contextmanager
def wait_for_the_step():
    """Hold Ctrl-C and the signal to terminate back, so that the step that runs can end.

    Yields:
        A list with the number of the signal once one came. The second one is not held back.
    """
    came = []

    def handle(number, frame):
        if came:
            raise KeyboardInterrupt
        came.append(number)

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield came
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
