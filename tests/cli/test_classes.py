"""Which class of a model a class of a data set is, and what `evaluate` makes of it."""

import re

import keras
import numpy as np
import pytest

from keras_mlp import labels
from keras_mlp.cli import classes

IMAGENET = labels.class_names(1000)


def numbered(names):
    return [(str(i), name) for i, name in enumerate(names)]


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        (["a", "b"], numbered("ab"), [0, 1]),
        (["b", "a"], numbered("ab"), [1, 0]),
        (["Golden Retriever", "CAT"], numbered(["cat", "golden_retriever", "dog"]), [1, 0]),
        (["cat", "Cat"], numbered(["Cat", "cat"]), [1, 0]),
        (["x", "y"], numbered("01"), [0, 1]),  # the model knows no names
        ([str(i) for i in range(12)], numbered(str(i) for i in range(12)), [*range(12)]),
        (
            [str(i) for i in range(12)],
            numbered(sorted(str(i) for i in range(12))),
            [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3],
        ),
        (["1", "2", "3"], numbered("012"), [0, 1, 2]),
        ([str(i) for i in range(1000)], IMAGENET, [*range(1000)]),
        ([str(i) for i in range(1, 1001)], IMAGENET, [*range(1000)]),
        (["3", "999"], IMAGENET, [3, 999]),
        ([identifier for identifier, _ in IMAGENET[::-1]], IMAGENET, [*range(999, -1, -1)]),
        (["n02123159", "n01440764"], IMAGENET, [282, 0]),
        (["tench, Tinca tinca", "tiger cat"], IMAGENET, [0, 282]),
        ([name for _, name in IMAGENET], IMAGENET, [*range(1000)]),
    ],
)
def test_classes_are_found_by_name(theirs, ours, expected):
    assert classes.positions(theirs, ours, "data", "model") == expected


@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        (
            ["a", "c"],
            numbered("ab"),
            "data has 2 classes and model tells 2 apart: it does not know c. Its classes are a, b",
        ),
        (["a", "b", "c"], numbered("ab"), "does not know c"),
        (["a", "b", "c"], numbered("01"), "data has 3 classes and model tells 2 apart"),
        (["0", "2"], numbered("ab"), "does not know 0, 2"),
        (["0", "one"], numbered("10"), "does not know one"),
        (["crane"], IMAGENET, "more than one of crane"),
        (["cat", "Cat"], numbered(["cat", "dog"]), "more than one of cat, Cat"),
    ],
)
def test_classes_that_are_not_found_are_named(theirs, ours, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        classes.positions(theirs, ours, "data", "model")


@pytest.fixture(scope="module")
def brightness(tmp_path_factory):
    """A classifier of twelve shades of grey, beside it their names: numbers in the order of strings."""
    inputs = keras.Input((8, 8, 3))
    shade = keras.layers.Rescaling(1 / 20)(keras.layers.GlobalAveragePooling2D()(inputs))
    head = keras.layers.Dense(12, activation="softmax")
    model = keras.Model(inputs, head(shade))
    names = sorted(str(i) for i in range(12))
    centres = np.array([int(name) for name in names], "float32")
    head.set_weights([np.tile(2 * centres / 3, (3, 1)), -(centres**2)])
    folder = tmp_path_factory.mktemp("brightness")
    model.save(folder / "best.keras")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    for name in names:
        (folder / "data" / "test" / name).mkdir(parents=True)
        pixels = np.full((8, 8, 3), 20 * int(name))
        keras.utils.save_img(folder / "data" / "test" / name / "1.png", pixels, scale=False)
    return folder


def test_evaluate_and_export_follow_the_names(command, brightness, tmp_path):
    result = command("evaluate", f"--model={brightness / 'best.keras'}", f"--dataset={brightness / 'data'}")
    assert result.rows == [{"images": 12, "top1": 1.0, "top5": 1.0}], result.err
    words = [f"--representative={brightness / 'data'}", "--precision=int8", "--max_accuracy_drop=1"]
    file = tmp_path / "model.tflite"
    result = command("export", f"--model={brightness / 'best.keras'}", f"--output={file}", *words)
    assert result.code == 0 and "the model's 1.0000" in result.out, result.err
    assert command("evaluate", f"--model={file}", f"--dataset={brightness / 'data'}").code == 0
    (brightness / "data" / "test" / "11").rename(brightness / "data" / "test" / "eleven")
    result = command("evaluate", f"--model={brightness / 'best.keras'}", f"--dataset={brightness / 'data'}")
    assert result.code == 1 and "does not know eleven" in result.err
