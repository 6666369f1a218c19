"""What the tests of the command line share."""

import json
import pathlib
import sys

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.cli import main


class Answer:
    """What a command answered: exit code, output, error stream."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def rows(self) -> list[dict]:
        """The output, read as one JSON object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def command(capsys):
    """Run `keras-mlp` in this process, its output piped."""

    def run(*words):
        code = main.main([str(word) for word in words])
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def launcher() -> list[str]:
    """The words that start `keras-mlp` in a process of its own."""
    return [sys.executable, str(pathlib.Path(__file__).parents[2] / "keras_mlp_command.py")]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A small classifier of three classes in a `.keras` file, as a user has one after training."""
    keras.utils.set_random_seed(0)
    model = keras_mlp.MLPMixer(patch_size=8, dim=16, depth=2, input_shape=(32, 32, 3), classes=3)
    random = np.random.default_rng(0)
    model.get_layer("head").set_weights([random.normal(size=(16, 3)), random.normal(size=3)])
    path = tmp_path_factory.mktemp("tiny") / "tiny.keras"
    model.save(path)
    return path


@pytest.fixture
def picture(tmp_path):
    """An image file."""
    path = tmp_path / "grey.png"
    keras.utils.save_img(path, np.full((40, 50, 3), 128.0), scale=False)
    return path


@pytest.fixture(scope="module")
def mover(tmp_path_factory):
    """A small classifier of videos of four frames in a `.keras` file."""
    keras.utils.set_random_seed(0)
    architecture = dict(dims=(12, 24), depths=(1, 1), chunks=(4, 4), mlp_ratios=(2, 2))
    model = keras_mlp.MorphMLPVideo(**architecture, input_shape=(4, 32, 32, 3), classes=3)
    random = np.random.default_rng(0)
    model.get_layer("head").set_weights([random.normal(size=(24, 3)), random.normal(size=3)])
    path = tmp_path_factory.mktemp("mover") / "mover.keras"
    model.save(path)
    return path
