"""The pages of the families, written from their docstrings and cards, what was measured of them, and the analysis."""

import functools
import inspect
import io
import re
import sys

import numpy as np
from PIL import Image

from benchmarks import tables as measured
from docs.site import api, fields
from keras_mlp import cards, zoo
from keras_mlp.analysis import Model, published
from keras_mlp.analysis.receptive_field import Field
from keras_mlp.cli.commands import info
from keras_mlp.extras import need
from keras_mlp.family import Family
from weights import tables

MEASURED = {
    "inference": "Images a second in Keras, in float32:",
    "relatives_peers": "Images a second in Keras, in float32:",
    "mobile": "As .tflite files:",
}
"""The files of docs/measurements/ that tell of single models, and what stands above their rows."""
_INK = "#010203"  # a colour that nothing else has, for that of the page's text


def index(text: str, names) -> str:
    """README's section on the families, whose names lead to their pages.

    Args:
        text: the section.
        names: of the families that have pages.
    """
    listed = sorted((zoo.FAMILIES[name] for name in names), key=lambda family: family.title.lower())
    for family in listed:
        text = text.replace(f"| {family.title} |", f"| [{family.title}]({family.name}.md) |")
    return "\n".join([text, "", "```{toctree}", ":hidden:", "", *(family.name for family in listed), "```", ""])


def page(family: Family, picture_folder) -> str:
    """The page of a family, in Markdown.

    Args:
        family: the family.
        picture_folder: the site's folder `pictures`, which gets those of its receptive fields.
    """
    found = [family.card(name) for name in family.variants]
    names = list(family.variants)
    parts = {
        family.title: _idea(family),
        "What a position sees": _fields(family, picture_folder),
        "Models": tables.models(names),
        "Code to copy": _code(family),
        "Published checkpoints": _checkpoints(family, names),
        "Size and accuracy": _place(family, found),
        "Speed": _speed(found),
        "Training recipe": _recipe(family),
        "What is inferred": _inferred(family, found),
        "Builders": api.builders(family),
    }
    heads = ["#", *["##"] * (len(parts) - 1)]
    return "\n\n".join(f"{sign} {title}\n\n{text}" for sign, (title, text) in zip(heads, parts.items(), strict=True))


def _idea(family) -> str:
    paper = family.paper
    text = inspect.getdoc(sys.modules[family.trunk.__module__])
    # Markdown would make what is indented below a colon part of the line above.
    text = re.sub(r"(?<=:\n)((?: {4}.*(?:\n|$))+)", _quoted, text)
    return f"{text}\n\n{paper.authors}, [{paper.title}]({paper.url}), {paper.year}."


def _quoted(found) -> str:
    return "\n" + "".join(f"> {line.strip()}\n" for line in found[1].splitlines()) + "\n"


def _fields(family, folder) -> str:
    if family.name not in fields.drawn():
        return "The analysis of receptive fields is for models of images. This family is for videos."
    if not all(fields.path(family.name, part).exists() for part in fields.PARTS):
        return f"Its pictures have not been drawn: `python -m docs.site.fields {family.name}` does it."
    title = family.variants[fields.smallest(family)].title
    parts = [
        f"The pixels that can reach the centre of a map of {title}, as "
        "[`keras-mlp analyze receptive_field`](../analysis.md) finds them. Averages over the whole map are held "
        "constant.",
        ":::::{grid} 2",
    ]
    for part, said in zip(fields.PARTS, ("After the first block", "After the last block"), strict=True):
        pixels = fields.load(family.name, part)
        _coloured(pixels, folder / f"{family.name}_{part}.png")
        field = Field(pixels, part)
        told = f"{said}: {field.shape}, {field.reached:.1%} of the image"
        parts.append(
            f"::::{{grid-item}}\n:::{{figure}} ../pictures/{family.name}_{part}.png\n:alt: {told}\n:figclass: field\n\n"
            f"{told}.\n:::\n::::"
        )
    return "\n\n".join([*parts, ":::::"])


def _coloured(pixels, path):
    """Write a field as a picture that is seen on a light page and on a dark one."""
    picture = np.zeros((*pixels.shape, 4), "uint8")
    picture[..., :3], picture[..., 3] = (59, 130, 246), np.where(pixels, 255, 0)
    Image.fromarray(picture).save(path, optimize=True)


def _code(family) -> str:
    name = fields.smallest(family)
    card = family.card(name)
    weights = card.weights.get(family.best)
    tag, why = family.best, ""
    if weights is None:
        tag, why = "none", "  # no weights are published"
    elif weights.by_hand:
        tag, why = "FILE", "  # fetched by hand: see below"
    argument = "None" if tag == "none" else f'"{tag}"'
    shape = ", ".join(map(str, card.input_shape))
    video = family.input == "video"
    commands = [f"keras-mlp info {name}"]
    if video:
        commands.append(f"keras-mlp predict --model={name} --weights={tag} clips/")
    else:
        run = f"runs/{name}"
        train = f"--weights={tag} --new_head" if weights else "--weights=none"
        commands.append(f"keras-mlp train --model={name} {train} --dataset=photos/ --output={run}")
        commands.append(f"keras-mlp export --model={run}/best.keras --output={name}.tflite")
    python = [
        "import keras_mlp",
        "",
        f"model = keras_mlp.{card.builder}(weights={argument}){why}",
        f"scores = model.predict({'clips' if video else 'images'})  # (n, {shape}), pixels 0 to 255",
    ]
    return "\n".join(["```python", *python, "```", "", "```", *commands, "```"])


def _checkpoints(family, names) -> str:
    if not any(family.weights(name) for name in names):
        return "The authors published none."
    return re.sub(r"<(https?://[^>]*?([^/>]+))>", _short, tables.provenance(names))


def _short(link) -> str:
    """A link to a file by its name; drives have names that say nothing."""
    return f"[{link[2] if '?' not in link[2] else 'by hand'}]({link[1]})"


def _place(family, found) -> str:
    sizes = sorted(card.parameters for card in zoo.all_cards().values())
    smaller = sizes.index(min(card.parameters for card in found))
    larger = sizes[::-1].index(max(card.parameters for card in found))
    told = f"Of the {len(sizes)} models of the zoo, {smaller} are smaller than the smallest of {family.title}, and "
    told += f"{larger} are larger than its largest."
    every = [model for model in published_models() if model.training == cards.scores.IMAGENET]
    if not any(model.family == family.title for model in every):
        return f"{told} No top-1 accuracy after a training on ImageNet-1k alone is published of it."
    said = "Each point is a model that was trained on ImageNet-1k alone, with its published top-1."
    return f"{told} {said}\n\n```{{raw}} html\n{_drawn(every, family.title)}\n```"


@functools.cache
def published_models() -> list[Model]:
    """All models with their published top-1 on ImageNet-1k."""
    return published(zoo.all_cards())


def _drawn(every: list[Model], family: str) -> str:
    """Size and accuracy of all models, with those of one family in colour, as SVG in the colour of the page's text."""
    matplotlib, figures = need("matplotlib", extra="docs"), need("matplotlib.figure", extra="docs")
    ink = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK)
    with matplotlib.rc_context(ink | {"svg.hashsalt": family, "font.size": 9}):
        figure = figures.Figure(figsize=(7, 3.6), layout="constrained", facecolor="none")
        axes = figure.subplots()
        for mine, colour, size in ((False, "#94a3b8", 12), (True, "#3b82f6", 36)):
            those = [model for model in every if (model.family == family) == mine]
            where = [model.costs["parameters"] for model in those], [model.score for model in those]
            axes.scatter(*where, color=colour, s=size, alpha=1 if mine else 0.6, linewidths=0)
        for model in (
            min(those, key=lambda model: model.costs["parameters"]),
            max(those, key=lambda model: model.score),
        ):
            place = model.costs["parameters"], model.score
            axes.annotate(model.title, place, (0, 6), textcoords="offset points", ha="center")
        axes.set(xscale="log", xlabel="parameters in millions", ylabel="published top-1 in %", facecolor="none")
        axes.set_xticks([5, 10, 20, 50, 100, 200], [5, 10, 20, 50, 100, 200])
        axes.spines[["top", "right"]].set_visible(False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    label = f"Parameters and top-1 of all models, those of {family} in colour"
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*" ?', rf'<svg role="img" aria-label="{label}" \1', svg, count=1)
    svg = re.sub(r"\n\s*\n", "\n", svg)  # an empty line would end the HTML
    return f'<div class="place">{svg}</div>'


def _speed(found) -> str:
    called = {name for card in found for name in (card.title, f"`{card.name}`")}
    parts = []
    for file, said in MEASURED.items():
        table = measured.load(file)
        table.rows = [row for row in table.rows if row[0] in called]
        if table.rows:
            filled = [i for i in range(len(table.columns)) if any(row[i] for row in table.rows)]
            table.rows = [[row[i] for i in filled] for row in table.rows]
            table.columns = [table.columns[i] for i in filled]
            parts += [said, table.markdown()]
    if not parts:
        names = ",".join(card.name for card in found[:2])
        return f"None of these models has been timed. `python -m benchmarks.inference --models={names}` does it."
    return "\n\n".join(
        [*parts, "All models that were timed are in [Speed](../speed.md) and on [phones](../mobile.md)."]
    )


def _recipe(family) -> str:
    recipes = {name: family.card(name).recipe for name in family.variants}
    base = family.recipe or next(filter(None, recipes.values()), None)
    if base is None:
        return "No training recipe is published."
    values = info.settings(base)
    rows = [("setting", "value"), *((name, _cell(value)) for name, value in values.items() if value)]
    parts = [f"From {base.source}.", tables.table(*rows)]
    for name, recipe in recipes.items():
        other = info.settings(recipe) if recipe else values
        changed = [f"{key} {_cell(value)}" for key, value in other.items() if value != values.get(key)]
        if changed:
            parts.append(f"- {family.variants[name].title}: {', '.join(changed)}")
    return "\n\n".join(parts)


def _cell(value) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _inferred(family, found) -> str:
    notes = {}
    for card in found:
        of_weights = [f"{weights.tag}: {weights.note}" for weights in card.weights.values() if weights.note]
        for note in dict.fromkeys(filter(None, [card.note, *of_weights])):
            notes.setdefault(note, []).append(card.title)
    text = [f"- {', '.join(titles)}: {note}" for note, titles in notes.items()]
    remembered = {}
    for card in found:
        for score in card.scores:
            if not score.exact:
                remembered.setdefault(score.source, []).append(f"{card.title} {score}")
    text += [f"- Not exact, from {source}: {'; '.join(scores)}." for source, scores in remembered.items()]
    text = text or ["No card of this family tells of anything that is inferred."]
    return "\n".join([*text, "", "If a part of the architecture is inferred, the top of this page says so."])
