"""Keras' other backends, for tests that start a process on each."""

import importlib.util

import pytest

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="PyTorch is not installed, as it is by `.ci/run`: `pip install -e .[torch]`",
)
BACKENDS = ["jax", pytest.param("torch", marks=needs_torch)]
