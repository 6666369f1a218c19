"""Put a model on the Hugging Face Hub.

MODEL is the folder of a training run, or a .keras file, and REPOSITORY is user/name there. It gets the model, its
weights alone, a config and a card. Of a run, the card tells the best epoch's scores, the recipe, the data set and the
names of the classes, and shows the curves.
"""

import csv
import json
import pathlib

from absl import flags as absl_flags

from keras_mlp.cli import console

ARGUMENTS = "MODEL REPOSITORY"


def define_flags(flags):
    absl_flags.DEFINE_string("licence", "", 'Of the weights, as "apache-2.0" or in words.', flag_values=flags)
    absl_flags.DEFINE_string("training_data", None, "What it was trained on; a run tells it.", flag_values=flags)
    absl_flags.DEFINE_string(
        "picture", None, "PNG or JPEG file that the card shows; a run's curves by default.", flag_values=flags
    )
    absl_flags.DEFINE_string("text", "", "A paragraph of Markdown for the card's beginning.", flag_values=flags)
    absl_flags.DEFINE_string("message", "Upload a model of keras_mlp", "Of the commit.", flag_values=flags)
    absl_flags.DEFINE_string("revision", None, "Branch to put it on; the main one by default.", flag_values=flags)
    absl_flags.DEFINE_bool("private", None, "Whether a repository that is made is private.", flag_values=flags)
    absl_flags.DEFINE_bool("create_pr", False, "Open a pull request instead.", flag_values=flags)


def run(flags, arguments):
    from keras_mlp import publishing
    from keras_mlp.cli import models

    console.only(arguments, 2)
    if len(arguments) < 2:
        raise console.UsageError("which MODEL goes into which REPOSITORY?")
    source, repository = arguments
    path = pathlib.Path(source)
    path = path / "best.keras" if path.is_dir() else path
    if path.suffix != ".keras":
        raise console.UsageError(f"MODEL is the folder of a run or a .keras file. Received: {source}")
    model = models.open_model(str(path), None)
    about = _run(path.parent) | {"labels": _labels(models, path, model), "licence": flags.licence, "text": flags.text}
    about |= {name: flags[name].value for name in ("training_data", "picture") if flags[name].value}
    url = publishing.push_to_hub(
        model,
        repository,
        private=flags.private,
        revision=flags.revision,
        create_pr=flags.create_pr,
        message=flags.message,
        **about,
    )
    print(url)


def _labels(models, path, model):
    """Names of the classes as the run or ImageNet has them; numbers alone are no names."""
    if not models.has_scores(model):
        return None
    classes = model.output_shape[-1]
    pairs = models.class_names(str(path), None, classes)
    return [name for _, name in pairs] if len(pairs) == classes and pairs != _numbers(classes) else None


def _numbers(classes):
    return [(str(i), str(i)) for i in range(classes)]


def _run(folder) -> dict:
    """What the folder of a run tells."""
    told, recipe, log, curves = {}, folder / "recipe.json", folder / "log.csv", folder / "curves.png"
    if recipe.is_file():
        told["recipe"] = json.loads(recipe.read_text(encoding="utf-8"))
        told["training_data"] = str(told["recipe"].get("dataset") or "")
    if log.is_file():
        told["scores"] = _best(log)
    if curves.is_file():
        told["picture"] = curves
    return told


def _best(log) -> dict[str, float]:
    """The validation's measures in the best epoch of a run: that of the highest first measure."""
    with log.open(encoding="utf-8", newline="") as file:
        rows = [dict(row) for row in csv.DictReader(file)]
    measures = [name for name in (rows[0] if rows else {}) if name.startswith("val_") and name != "val_loss"]
    if not measures:
        return {}
    best = max(rows, key=lambda row: float(row[measures[0]]))
    return {name.removeprefix("val_"): float(best[name]) for name in measures}
