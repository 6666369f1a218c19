"""What the cases of segmentation and detection store, computed by ours: each field under its own key."""

import importlib

import keras
import numpy as np


def compute(case) -> dict:
    """The fields of a case that ours can compute, by their keys."""
    for task in ("segmentation", "detection"):
        kinds = importlib.import_module(f"tasks.{task}.reference").KINDS
        if case.kind in kinds:
            return kinds[case.kind](case)
    raise ValueError(f"Nothing computes cases of the kind {case.kind!r}.")


def sampled(case, maps) -> list:
    """Rows of `logits` from the maps that the case lists, `{name: map}` or in order."""
    rows = []
    for output, found in zip(case.outputs, maps, strict=True):
        found = keras.ops.convert_to_numpy(found)
        assert list(found.shape[1:]) == output["shape"], output["name"]
        (oy, ox), (sy, sx) = output["offset"], output["stride"]
        rows.append(found[:, oy::sy, ox::sx].reshape(len(found), -1))
    return np.concatenate(rows, axis=1)
