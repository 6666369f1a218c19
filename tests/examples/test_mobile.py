"""The scripts for phones: LiteRT alone, the file's own description, the same answer as `keras-mlp` gives."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from endings import SHAPE, model_of, truth
from PIL import Image

from keras_mlp import export
from keras_mlp.cards import Preprocessing
from keras_mlp.classifiers import BINARY, EXCLUSIVE, MULTI_LABEL, PixelOutput

FOLDER = pathlib.Path(__file__).parents[2] / "examples" / "mobile"
SCRIPT = FOLDER / "classify.py"


def without_tensorflow(script, *words):
    """Run a script, which may load neither TensorFlow nor us."""
    guard = "import runpy, sys; sys.argv.pop(0); sys.path.insert(0, sys.argv.pop(0))\n"
    guard += "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    guard += "assert not {'tensorflow', 'keras', 'keras_mlp'} & set(sys.modules)"
    return subprocess.run([sys.executable, "-c", guard, FOLDER, script, *words], capture_output=True, text=True)


def test_the_script_predicts_without_tensorflow(tmp_path):
    """A classifier of brightness, on a picture whose middle is white and whose border is black."""
    inputs = keras.Input((32, 32, 3))
    brightness = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    head = keras.layers.Dense(2, activation="softmax")
    model = keras.Model(inputs, head(brightness))
    head.set_weights([np.array([[0, 2 / 3]] * 3), np.zeros(2)])
    file = tmp_path / "model.tflite"
    about = {"preprocessing": vars(Preprocessing(crop_pct=0.5))}
    export.to_tflite(model, file, input_dtype="uint8", classes=["dark", "bright"], metadata=about)
    Image.fromarray(np.pad(np.full((28, 60, 3), 255, "uint8"), [(6, 6), (30, 30), (0, 0)])).save(tmp_path / "a.png")

    done = without_tensorflow(SCRIPT, file, tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'a.png'}\n  bright 88.1 %\n  dark 11.9 %\n"


@pytest.mark.parametrize(
    ("kind", "ending", "options"),
    [
        (EXCLUSIVE, "logits", {}),
        (BINARY, "an operation", {}),
        (MULTI_LABEL, "half of a sum of two", dict(precision="int8", input_dtype="int8")),
    ],
)
def test_the_script_knows_what_files_give(tmp_path, kind, ending, options):
    colour = np.array((200, 30, 90))
    pixels = np.full((64, *SHAPE), colour, "float32")
    if options:
        options = options | {"representative": np.random.default_rng(0).integers(0, 256, (64, *SHAPE))}
    probabilities = truth(kind, pixels[:1])[1][0]
    names = ["one", "other", "third"][: len(probabilities)]
    about = {"preprocessing": vars(Preprocessing())}
    export.to_tflite(model_of(kind, ending), tmp_path / "model.tflite", classes=names, metadata=about, **options)
    Image.fromarray(np.full((6, 6, 3), colour, "uint8")).save(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "model.tflite", tmp_path / "a.png"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = [line.split()[:2] for line in done.stdout.splitlines()[1:]]
    shown = [i for i in np.argsort(-probabilities) if kind != MULTI_LABEL or probabilities[i] > 0.5]
    assert [name for name, _ in found] == [names[i] for i in shown]
    scores = [float(score) / 100 for _, score in found]
    np.testing.assert_allclose(scores, probabilities[shown], atol=0.03 if options else 0.001)


@pytest.mark.parametrize("label_map", [False, True])
def test_the_script_finds_the_classes_of_pixels(tmp_path, label_map):
    """Which of red, green and blue is strongest, on a picture of three stripes that is larger than the model's."""
    inputs = keras.Input((16, 24, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1, name="head")(inputs))
    model.get_layer("head").set_weights([np.eye(3).reshape(1, 1, 3, 3), np.zeros(3)])
    file = tmp_path / "model.tflite"
    about = {"preprocessing": vars(Preprocessing(squash=True, crop_pct=1.0))}
    options = dict(input_dtype="uint8", classes=["red", "green", "blue"], metadata=about, output=PixelOutput(3))
    export.to_tflite(model, file, label_map=label_map, **options)
    stripes = np.repeat(np.repeat(200 * np.eye(3, dtype="uint8")[None], 40, 0), (30, 15, 15), 1)
    Image.fromarray(stripes).save(tmp_path / "a.png")

    done = without_tensorflow(FOLDER / "segment.py", file, tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == str(tmp_path / "a.png") and lines[1] == "  red 50.0 %"
    assert sorted(lines[2:]) == ["  blue 25.0 %", "  green 25.0 %"]
    labels = Image.open(tmp_path / "a_labels.png")
    assert labels.mode == "P" and labels.size == (60, 40)
    np.testing.assert_array_equal(np.asarray(labels), stripes.argmax(-1))
