"""What benchmarks.inference and benchmarks.training wrote, as a table and a picture.

    python -m benchmarks.inference --models=smallest --json=build/inference.json
    python -m benchmarks.summary --json=build/inference.json --save=docs/measurements/inference.json
    python -m benchmarks.summary --table=docs/measurements/inference.json --picture=docs/speed.png
    python -m benchmarks.summary --json=build/forms.json --over="timm compiled" --save=docs/measurements/forms.json
    python -m benchmarks.summary --json=build/forms.json --over=float32 --save=docs/measurements/int8.json

The table has each library's fastest form of a model, and ours over theirs. With `--over` it has every form instead, as
multiples of one of them; over "float32" it has our forms in other precisions. The picture shows images per second over
the parameters, the multiply-adds and the published top-1 accuracy, at the largest batch, in float32.
"""

import json
import pathlib
import sys

from absl import app, flags

from benchmarks import tables
from benchmarks.models import FORMS, thing, title

_JSON = flags.DEFINE_list("json", None, "Files that --json of the benchmarks wrote; the last one with a row counts.")
_TABLE = flags.DEFINE_string("table", None, "File that --save of this command wrote, to draw it.")
_OVER = flags.DEFINE_string(
    "over",
    None,
    'A library and its form, as "timm compiled": all forms as multiples of it. Or "float32": ours in other precisions.',
)
_PICTURE = flags.DEFINE_string("picture", None, "PNG file to draw the picture into.")


def fastest(rows, **wanted) -> dict | None:
    """The row with the most images a second of those with these values; `None` where there is none."""
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return max(found, key=lambda row: row["images_per_second"], default=None)


def tell(rows) -> tables.Measured:
    """Print, and with `--save` keep, a table of models, precisions and batches beside the libraries."""
    forms = [(who, form) for who in FORMS if who != "keras_mlp" for form in FORMS[who]]
    forms = [form for form in forms if any((row["who"], row["form"]) == form for row in rows)]
    table = tables.Table(
        *(("model", "<22"), ("precision", "<9"), ("batch", "d"), _rate(rows), ("form", "<5")),
        *(("of the peak", ".0%"), *((f"over {who} {form}", ">5") for who, form in forms)),
        source=tables.sources(rows),
    )
    for model, precision, batch in dict.fromkeys((row["model"], row["precision"], row["batch"]) for row in rows):
        asked = dict(model=model, precision=precision, batch=batch)
        ours = fastest(rows, who="keras_mlp", **asked)
        if ours is None:
            continue
        cells = [title(model), precision, batch, ours["images_per_second"]]
        cells += [_words(ours["form"]), ours["peak_share"]]
        for who, form in forms:
            theirs = fastest(rows, who=who, form=form, **asked)
            cells.append(f"{ours['images_per_second'] / theirs['images_per_second']:.2f}×" if theirs else "")
        table.row(*cells)
    return table.measured


def tell_forms(rows, over: str) -> tables.Measured:
    """Print, and with `--save` keep, the images or clips a second of one form, and all forms as multiples of it.

    Args:
        rows: of the benchmarks.
        over: a library and one of its forms.

    Raises:
        ValueError: no row is of that form.
    """
    names = {(row["who"], row["form"]): f"{row['who']} {row['form']}" for row in rows}
    if over not in names.values():
        raise ValueError(f"no row is of {over!r}. There are: {', '.join(names.values())}")
    forms = [(who, form) for who in FORMS for form in FORMS[who] if names.get((who, form), over) != over]
    columns = [(_words(form) if who == "keras_mlp" else names[who, form], ">5") for who, form in forms]
    rate, digits = _rate(rows)
    table = tables.Table(
        *(("model", "<22"), ("precision", "<9"), ("batch", "d"), (f"{over}, {rate}", digits), *columns),
        source=tables.sources(rows),
    )
    for model, precision, batch in dict.fromkeys((row["model"], row["precision"], row["batch"]) for row in rows):
        here = {
            (row["who"], row["form"]): row["images_per_second"]
            for row in rows
            if (row["model"], row["precision"], row["batch"]) == (model, precision, batch)
        }
        base = next((rate for form, rate in here.items() if names[form] == over), None)
        if base is not None:
            cells = [f"{here[form] / base:.2f}" if form in here else "" for form in forms]
            table.row(title(model), precision, batch, base, *cells)
    return table.measured


def tell_precisions(rows) -> tables.Measured:
    """Print, and with `--save` keep, our fastest form in float32, and our forms in other precisions as multiples of it.

    Raises:
        ValueError: no row of ours is in another precision.
    """
    rows = [row for row in rows if row["who"] == "keras_mlp"]
    others = dict.fromkeys((row["precision"], row["form"]) for row in rows if row["precision"] != "float32")
    if not others:
        raise ValueError("no row of ours is in another precision than float32")
    models = {row["model"] for row in rows if row["precision"] != "float32"}
    rows = [row for row in rows if row["model"] in models]
    rate, digits = _rate(rows)
    table = tables.Table(
        *(("model", "<22"), ("batch", "d"), (f"float32, {rate}", digits), ("form", "<5")),
        *((f"{precision} {_words(form)}", ">5") for precision, form in others),
        source=tables.sources(rows),
    )
    for model, batch in dict.fromkeys((row["model"], row["batch"]) for row in rows):
        asked = dict(model=model, batch=batch)
        base = fastest(rows, precision="float32", **asked)
        found = [fastest(rows, precision=precision, form=form, **asked) for precision, form in others]
        if base:
            cells = [f"{row['images_per_second'] / base['images_per_second']:.2f}" if row else "" for row in found]
            table.row(title(model), batch, base["images_per_second"], _words(base["form"]), *cells)
    return table.measured


def _rate(rows) -> tuple[str, str]:
    """The title and the format of the column with what is done in a second."""
    return ("clips/s", ".2f") if {thing(row["model"]) for row in rows} == {"clip"} else ("images/s", ".1f")


def _words(form: str) -> str:
    """A form as prose calls it."""
    for name, word in {
        **{"_": " ", "xla": "XLA", "jax": "JAX", "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"},
        **{"litert": "LiteRT", "torch compile": "torch.compile"},
    }.items():
        form = form.replace(name, word)
    return form


def points(measured: tables.Measured) -> tuple[int, dict[str, dict[str, float]]]:
    """The largest batch of a table, and of each library its images a second in float32 by model."""
    from keras_mlp import zoo

    names = {card.title: card.name for card in zoo.all_cards().values()}
    rows = [dict(zip(measured.columns, row, strict=True)) for row in measured.rows]
    batch, rate = max(int(row["batch"]) for row in rows), measured.columns[3]
    found = {"keras_mlp": {}}
    for row in rows:
        if (row["precision"], int(row["batch"])) != ("float32", batch):
            continue
        model, ours = names[row["model"]], float(row[rate])
        found["keras_mlp"][model] = ours
        for column, cell in row.items():
            if column.startswith("over ") and cell:
                rates = found.setdefault(column.split()[1], {})
                rates[model] = max(rates.get(model, 0.0), ours / float(cell.rstrip("×")))
    return batch, found


def _best(card):
    """The highest published top-1 on ImageNet-1k, or `None`."""
    from keras_mlp.cards import scores

    return scores.best(score for score in card.scores if score.dataset == scores.IMAGENET)


def draw(measured: tables.Measured, path):
    """Images a second over parameters, multiply-adds and top-1; ours, and the peers' where they have the model."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot, ticker

    import keras_mlp
    from keras_mlp.cards import scores
    from keras_mlp.files import atomic_path

    batch, rates = points(measured)
    cards = {model: keras_mlp.model_card(model) for model in rates["keras_mlp"]}
    axes_of = {
        "parameters (M)": lambda card: card.parameters / 1e6,
        "multiply-adds (G)": lambda card: card.macs / 1e9,
        "best published ImageNet-1k top-1 (%)": lambda card: getattr(_best(card), "value", None),
    }
    figure, axes = pyplot.subplots(1, 3, figsize=(20, 7), sharey=True)
    for axis, (label, value) in zip(axes, axes_of.items(), strict=True):
        for who, mark in zip(FORMS, "ox+1vs", strict=True):
            drawn = [(value(cards[model]), rate, model) for model, rate in rates.get(who, {}).items()]
            drawn = [point for point in drawn if point[0] is not None]
            if not drawn:
                continue
            axis.scatter([x for x, _, _ in drawn], [y for _, y, _ in drawn], marker=mark, label=who, zorder=3)
            if who == "keras_mlp":
                for number, (x, y, model) in enumerate(sorted(drawn, key=lambda point: point[1])):
                    way, side = ((4, 4), "left") if number % 2 else ((-4, -8), "right")  # neighbours, out of the way
                    tilde = scores.INEXACT if "top-1" in label and not _best(cards[model]).exact else ""
                    axis.annotate(tilde + model, (x, y), xytext=way, textcoords="offset points", ha=side, fontsize=6)
        footnote = "top-1" in label and any(best and not best.exact for best in map(_best, cards.values()))
        axis.set_xlabel(f"{label}\n{scores.FOOTNOTE}" if footnote else label)
        axis.set_yscale("log")
        scaled = [axis.yaxis]
        if "top-1" not in label:
            axis.set_xscale("log")
            scaled.append(axis.xaxis)
        for scale in scaled:
            scale.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            scale.set_major_formatter(ticker.FormatStrFormatter("%g"))
            scale.set_minor_formatter(ticker.NullFormatter())
        axis.margins(x=0.15)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"images a second, batch {batch}, float32")
    axes[0].legend()
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def main(argv):
    if argv[1:]:
        sys.exit(f"error: Unknown argument: {argv[1]!r}. See --help.")
    if bool(_JSON.value) == bool(_TABLE.value):
        sys.exit("error: Give either --json, files of the benchmarks' rows, or --table, a file that --save wrote.")
    flag = "json" if _JSON.value else "table"
    try:
        if _TABLE.value:
            measured = tables.Measured(**json.loads(pathlib.Path(_TABLE.value).read_text(encoding="utf-8")))
        else:
            rows = {}
            for path in _JSON.value:  # what a later file has, too, is measured anew
                for row in json.loads(pathlib.Path(path).read_text()):
                    rows[tuple(row[key] for key in ("model", "who", "form", "precision", "batch"))] = row
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: --{flag}: {error}")
    if _JSON.value:
        rows = sorted(rows.values(), key=lambda row: (row["model"], row["precision"], row["batch"]))
        try:
            if _OVER.value == "float32":
                measured = tell_precisions(rows)
            else:
                measured = tell_forms(rows, _OVER.value) if _OVER.value else tell(rows)
        except ValueError as error:
            sys.exit(f"error: --over: {error}")
    if _PICTURE.value:
        draw(measured, _PICTURE.value)


if __name__ == "__main__":
    app.run(main)
