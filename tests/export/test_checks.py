"""What every export refuses before it begins, whatever its format; and that one that was killed leaves nothing."""

import os
import signal

import keras
import numpy as np
import processes
import pytest

from keras_mlp import export

IMAGES = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")


def network(kind="plain"):
    """Four classes from six numbers (exports other than SavedModel's take any input)."""
    keras.utils.set_random_seed(0)
    dtype = "float64" if kind == "float64" else "float32"
    inner = [keras.layers.Dense(16, "gelu", dtype=dtype), keras.layers.BatchNormalization()]
    body = [keras.Sequential([keras.Input((6,)), *inner], name="inside")] if kind == "nested" else inner
    return keras.Sequential([keras.Input((6,)), *body, keras.layers.Dense(4, "softmax")])


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return export.to_tflite(model, tmp_path_factory.mktemp("checks") / "model.tflite").path


@pytest.fixture
def exports(exported, tmp_path):
    """`{name: function of a model, images and labels}` of all that take images."""
    return {
        "tflite": lambda model, images: export.to_tflite(model, tmp_path / "a.tflite", verify_with=images),
        "int8": lambda model, images: export.to_tflite(model, tmp_path / "a.tflite", "int8", representative=images),
        "onnx": lambda model, images: export.to_onnx(model, tmp_path / "a.onnx", verify_with=images),
        "layer errors": lambda model, images: export.quantization_errors(model, images),
        "verify": lambda model, images: export.verify(model, exported, images),
    }


TAKE_IMAGES = ("tflite", "int8", "onnx", "layer errors", "verify")


@pytest.mark.parametrize("kind", TAKE_IMAGES)
@pytest.mark.parametrize("where", ["a kernel", "a moving variance", "inside", "beyond float32"])
def test_a_model_with_weights_that_are_not_finite_is_refused(exports, tmp_path, kind, where):
    model = network({"inside": "nested", "beyond float32": "float64"}.get(where, "plain"))
    layers = model.layers[0].layers if where == "inside" else model.layers
    wrong = layers[1].moving_variance if where == "a moving variance" else layers[0].kernel
    value = {"beyond float32": 1e300, "inside": np.inf}.get(where, np.nan)
    wrong.assign(keras.ops.full(wrong.shape, value, wrong.dtype))
    with pytest.raises(ValueError, match=rf"NaN or infinite .* in 1 of its \d+ variables: {wrong.path} .*best\.keras"):
        exports[kind](model, IMAGES)
    assert not list(tmp_path.iterdir())


def test_a_saved_model_with_weights_that_are_not_finite_is_refused(mixer, tmp_path):
    model = mixer()
    model.layers[-1].bias.assign([np.nan] * 10)
    with pytest.raises(ValueError, match="NaN or infinite .*: head/bias .10 of 10.*"):
        export.to_saved_model(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


WRONG_IMAGES = {
    "complex": IMAGES.astype("complex64"),
    "NaN": np.where(IMAGES > 1, np.nan, IMAGES),
    "infinite": np.where(IMAGES > 1, np.inf, IMAGES),
    "beyond float32": np.where(IMAGES > 1, 1e300, IMAGES.astype("float64")),
    "true or false": IMAGES > 0,
    "words": IMAGES.astype(str),
    "objects": IMAGES.astype(object),
    "dates": IMAGES.astype("datetime64[s]"),
    "ragged": [[1.0] * 6, [1.0] * 5],
    "none": IMAGES[:0],
    "of another size": IMAGES[:, :5],
    "one alone": IMAGES[0],
    "a number": 1.0,
    "a dictionary": {"images": IMAGES},
}


@pytest.mark.parametrize("kind", TAKE_IMAGES)
@pytest.mark.parametrize("form", WRONG_IMAGES)
def test_images_that_are_none_are_refused(exports, model, tmp_path, kind, form):
    with pytest.raises(ValueError, match=r"`(images|verify_with|representative)` must be (real|images)"):
        exports[kind](model, WRONG_IMAGES[form])
    assert not list(tmp_path.iterdir())


WRONG_LABELS = {
    "beyond the classes": [0, 99] * 20,
    "the number of classes": [4] * 40,
    "below": [-1] * 40,
    "fractions": [0.5] * 40,
    "NaN": [np.nan] * 40,
    "words": ["cat"] * 40,
    "complex": np.ones(40, complex),
    "ragged": [[1, 0, 0, 0]] * 39 + [[1]],
    "too few": [0, 1],
    "one-hot of other classes": np.eye(5)[[0] * 40],
    "several ones": np.ones((40, 4)),
    "shares": np.full((40, 4), 0.25),
    "nothing": np.zeros((40, 4)),
    "one number": 3,
    "None among them": [None] * 40,
}


@pytest.mark.parametrize("form", WRONG_LABELS)
def test_labels_that_are_none_are_refused(model, exported, tmp_path, form):
    labels = WRONG_LABELS[form]
    for act in (
        lambda: export.verify(model, exported, IMAGES, labels),
        lambda: export.to_tflite(model, tmp_path / "a.tflite", verify_with=(IMAGES, labels)),
    ):
        with pytest.raises(ValueError, match=r"must be integers 0–3 of the shape \(40,\), or one-hot \(40, 4\)"):
            act()
    assert not list(tmp_path.iterdir())


def test_labels_are_understood_in_every_form(model, exported):
    labels = model.predict(IMAGES, verbose=0).argmax(-1)
    labels[:10] = (labels[:10] + 1) % 4
    one_hot = np.eye(4)[labels]
    forms = [labels, labels.tolist(), labels.astype("uint8"), labels.astype("float32"), labels[:, np.newaxis]]
    for form in [*forms, one_hot, one_hot.astype(bool), one_hot.tolist()]:
        assert export.verify(model, exported, IMAGES, form).keras_accuracy == 0.75


@pytest.mark.parametrize("name", ["a\nb", "a\n", "\r", "a\u2028b", "a\x85b", "a\x0bb", "\udcff", b"a", 5, None])
def test_class_names_that_are_no_line_are_refused(model, tmp_path, name):
    with pytest.raises(ValueError, match="Names of classes must be"):
        export.to_tflite(model, tmp_path / "a.tflite", classes=["a", name, "c", "d"])
    with pytest.raises(ValueError, match="Names of classes must be"):
        export.attach_metadata(tmp_path / "a.tflite", {}, ["a", name])
    with pytest.raises(ValueError, match="must name the 4 outputs of the model. Received: 'abcd'"):
        export.to_tflite(model, tmp_path / "a.tflite", classes="abcd")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("metadata", [{"a": {1}}, {"a": float("nan")}, {"a": np.ones(2)}, {"a": "\udcff"}, ["a"], "a"])
def test_metadata_that_json_does_not_have_are_refused(model, tmp_path, metadata):
    with pytest.raises(ValueError, match="`metadata` must be a dictionary"):
        export.to_tflite(model, tmp_path / "a.tflite", metadata=metadata)
    assert not list(tmp_path.iterdir())


EXPORT = """
import os, pathlib, signal, sys
import tensorflow as tf
import keras_mlp
from keras_mlp import export

def kill(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

model = keras_mlp.MLPMixer(patch_size=8, dim=16, depth=1, input_shape=(16, 16, 3), classes=3)
path, point = sys.argv[1:]
if point == "converting":
    tf.lite.TFLiteConverter.from_saved_model = kill
elif point == "replacing":
    os.replace = kill
else:
    rename, calls = pathlib.Path.rename, []
    pathlib.Path.rename = lambda *paths: kill() if calls else calls.append(rename(*paths))
write = {".tflite": export.to_tflite, ".onnx": export.to_onnx, "": export.to_saved_model}
write[pathlib.Path(path).suffix](model, path)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "point"), [("a.tflite", "converting"), ("a.onnx", "replacing"), ("a", "between")])
def test_a_killed_export_loses_nothing_and_the_next_one_cleans_up(mixer, tmp_path, monkeypatch, name, point):
    write = {"a.tflite": export.to_tflite, "a.onnx": export.to_onnx, "a": export.to_saved_model}[name]
    path, rest = tmp_path / "files" / name, tmp_path / "temporary"
    path.parent.mkdir()
    rest.mkdir()
    monkeypatch.setenv("TMPDIR", str(rest))
    monkeypatch.setattr("tempfile.tempdir", None)
    model = mixer(input_shape=(16, 16, 3), classes=3)
    write(model, path)
    before = _contents(path)
    assert processes.run(["-c", EXPORT, path, point]).returncode == -signal.SIGKILL
    kept = [_contents(left) for left in path.parent.iterdir()]
    assert before in kept
    if point == "between":  # both are there, neither in its place
        assert not path.exists() and len(kept) == 2
    with pytest.raises(ValueError, match="NaN"):  # a refused export does not touch anything
        wrong = mixer(input_shape=(16, 16, 3), classes=3)
        wrong.layers[-1].bias.assign([np.nan] * 3)
        write(wrong, path)
    assert before in [_contents(left) for left in path.parent.iterdir()]
    write(model, path)
    assert os.listdir(path.parent) == [name]
    assert not [left for left in os.listdir(rest) if "keras_mlp" in left]


def _contents(path):
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [(file.name, file.read_bytes()) for file in files]
