"""What a model is trained for: all that one kind of training does otherwise than another."""

import dataclasses

from keras_mlp.cards import Recipe
from keras_mlp.labels import check_names
from keras_mlp.training.data import Data


@dataclasses.dataclass(frozen=True)
class Measure:
    """A number that says how good a model is, and how people see it.

    Args:
        key: its column in the log. On validation data the column has "val_" in front.
        title: what the terminal and the report call it.
        axis: what the curves call it; by default the title.
        percent: whether it is a share of 1 that is shown in percent.
        higher: whether more of it is better.
    """

    key: str
    title: str
    axis: str = ""
    percent: bool = True
    higher: bool = True

    def text(self, value: float) -> str:
        """Return the number as the terminal shows it."""
        return f"{100 * value:.2f} %" if self.percent else f"{value:.4f}"


class Objective:
    """What a model is trained for, as `keras_mlp.training.train.fit` and `evaluate` ask for it.

    A run knows models, epochs, files and processes. Its objective knows what the targets in the data
    `(images, targets)` mean: which models and data go together, the losses and metrics, the score that chooses the best
    epoch, the columns of the log, and what the terminal, the report and the curves show. A subclass has a `name` and a
    `loss` at least. Losses and metrics of its own are registered, so that `last.keras` can be loaded to train on.

    Example:

    ```python
    class Depth(Objective):
        name = "depth"
        measures = (Measure("error", "mean error in metres", percent=False, higher=False),)

        def loss(self, model, recipe=None):
            return keras.losses.Huber()

        def metrics(self, model):
            return [keras.metrics.MeanAbsoluteError(name="error")]

    keras_mlp.training.train.fit(model, data, validation, recipe, "runs/depth", objective=Depth())
    ```
    """

    name: str
    """What a run's `recipe.json` calls it."""
    measures: tuple[Measure, ...] = ()
    """What is shown beside the loss. The first of those that the log has is the score."""
    caption = "Learning curves"
    """What the report says of the curves."""

    def settings(self) -> dict:
        """Return what a run's `recipe.json` says of the objective, by name; a run goes on only with the same."""
        return {"objective": self.name}

    def check(self, model, train: Data, validation: Data | None) -> tuple[Data, Data | None]:
        """Return the data as the model is to see them.

        Args:
            model: the model.
            train: training data.
            validation: evaluation data, or `None`.

        Raises:
            ValueError: the model and the data do not fit together.
        """
        train, validation = (data and self.fitted(model, data) for data in (train, validation))
        if validation and validation.classes != train.classes:
            raise ValueError(
                "The data to learn from and to measure on have different classes, or in another order: "
                f"{train.classes[:20]} and {validation.classes[:20]}."
            )
        return train, validation

    def fitted(self, model, data: Data) -> Data:
        """Return data as the model is to see them, with targets as its output has them.

        Raises:
            ValueError: the model and the data do not fit together.
        """
        check_names(data.classes)  # each is a line of classes.txt
        images = data.dataset.element_spec[0].shape[1:]
        if not images.is_compatible_with(model.input_shape[1:]):
            raise ValueError(
                f"The images are {tuple(images)}, the model takes {model.input_shape[1:]}. Load them alike."
            )
        return data

    def loss(self, model, recipe: Recipe | None = None):
        """Return the loss, as `model.compile` takes it; `None` where the model has its own.

        Args:
            model: the model.
            recipe: the recipe to train with; `None` to evaluate, without what only eases training.

        Raises:
            ValueError: the model and the recipe do not suit each other.
        """
        raise NotImplementedError

    def metrics(self, model):
        """Return the metrics, as `model.compile` takes them; their names are columns of the log."""
        return None

    def judge(self, model, data: Data) -> dict[str, float]:
        """Return what is measured of a model beside metrics, as mean average precision, which no metric adds up.

        Args:
            model: the model.
            data: evaluation data, as `fitted` gave them.

        Returns:
            Values by name. After each epoch they are in the log with "val_" in front.
        """
        return {}

    def compile_arguments(self, model, recipe: Recipe | None = None) -> dict:
        """Return the arguments "loss" and "metrics" of `model.compile`, without those that there are not."""
        arguments = {"loss": self.loss(model, recipe), "metrics": self.metrics(model)}
        return {name: value for name, value in arguments.items() if value is not None}

    def activation(self, recipe: Recipe) -> str | None:
        """Return the last activation of a model to be trained, as its builder takes it."""
        return None

    def columns(self, logs: dict[str, float]) -> dict[str, float]:
        """Return an epoch's row of the log, always with the same columns, from what Keras logs of it."""
        return logs

    def shown(self, names) -> list[Measure]:
        """Return those of the measures that are among the names of a history or a log."""
        return [measure for measure in self.measures if measure.key in names or f"val_{measure.key}" in names]

    def score(self, names) -> Measure | None:
        """Return what chooses the best epoch, if it is among the names of a history; else the loss does."""
        return next(iter(self.shown(names)), None)

    def scores(self, history: dict[str, list[float]]) -> list[tuple[float, float]]:
        """Return how good the model was after each epoch, the higher the better: the score, and at a tie the loss.

        They are those on the validation data, or without such on the training data.
        """
        prefix = "val_" if "val_loss" in history else ""
        losses, score = history[f"{prefix}loss"], self.score(history)
        values = history.get(f"{prefix}{score.key}") if score else None
        sign = 1 if values is None or score.higher else -1
        return [(sign * value, -loss) for value, loss in zip(values or [0] * len(losses), losses, strict=True)]

    def best_epoch(self, history: dict[str, list[float]]) -> int:
        """Return which epoch, counted from 0, was the best; of equals the first."""
        found = self.scores(history)
        return found.index(max(found))

    def stagnates(self, history: dict[str, list[float]], patience: int | None) -> bool:
        """Return whether the best epoch is `patience` epochs ago, or more."""
        if patience is None or not history:
            return False
        return len(history["loss"]) - 1 - self.best_epoch(history) >= patience
