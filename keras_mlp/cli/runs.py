"""What the folder of a training run tells of the model in it."""

import json
import pathlib

from keras_mlp.cli import models


def told_of(model: str) -> dict:
    """What recipe.json beside the file of a model says of its training; empty where there is none.

    Args:
        model: as `--model` names it.
    """
    beside = pathlib.Path(model).expanduser().with_name("recipe.json")
    if not models.is_file(model) or not beside.is_file():
        return {}
    try:
        told = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError:  # no run's
        return {}
    return told if isinstance(told, dict) else {}


def data_of(model: str) -> tuple[str | None, str]:
    """The data set that a model was trained on, and the part of it.

    Args:
        model: as `--model` names it.

    Returns:
        `(data set, split)`; the data set is `None` where nothing tells.
    """
    told = told_of(model)
    return told.get("dataset"), told.get("split") or "train"
