"""The one table of precisions, and who reads it."""

import dataclasses
import os

import keras
import pytest

from keras_mlp import export, precisions
from keras_mlp.export.errors import TFLITE, ExportError, calls_of_a_library


def test_limits_and_names_are_those_of_the_table():
    assert (
        export.PRECISIONS == tuple(precisions.PRECISIONS) == ("float32", "float16", "dynamic_int8", "int8", "int16x8")
    )
    assert {name: row.limit for name, row in precisions.PRECISIONS.items()} == export.LIMITS
    assert [row.name for row in precisions.PRECISIONS.values()] == list(precisions.PRECISIONS)


def test_what_is_stored_follows_from_one_row():
    assert precisions.CALIBRATED == ("int8", "int16x8")
    assert precisions.USUAL == ("float32", "float16", "dynamic_int8", "int8")
    rows = precisions.PRECISIONS.values()
    assert [row.name for row in rows if row.rounded] == ["dynamic_int8", "int8", "int16x8"]
    assert all(bool(row.kernels) == row.calibrated for row in rows)
    with pytest.raises(dataclasses.FrozenInstanceError):
        precisions.PRECISIONS["int8"].weights = "int4"


def test_a_mistake_of_ours_is_not_taken_for_a_refusal(monkeypatch, tmp_path):
    """What a library raises becomes an `ExportError`. A mistake in our own code, here while it is traced, stays one."""
    with pytest.raises(ExportError, match="(?s)refused the model: 5.*written"), calls_of_a_library(TFLITE):
        os.write(2, b"written")
        raise KeyError(5)

    def mistaken(integers):
        raise ZeroDivisionError("a mistake")

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    monkeypatch.setattr("keras_mlp.export.conversion.products.for_litert", mistaken)
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        export.to_tflite(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())
