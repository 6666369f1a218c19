"""Tell what is known of a model: paper, configuration, published weights, training recipe."""

import dataclasses

from absl import flags as absl_flags

from keras_mlp import cards
from keras_mlp.cards import detectors, scores, segmenters, videos
from keras_mlp.cli import console

ARGUMENTS = "MODEL"
KERAS = False


def define_flags(flags):
    absl_flags.DEFINE_bool("json", False, "Write one JSON object.", flag_values=flags)


def run(flags, arguments):
    console.only(arguments, 1)
    if not arguments:
        raise console.UsageError("which MODEL? `keras-mlp list` names them")
    card = cards.named(cards.from_file(), arguments[0])
    if flags.json:
        console.print_json(_plain(card))
    else:
        print("\n".join(_text(card)))


def _plain(card) -> dict:
    told = dataclasses.asdict(card) | {"top1": card.top1}
    for task in (segmenters, detectors, videos):
        kind = task.__name__.rpartition(".")[2]
        told[kind] = {one.name: dataclasses.asdict(one) for one in task.published(card.name)}
    for tag, weights in card.weights.items():
        told["weights"][tag]["top1"] = weights.top1
    return told


def _text(card):
    yield f"{card.title}  ({card.name}, in Python keras_mlp.{card.builder})"
    yield str(card.paper)
    yield ""
    low_bit = ", ".join(f"{count:,} MACs are {kind}" for kind, count in card.low_bit_macs.items())
    yield _entries(
        family=card.family,
        input="×".join(map(str, card.input_shape)),
        parameters=f"{card.parameters:,}",
        MACs=f"{card.macs:,}",
        OPs=f"{card.operations:,.0f} ({low_bit})" if low_bit else None,
        configuration=_settings(card.config),
        **_scores("published ", card.scores, lambda score: f" ({score.data})"),
        note=card.note,
    )
    for tag, weights in card.weights.items():
        yield ""
        same = [other for other in card.weights if card.weights[other] == weights and other != tag]
        if same and weights.tag != tag:
            yield f'weights="{tag}" is "{same[0]}", the best of the authors\' for ImageNet-1k.'
            continue
        yield f'weights="{tag}"'
        yield _entries(
            **{
                "training data": weights.training_data,
                **_scores("", weights.scores, lambda score: ""),
                "classes": weights.classes,
                "input": "×".join(map(str, weights.input_size)),
                "preprocessing": _settings(dataclasses.asdict(weights.preprocessing)),
                "url": weights.url + (" (to be fetched by hand)" if weights.by_hand else ""),
                "sha256": weights.sha256,
                "licence": weights.licence,
                "publisher": weights.publisher,
                "note": weights.note,
            }
        )
    if not card.weights:
        yield "\nNo weights are published."
    if card.recipe:
        yield from _recipe(card.recipe, "Training recipe")
    for one in segmenters.published(card.name):
        yield from _recipe(
            one.recipe,
            f"--task=segmentation --segmenter={one.head} --recipe={one.name}, on {one.dataset}",
            **_scores("published ", one.scores, lambda score: ""),
            backbone=_settings(one.config),
            windows=f"of {one.window} pixels, every {one.stride} pixels, in evaluation" if one.window else None,
        )
    for one in videos.published(card.name):
        yield from _recipe(one.recipe, f"--recipe={one.name}")
    for one in detectors.published(card.name):
        yield from _recipe(
            one.recipe,
            f"--task=detection --detector={one.detector} --recipe={one.name}, on COCO",
            **_scores("published ", one.scores, lambda score: f" ({score.training})" if score.training else ""),
        )


def settings(recipe: cards.Recipe) -> dict:
    """What is told of a recipe, by name: all values but those that others override, and its source."""
    values = dataclasses.asdict(recipe)
    overridden = {"warmup_steps": "warmup_epochs", "steps": "epochs"}
    for name in [other for name, other in overridden.items() if values[name] is not None] + ["source"]:
        del values[name]
    return {name.replace("_", " "): _shown(value) for name, value in values.items() if value is not None}


def _recipe(recipe, title, **entries):
    """A recipe with what else is to be told of it."""
    yield f"\n{title}, from {recipe.source}"
    yield _entries(**entries, **settings(recipe))


def _scores(before, found, after) -> dict:
    """A row a metric, and a footnote on what is not exact."""
    rows = {}
    for score in found:
        rows.setdefault(f"{before}{score.metric}", []).append(f"{score.number()} %{after(score)}")
    rows = {metric: ", ".join(values) for metric, values in rows.items()}
    if sources := {score.source: None for score in found if not score.exact}:
        rows[scores.INEXACT] = f"not exact: {'; '.join(sources)}"
    return rows


def _shown(value):
    """A value as a row has it: pairs, such as the rates of layers, as "name=value"."""
    if isinstance(value, tuple) and value and all(isinstance(one, tuple) for one in value):
        return ", ".join(f"{name}={number:.4g}" for name, number in value)
    return value


def _settings(values) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _entries(**entries):
    """`name  value` in two columns, without those that have no value."""
    entries = {name: value for name, value in entries.items() if value not in (None, "", ())}
    rows = [(name, " ".join(map(str, value)) if isinstance(value, tuple) else value) for name, value in entries.items()]
    return console.table(rows, indent="  ")
