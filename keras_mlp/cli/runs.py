"""What the folder of a training run tells of the model in it."""

import json
import pathlib

from keras_mlp.cli import models


def data_of(model: str) -> tuple[str | None, str]:
    """The data set that a model was trained on, and the part of it, as recipe.json beside the file says.

    Args:
        model: as `--model` names it.

    Returns:
        `(data set, split)`; the data set is `None` where nothing tells.
    """
    beside = pathlib.Path(model).expanduser().with_name("recipe.json")
    if not models.is_file(model) or not beside.is_file():
        return None, "train"
    try:
        told = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError:  # no run's
        return None, "train"
    told = told if isinstance(told, dict) else {}
    return told.get("dataset"), told.get("split") or "train"
