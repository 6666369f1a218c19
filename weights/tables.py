"""Write what is generated from the model cards: tables in README.md, docs/models.md and weights/README.md; and the
cards themselves as a file, for those who only read them (`keras_mlp.cards.from_file`).

python -m weights.tables            # rewrite them
python -m weights.tables --check    # only tell whether they are as the cards say (exit code 1 if not)
python -m weights.tables --measured # the table of token mixings in docs/token_mixing.md, too, which takes a minute
"""

import pathlib
import sys

from absl import app, flags

import keras_mlp
from keras_mlp import cards, files
from keras_mlp.cards import scores
from keras_mlp.zoo import FAMILIES, all_cards

ROOT = pathlib.Path(__file__).resolve().parent.parent
_MEASURED = flags.DEFINE_bool("measured", False, "Make what has to be measured, too.", module_name=__name__)
_CHECK = flags.DEFINE_bool("check", False, "Only compare; write nothing.", module_name=__name__)


def table(*rows) -> str:
    """Rows of cells in Markdown, the headings first."""
    head, *body = ("| " + " | ".join(map(str, row)) + " |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def families() -> str:
    """One row a family: its paper, how many models of which sizes, what is published."""
    rows = [("family", "paper", "models", "parameters (M)", "with published weights")]
    for family in sorted(FAMILIES.values(), key=lambda family: family.title.lower()):
        found = [family.card(name) for name in family.variants]
        sizes, weights = [card.parameters / 1e6 for card in found], sum(bool(card.weights) for card in found)
        rows.append(
            (
                family.title,
                f"[{family.paper.authors} {family.paper.year}]({family.paper.url})",
                len(found),
                f"{min(sizes):.1f} to {max(sizes):.1f}",
                {0: "none", len(found): "all"}.get(weights, weights),
            )
        )
    return table(*rows)


def models(names=None) -> str:
    """One row a model, of all or of those named: size, cost, published accuracy, tags of published weights."""
    rows = [("model", "builder", "parameters (M)", "MACs (G)", "input", "published top-1 (%)", "published weights")]
    for name in keras_mlp.list_models() if names is None else names:
        card = keras_mlp.model_card(name)
        tags = ", ".join(f"`{tag}`" for tag in card.weights) or "none"
        size, cost = "×".join(map(str, card.input_shape[:-1])), f"{card.macs / 1e9:.2f}"
        rows.append(
            (card.title, f"`{card.builder}`", f"{card.parameters / 1e6:.1f}", cost, size, _told(card.scores), tags)
        )
    return _footnoted(table(*rows))


def _told(found) -> str:
    """Scores in a cell; the column is of top-1, and others say what they are."""
    metrics = {scores.TOP1: ""}
    return ", ".join(f"{s.number()}{metrics.get(s.metric, f' {s.metric}')} ({s.data})" for s in found)


def _footnoted(text: str) -> str:
    """A table, and below it what its signs mean."""
    return f"{text}\n\n{scores.FOOTNOTE} `keras-mlp info` tells where." if scores.INEXACT in text else text


def provenance(names=None) -> str:
    """One row a checkpoint, of all models or of those named: where it is, who made it of what, under which licence."""
    rows = [("model", "tag", "published file", "by", "trained on", "top-1 (%)", "classes", "licence")]
    for name in keras_mlp.list_models(weights=True) if names is None else names:
        for tag, w in keras_mlp.model_card(name).weights.items():
            if tag == w.tag:
                top1 = ", ".join(score.number("") for score in scores.of(w.scores, scores.TOP1)) or "–"
                file = f"<{w.url}>", w.publisher, w.training_data
                rows.append((f"`{name}`", f"`{tag}`", *file, top1, w.classes, w.licence))
    return _footnoted(table(*rows))


def token_mixings(rows=None) -> str:
    """One row a family: what its token mixing shares and costs, and the survey's words; then where they differ."""
    from keras_mlp.analysis import survey

    head = ("token mixing", "spatial", "channel", "tied to the size", "parameters", "multiply-adds")
    rows = survey() if rows is None else rows
    found = [f"- **{row.title}.** {' '.join([row.measured, *row.differences])}" for row in rows]
    return "\n".join([table(head, *(_token_mixing(row.cells()) for row in rows)), "", *found])


def _token_mixing(cells) -> tuple[str, ...]:
    window, kinds = cells["window"] or 1, cells["kinds_of_channels"]
    said = {
        "spatial": f"{cells['spatial']}, windows of {window}" if window > 1 else cells["spatial"],
        "channel": f"{kinds} groups" if cells["channel"] == "group" else cells["channel"],
        "resolution": "yes" if cells["resolution"] else "no",
    }
    told = {"survey_resolution": {True: "yes", False: "no"}.get(cells["survey_resolution"], "")}
    return cells["title"], *(
        said.get(key, cells[key]) + (f" ({(cells | told)[f'survey_{key}']})" if cells["kind"] else "")
        for key in ("spatial", "channel", "resolution", "parameters", "macs")
    )


TABLES = {
    "README.md": {"families": families},
    "docs/models.md": {"models": models},
    "weights/README.md": {"provenance": provenance},
}
MEASURED = {"docs/token_mixing.md": {"token mixings": token_mixings}}
CARDS = f"keras_mlp/{cards.FILE}"
GENERATED = (*TABLES, CARDS)


def render(path: str) -> str:
    """The text of a file of `GENERATED`: with its tables made anew between `<!-- NAME -->` and `<!-- /NAME -->`."""
    if path == CARDS:
        return cards.to_json(all_cards())
    text = _text(path)
    for name, rows in (TABLES | MEASURED)[path].items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, found, rest = text.partition(start)
        _, found_end, after = rest.partition(end)
        if not (found and found_end):
            raise ValueError(f"{path} has no place for a table: {start} … {end}")
        text = f"{before}{start}\n{rows()}\n{end}{after}"
    return text


def _text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def main(argv):
    del argv
    generated = (*GENERATED, *(MEASURED if _MEASURED.value else ()))
    stale = [path for path in generated if not (ROOT / path).exists() or render(path) != _text(path)]
    for path in stale:
        if not _CHECK.value:
            text = render(path)
            with files.atomic_path(ROOT / path) as temporary:
                pathlib.Path(temporary).write_text(text, encoding="utf-8")
        print(f"{path}: {'not as the cards say' if _CHECK.value else 'rewritten'}")
    sys.exit(1 if stale and _CHECK.value else 0)


if __name__ == "__main__":
    app.run(main)
