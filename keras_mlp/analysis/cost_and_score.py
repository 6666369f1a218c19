"""Costs of models against their scores: an interactive page in one file, and a PNG beside it."""

import dataclasses

from keras_mlp import cards, files, zoo
from keras_mlp.cards import scores
from keras_mlp.extras import need

TITLES = {
    "parameters": "parameters in millions",
    "macs": "multiply-adds of one image in billions",
    "images_per_second": "images a second, Keras, one at a time",
    "tflite_ms": ".tflite float32, milliseconds of one image",
    "tflite_megabytes": ".tflite float32, size in MB",
    "tflite_memory": ".tflite float32, memory beyond LiteRT's in MB",
}
"""What may be drawn from left to right, and the axis' title. Cards tell the first two; the others are measured."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A model in the picture.

    Attributes:
        name: its name.
        title: what it is called in its paper.
        family: title of its family.
        costs: by keys of `TITLES`.
        score: published top-1 on ImageNet-1k in percent.
        training: what it was trained on for that score.
        exact: whether the score is published in digits; see `cards.scores.Score`.
    """

    name: str
    title: str
    family: str
    costs: dict[str, float]
    score: float
    training: str
    exact: bool = True


def published(names, measured: dict[str, dict[str, float]] | None = None) -> list[Model]:
    """Models with their published scores; those without a published top-1 are left out.

    Args:
        names: of models.
        measured: by name, costs by keys of `TITLES` that a card does not tell.

    Returns:
        One `Model` for each training that a score is published of.
    """
    known, found = cards.from_file(), []
    for name in names:
        card = known[name]
        by_training, best = [(score.training or score.dataset, score) for score in card.scores], {}
        for weights in card.weights.values():
            by_training += [(score.training or weights.training_data, score) for score in weights.scores]
        for training, score in by_training:
            if score.metric == scores.TOP1 and score.dataset == scores.IMAGENET:
                best[training] = max(best.get(training, score), score, key=lambda one: one.value)
        costs = {"parameters": card.parameters / 1e6, "macs": card.macs / 1e9} | (measured or {}).get(name, {})
        family = zoo.FAMILIES[card.family].title
        found += [Model(name, card.title, family, costs, s.value, training, s.exact) for training, s in best.items()]
    return found


def plot_costs(models: list[Model], path_html, path_png):
    """Draw models: what one chooses of their costs from left to right, their score upward, a colour a family.

    Args:
        models: the models; costs that are known of all are drawn.
        path_html: interactive picture to write, one file that needs no network: pointing at a model names it, a menu
            chooses the cost, and a click in the legend hides a family.
        path_png: picture to write with a panel for each cost.

    Raises:
        ValueError: there are no models.
        ImportError: plotly or matplotlib is not installed.
    """
    if not models:
        raise ValueError("There is no model to draw. Models without a published top-1 on ImageNet-1k are left out.")
    costs = [cost for cost in TITLES if all(cost in model.costs for model in models)]
    families = list(dict.fromkeys(model.family for model in models))
    _write_html(models, costs, families, path_html)
    _write_png(models, costs, families, path_png)


def _write_html(models, costs, families, path):
    graphs = need("plotly.graph_objects", extra="analysis")
    figure = graphs.Figure()
    for family in families:
        those = [model for model in models if model.family == family]
        figure.add_trace(
            graphs.Scatter(
                x=[model.costs[costs[0]] for model in those],
                y=[model.score for model in those],
                mode="markers",
                name=family,
                marker=dict(size=10, symbol=["circle" if _plain(model) else "diamond" for model in those]),
                customdata=[[model.title, model.training, _told(model), *_texts(model, costs)] for model in those],
                hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[2]} top-1, trained on %{customdata[1]}<br>"
                + "<br>".join(f"{TITLES[cost]}: %{{customdata[{i}]}}" for i, cost in enumerate(costs, 3))
                + "<extra></extra>",
            )
        )

    def along(cost):
        places = [[model.costs[cost] for model in models if model.family == family] for family in families]
        return dict(label=TITLES[cost], method="update", args=[{"x": places}, {"xaxis.title.text": TITLES[cost]}])

    figure.update_layout(
        title="Cost against published top-1 on ImageNet-1k<br><sup>diamonds: trained on more images, or with SAM</sup>",
        xaxis=dict(type="log", title=TITLES[costs[0]]),
        yaxis=dict(title="top-1 in percent"),
        template="plotly_white",
        margin=dict(t=130),
        legend=dict(orientation="h", y=-0.15),  # below, where a phone has room
        updatemenus=[dict(buttons=[along(cost) for cost in costs], x=0, xanchor="left", y=1.08, yanchor="bottom")],
    )
    with files.atomic_path(path) as temporary:
        figure.write_html(temporary, include_plotlyjs=True, full_html=True)


def _write_png(models, costs, families, path):
    figures, ticker = need("matplotlib.figure", extra="analysis"), need("matplotlib.ticker", extra="analysis")
    colours = need("matplotlib", extra="analysis").colormaps["tab20"].colors
    columns = 1 + len(families) // 24  # as many families as fit below each other in the legend
    figure = figures.Figure(figsize=(5.2 * len(costs) + 1.8 * columns, 4.6), layout="constrained")
    panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for axes, cost in zip(panels, costs, strict=True):
        for number, family in enumerate(families):
            those = [model for model in models if model.family == family]
            for marker, plain in (("o", True), ("D", False)):
                some = [model for model in those if _plain(model) == plain]
                colour = colours[number % len(colours)]
                inside = colour if number < len(colours) else "none"  # more families than colours: rings
                axes.scatter(
                    [model.costs[cost] for model in some],
                    [model.score for model in some],
                    facecolors=inside,
                    edgecolors=colour,
                    marker=marker,
                    s=26,
                    label=family if some and (plain or not any(map(_plain, those))) else None,
                )
        axes.set(xscale="log", xlabel=TITLES[cost])
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        axes.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("published top-1 on ImageNet-1k in %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside right upper",
        ncols=columns,
        fontsize=8,
        title="diamonds: more images, or SAM",
    )
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, facecolor="white")


def _plain(model) -> bool:
    """Whether the model was trained on ImageNet-1k alone, in the usual way."""
    return model.training == scores.IMAGENET


def _told(model) -> str:
    return f"{'' if model.exact else scores.INEXACT}{model.score:g} %"


def _texts(model, costs) -> list[str]:
    return [f"{model.costs[cost]:.3g}" for cost in costs]
