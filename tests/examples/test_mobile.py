"""The script for phones: LiteRT alone, the file's own description, the same answer as `keras-mlp predict`."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
from PIL import Image

from keras_mlp import export
from keras_mlp.cards import Preprocessing

SCRIPT = pathlib.Path(__file__).parents[2] / "examples" / "mobile" / "classify.py"


def test_the_script_answers_without_tensorflow(tmp_path):
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

    guard = "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')\n"
    guard += "assert not {'tensorflow', 'keras', 'keras_mlp'} & set(sys.modules)"
    words = [sys.executable, "-c", guard, SCRIPT, file, tmp_path / "a.png"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'a.png'}\n  bright 88.1 %\n  dark 11.9 %\n"
