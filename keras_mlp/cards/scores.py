"""How well a model or a checkpoint did, as data: any metric on any data set."""

import dataclasses
from collections.abc import Iterable, Mapping

TOP1 = "top-1"
IMAGENET = "ImageNet-1k"
INEXACT = "~"
FOOTNOTE = f"{INEXACT} is not exact: remembered, or read off a figure."


@dataclasses.dataclass(frozen=True)
class Score:
    """One number that was published.

    Args:
        value: in percent.
        metric: what was measured, e.g. "top-1", "box AP", "mask AP" or "mIoU".
        dataset: what it was measured on.
        training: what the model was trained on, where that is more or other than the data set's own training part.
        source: where it is published.
        exact: whether it stands there in digits. What is remembered or read off a figure is not exact, and is shown
            with a "~" everywhere.
    """

    value: float
    metric: str = TOP1
    dataset: str = IMAGENET
    training: str = ""
    source: str = ""
    exact: bool = True

    @property
    def data(self) -> str:
        """What tells it from others of the same metric: its training, or else its data set."""
        return self.training or self.dataset

    def number(self, form: str = ".2f") -> str:
        """The value as text, with a "~" before it where it is not exact."""
        return f"{'' if self.exact else INEXACT}{self.value:{form}}"

    def __str__(self):
        trained = f", trained on {self.training}" if self.training else ""
        return f"{self.number('')} % {self.metric} on {self.dataset}{trained}"

    def __repr__(self):
        return f"Score({str(self)!r}, source={self.source!r})"  # so that a printed card has the "~", too


def imagenet(percents: float | Mapping[str, float] | None, source: str, exact: bool = True) -> tuple[Score, ...]:
    """Top-1 accuracy on ImageNet-1k, as scores.

    Args:
        percents: one number of a training on ImageNet-1k, or `{training: percent}`, or `None` for no score.
        source, exact: of each `Score`.
    """
    by_training = percents if isinstance(percents, Mapping) else {} if percents is None else {IMAGENET: percents}
    return tuple(
        Score(percent, training="" if training == IMAGENET else training, source=source, exact=exact)
        for training, percent in by_training.items()
    )


def of(scores: Iterable[Score], metric: str) -> list[Score]:
    """Those of a metric."""
    return [score for score in scores if score.metric == metric]


def best(scores: Iterable[Score], metric: str = TOP1) -> Score | None:
    """The highest one of a metric, or `None`."""
    return max(of(scores, metric), key=lambda score: score.value, default=None)
