"""A run: a model, what it learns from and how, and the folder in which all that is kept."""

import contextlib
import dataclasses
import json
import shutil
import warnings
from collections.abc import Iterable

import keras

from keras_mlp import adapters
from keras_mlp.cards import Recipe
from keras_mlp.extras import need
from keras_mlp.files import atomic_path
from keras_mlp.training import callbacks as ours
from keras_mlp.training import curves, depth, identity, precision, recipes, report
from keras_mlp.training.data import Data
from keras_mlp.training.data.broken import in_plain_words
from keras_mlp.training.distribution import Alone
from keras_mlp.training.folder import CHECKPOINTS, Folder
from keras_mlp.training.objective import Objective
from keras_mlp.training.plain import plain
from keras_mlp.training.resume import Checkpoints, Followed, Interrupted, Progress, wait_for_the_step
from keras_mlp.training.terminal import Terminal


@dataclasses.dataclass
class Run:
    """A run, from what it is given to what it leaves; `keras_mlp.training.train.fit` tells of the arguments.

    `check`, `compile` and `carry_out` follow one another.

    Args:
        model: the model; `compile` compiles it.
        train: training data.
        validation: evaluation data, or `None`.
        recipe: the recipe.
        folder: where it is kept.
        objective: what the model is trained for.
        settings: what else decides the result, by name.
        callbacks: further Keras callbacks.
        workers: the devices and processes that train together.
        verbose: 0, 1 or 2.
        checkpoint_seconds: how often the state is saved within an epoch.
    """

    model: keras.Model
    train: Data
    validation: Data | None
    recipe: Recipe
    folder: Folder
    objective: Objective
    settings: dict = dataclasses.field(default_factory=dict)
    callbacks: Iterable = ()
    workers: Alone = dataclasses.field(default_factory=Alone)
    verbose: int = 0
    checkpoint_seconds: float = 600
    checkpoints: Checkpoints | None = dataclasses.field(default=None, init=False)
    progress: Progress | None = dataclasses.field(default=None, init=False)

    @property
    def chief(self) -> bool:
        """Whether this process is the one that writes."""
        return not self.workers.rank

    @property
    def data(self) -> list[Data]:
        """The training data, and the evaluation data where there are any."""
        return [data for data in (self.train, self.validation) if data]

    def check(self, jit_compile):
        """Refuse what cannot be trained, before anything slow starts.

        Args:
            jit_compile: what `compile` will be given.

        Raises:
            ImportError: matplotlib or TensorBoard is not installed.
            ValueError: the model, the data and the workers do not fit together.
        """
        self.train, self.validation = self.objective.check(self.model, self.train, self.validation)
        self.workers.check(self.train.batch_size, jit_compile)
        for package in ("matplotlib", "tensorboard"):  # better missed now than after training
            need(package, extra="train")

    def compile(self, jit_compile):
        """Compile the model as the recipe and the objective want it.

        Args:
            jit_compile: of `model.compile`.

        Raises:
            ValueError: the recipe does not suit the model.
        """
        recipe = recipes.in_epochs(recipes.at_batch_size(self.recipe, self.train.batch_size), self.train.steps)
        self.recipe = recipe = dataclasses.replace(recipe, precision=precision.of(self.model))
        with self.workers.scope():
            optimizer = recipes.optimizer(recipe, self.model, self.train.steps)
            arguments = self.objective.compile_arguments(self.model, recipe)
            self.model.compile(optimizer, **arguments, jit_compile=jit_compile)
            self.model.optimizer.build(self.model.trainable_variables)
        self.workers.prepare(self.model)
        self.settings = {**self.objective.settings(), **self.settings}

    def carry_out(self, overwrite: bool, extend: bool) -> dict[str, list[float]]:
        """Begin, or go on from where it was broken off, to the end.

        Args:
            overwrite: whether to begin anew where the folder holds a run.
            extend: whether to go on with the run in the folder for more epochs than it was begun with.

        Returns:
            The values of the log by name, each a list over the epochs.

        Raises:
            Exception: as `keras_mlp.training.train.fit` tells.
        """
        for text in dict.fromkeys(data.left_out for data in self.data if data.left_out):
            self._say(text)
        with self.workers.noticing():
            try:
                if self._open(overwrite, extend):
                    return self._take_what_is_finished()
                self._take_up()
                self.workers.begin(self.model)
                self._fit()
                self._finish()
                self.workers.wait()  # a process that ends takes the others with it
            except Interrupted:
                self.workers.wait()
                raise
            except OSError as error:
                reason = error.strerror or error
                raise OSError(
                    error.errno,
                    f"{reason}; what was saved in {self.folder} before is whole, and the same command goes on from it",
                ) from error
            finally:
                if self.checkpoints:
                    self.checkpoints.close()
        return self.progress.history

    def _say(self, text):
        if self.verbose:
            print(text, flush=True)

    def _open(self, overwrite, extend) -> bool:
        """Make the folder hold this run and a state to start from; whether the run is finished."""
        recipe = json.dumps({**dataclasses.asdict(self.recipe), **self.settings}, indent=2) + "\n"
        folder = self.folder
        with self.workers.chief_first():
            identities = identity.of(self.train, self.validation)
            more = False
            if not overwrite:
                more = folder.check(json.loads(recipe), extend, self.recipe.defaults())
                if (folder / "recipe.json").exists():
                    identity.check(folder.path, identities)
            self.checkpoints = (Checkpoints if self.chief else Followed)(folder / CHECKPOINTS)
            if self.chief:
                folder.tidy(overwrite)
                if more:
                    folder.reopen(self.model, self.checkpoints, self.train.steps)
                    folder.write("recipe.json", recipe)
            finished = folder.finished and not overwrite
            if self.chief and not (finished or self.checkpoints.files()):
                folder.write("recipe.json", recipe)
                folder.write("classes.txt", "".join(f"{name}\n" for name in self.train.classes))
                folder.write(identity.FILE, json.dumps(identities, indent=2) + "\n")
                self.checkpoints.save(self.model, Progress(self.train.steps))
        return finished

    def _take_up(self):
        """Give the model the newest state that can be read."""
        self.progress, unreadable = self.checkpoints.restore(self.model)
        progress, steps = self.progress, self.train.steps
        for name in unreadable:
            self._say(f"{self.checkpoints.folder / name} cannot be read; the one before is taken")
        if progress.epoch or progress.step:
            self._say(f"going on in epoch {progress.epoch + 1} after {progress.step} steps")
        if progress.steps != steps:
            raise ValueError(
                f"{self.folder} holds a run on other data: {progress.steps} steps an epoch then, {steps} now. Give it "
                "the data that it was begun with to go on, choose another folder, or begin anew with overwrite=True "
                "(--overwrite)."
            )
        place = [progress.epoch, progress.step]
        if self.workers.mean(place) != place:
            raise ValueError(
                f"The processes go on from different states, this one from epoch {place[0] + 1}, step {place[1]}: "
                f"{self.folder} has to be one folder that all of them see."
            )

    def _fit(self):
        """The rest of the epochs; in the end the model has its weights, or their average."""
        model, train, recipe, progress, objective = self.model, self.train, self.recipe, self.progress, self.objective
        averaged = [ours.Averaged()] if recipe.ema_decay is not None else []
        stages = [depth.Unfreeze(model, recipe.unfreeze_epochs)] if recipe.unfreeze_epochs else []
        saved_as = [
            *(callback.exchanged for callback in averaged),
            *(callback.thawed for callback in stages),
            lambda: self.workers.saved_as(model),
        ]
        last = ours.Save(self.folder / "last.keras", states=saved_as)
        with wait_for_the_step() as asked, any_number_of_batches(), in_plain_words():
            before_leaving = last.save if self.chief else lambda: None
            try:
                model.fit(
                    train.after(progress.epoch * train.steps + progress.step).dataset,
                    steps_per_epoch=train.steps,
                    initial_epoch=progress.epoch,
                    epochs=progress.epoch if objective.stagnates(progress.history, recipe.patience) else recipe.epochs,
                    validation_data=self.validation and self.workers.evaluation(self.validation).dataset,
                    shuffle=False,  # the data are shuffled; Keras would warn
                    verbose=0,
                    callbacks=[
                        *([ours.Together(self.workers, asked)] if self.workers.size > 1 else []),
                        *([ours.Judge(objective, self.validation)] if self.validation else []),
                        ours.Record(progress, train.batch_size, objective),
                        ours.StopOnNaN(progress),
                        ours.CountBroken(progress, train, self.validation),
                        *averaged,
                        *stages,
                        *(self._writers(last, saved_as) if self.chief else []),
                        *([ours.Waiting(train.supply, self._say)] if train.supply else []),
                        ours.StopEarly(progress, recipe.patience, objective),
                        *self.callbacks,
                        ours.Checkpoint(self.checkpoints, progress, self.checkpoint_seconds, asked, before_leaving),
                    ],
                )
            finally:
                for callback in stages:
                    callback.on_train_end()  # which Keras leaves out after an error
                if self.chief and progress.history:
                    curves.plot(progress.history, self.folder / "curves.png", objective)
        if self.chief:
            with self.workers.saved_as(model), atomic_path(self.folder / "last.keras") as temporary:
                model.save(temporary)

    def _writers(self, last, saved_as):
        """What writes after each epoch."""
        progress, objective = self.progress, self.objective

        def improved():
            return objective.best_epoch(progress.history) == progress.epoch - 1

        shown = progress, self.recipe.epochs, self.verbose == 1, objective
        return [
            last,
            ours.Save(self.folder / "best.keras", improved, saved_as, compiled=False),
            ours.Log(self.folder / "log.csv", progress),
            ours.TensorBoard(self.folder / "tensorboard", write_graph=False),
            *([Terminal(*shown, self.train.things, self.train.frames)] if self.verbose else []),
        ]

    def _finish(self):
        """Report, and remove what only a run that goes on needs."""
        for data in self.data:
            if data.broken:
                self._say("\n".join([str(data.broken), *data.broken.reasons()]))
        if self.chief:
            known = self.model, self.train, self.validation, self.recipe, self.progress.history
            self.folder.write("report.md", report.text(*known, self.settings, self.objective))
            shutil.rmtree(self.checkpoints.folder)

    def _take_what_is_finished(self) -> dict[str, list[float]]:
        """Give the model the weights of a run that is finished; the values of its log."""
        self._say(f"{self.folder} holds this run, and it is finished")
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
        last = keras.models.load_model(self.folder / "last.keras", compile=False)
        plain(self.model).set_weights(last.get_weights())
        adapters.settle(plain(self.model))
        return self.folder.log()


@contextlib.contextmanager
def any_number_of_batches():
    """Without Keras' warning that data have ended whose number is not known before, as where broken images may be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Your input ran out of data")
        yield
