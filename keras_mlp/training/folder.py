"""The files that a run keeps in its folder."""

import csv
import json
import pathlib
import shutil

import keras

from keras_mlp.files import atomic_path, remove_leftovers
from keras_mlp.training import identity
from keras_mlp.training.plain import plain
from keras_mlp.training.resume import STATES, Progress

# Everything that a run leaves; the report is the last.
FILES = (
    *("recipe.json", "classes.txt", identity.FILE, "log.csv", "tensorboard"),
    *("best.keras", "last.keras", "curves.png", "report.md"),
)
# What it has beside them as long as it runs.
CHECKPOINTS = "checkpoints"


class Folder:
    """A run's folder: `folder / name` is the path of a file in it.

    Args:
        path: where it is, or will be.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def __truediv__(self, name: str) -> pathlib.Path:
        return self.path / name

    def __str__(self):
        return str(self.path)

    @property
    def finished(self) -> bool:
        """Whether the run in it is finished."""
        return (self / "report.md").exists()

    def write(self, name: str, text: str):
        """Write a file whole, or not at all."""
        with atomic_path(self / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def check(self, settings: dict, extend: bool, defaults: dict) -> bool:
        """Refuse another run than the one that is here, or what is left of one.

        Args:
            settings: what `recipe.json` is to say.
            extend: whether the run may have been for fewer epochs.
            defaults: of the settings that an older version did not know, and so did not write.

        Returns:
            Whether the run that is here is to have more epochs.

        Raises:
            ValueError: it is another run, or too little is left of it.
        """
        before = [name for name in FILES if (self / name).exists()]
        if not before:
            return False
        try:
            then = json.loads((self / "recipe.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            then = None
        # These are written before the first state is saved.
        begun = set(before) - {"recipe.json", "classes.txt", identity.FILE}
        kept = self.finished or any((self / CHECKPOINTS).glob(STATES))
        if then is None or (begun and not kept):
            raise ValueError(
                f"{self} holds a run already ({', '.join(before)}), of which too little is left to go on with it. "
                "Choose another folder or remove it."
            )
        then = json.loads(json.dumps(defaults)) | then
        changed = sorted(name for name in {*then, *settings} if then.get(name) != settings.get(name))
        lengths = {"epochs", "steps", "warmup_epochs", "warmup_steps"}
        more = set(changed) <= lengths and settings["epochs"] > then["epochs"]
        if changed and not (more and extend):
            differences = ", ".join(f"{name}: {then.get(name)}, now {settings.get(name)}" for name in changed)
            longer = " go on with it for more epochs with extend=True (--extend)," if more else ""
            raise ValueError(
                f"{self} holds a run with other settings ({differences}). Give the same to go on with it,{longer} "
                "choose another folder, or begin anew with overwrite=True (--overwrite)."
            )
        return more

    def tidy(self, overwrite: bool):
        """Remove what a killed process left half-written; and the whole run, if it is to begin anew."""
        for name in FILES:
            remove_leftovers(self / name)
        if overwrite:
            self._remove()

    def reopen(self, model, checkpoints, steps: int):
        """Make the last state of a finished run anew, from `last.keras` and the log; an unfinished one has it.

        Args:
            model: a compiled model whose optimiser is built; its variables are set.
            checkpoints: where states are saved.
            steps: of an epoch.

        Raises:
            ValueError: `last.keras` does not hold all that was trained.
        """
        if not self.finished:
            return
        last = keras.models.load_model(self / "last.keras")
        variables = [*plain(model).variables, *model.optimizer.variables]
        values = [*last.variables, *last.optimizer.variables]
        if [tuple(variable.shape) for variable in variables] != [tuple(value.shape) for value in values]:
            raise ValueError(
                f"{self / 'last.keras'} does not hold all that this run trained, so that it cannot be extended. Begin "
                "another run, with these weights."
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        history = self.log()
        checkpoints.save(model, Progress(steps, epoch=len(history["loss"]), history=history))
        (self / "report.md").unlink()

    def log(self) -> dict[str, list[float]]:
        """Return the values of the log by name."""
        with open(self / "log.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows] for name in rows[0] if name != "epoch"}

    def _remove(self):
        for name in FILES:
            path = self / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for path in (self / CHECKPOINTS).glob(STATES):
            path.unlink()
