"""What int8 costs, layer by layer, and what is done about it."""

import keras
import numpy as np
import pytest

from keras_mlp import export


@pytest.fixture(scope="module")
def spiky():
    """A classifier whose layer "spiky" has one channel of far larger numbers than the others, which drown in int8."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1, name="pixels")(x)
    for name in ("stem", "spiky", "reader", "last"):
        activation = None if name == "spiky" else "gelu"
        x = keras.layers.Conv2D(16, 3 if name == "stem" else 1, activation=activation, name=name)(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, keras.layers.Dense(10, name="head")(x))
    spiky, reader = model.get_layer("spiky"), model.get_layer("reader")
    scale = np.where(np.arange(16) == 0, 3000.0, 1.0)
    spiky.kernel.assign(spiky.kernel * scale)
    reader.kernel.assign(reader.kernel / scale[:, np.newaxis])
    return model


@pytest.fixture(scope="module")
def data(spiky, images):
    """Images that fit, and what the model says of them as their labels."""
    images = images[:, ::4, ::4]
    return images, spiky.predict(images.astype("float32"), verbose=0).argmax(-1)


def test_errors_name_the_guilty_layers(spiky, data):
    errors = {found.layer: found for found in export.quantization_errors(spiky, data[0], fuse=False)}
    assert set(errors) <= {layer.name for layer in spiky.layers}
    assert set(list(errors)[:2]) == {"spiky", "reader"}  # what it answers, and what is left of that for the next one
    assert min(errors["spiky"].error, errors["reader"].error) > 0.5 > 0.1 > errors["stem"].error
    assert errors["spiky"].operator == "CONV_2D"


def test_errors_name_the_layers_of_a_mixer(model, images):
    errors = export.quantization_errors(model, images)
    assert {found.layer for found in errors} <= {layer.name for layer in model.layers}
    assert {"stem", "blocks_0_norm1", "blocks_1_token_mixing", "head"} <= {
        found.layer.replace(".", "_") for found in errors
    }
    values = [found.error for found in errors]
    assert values == sorted(values, reverse=True) and 0 < values[0] < 0.5


@pytest.mark.parametrize("input_dtype", ["float32", "uint8"])
def test_guilty_layers_stay_in_float(spiky, data, input_dtype, tmp_path):
    path = tmp_path / "model.tflite"
    given = dict(representative=data[0], input_dtype=input_dtype, verify_with=data, fuse=False)
    with pytest.raises(export.ExportError, match="does not compute like the model"):
        export.to_tflite(spiky, path, "int8", **given)
    result = export.to_tflite(spiky, path, "int8", **given, max_accuracy_drop=0.05)
    assert set(result.float_layers) == {"spiky", "reader"}
    assert result.verification.tflite_accuracy >= 0.95 == result.verification.keras_accuracy - 0.05
    assert result.float_operators["CONV_2D"] == 2 and result.operators["CONV_2D"] == 4
    assert export.read_metadata(path)[0]["float_layers"] == list(result.float_layers)


def test_nothing_stays_in_float_without_need(model, images, tmp_path):
    labels = model.predict(images.astype("float32"), verbose=0).argmax(-1)
    path = tmp_path / "model.tflite"
    result = export.to_tflite(model, path, "int8", images, verify_with=(images, labels), max_accuracy_drop=0.2)
    assert (result.float_layers, result.float_operators) == ((), {})
    assert "float_layers" not in export.read_metadata(path)[0]


ERRORS = {
    "a percentage": (dict(max_accuracy_drop=5), "must be a number from 0 to 1.*Received: max_accuracy_drop=5"),
    "another precision": (dict(precision="float16", representative=None), "needs `precision=\"int8\"`.*'float16'"),
    "integer input": (dict(input_dtype="int8"), "an input that stays as it is.*input_dtype='int8'"),
    "no images": (dict(verify_with=None), "needs labels"),
    "no labels": (dict(verify_with=np.zeros((4, 8, 8, 3))), "needs labels"),
    "too few labels": (
        dict(verify_with=(np.zeros((4, 8, 8, 3)), [1])),
        r"`labels` must be integers 0–9 of the shape \(4,\)",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_bad_arguments_are_refused(spiky, data, case, tmp_path):
    arguments, message = ERRORS[case]
    given = dict(precision="int8", representative=data[0], verify_with=data, max_accuracy_drop=0.1)
    with pytest.raises(ValueError, match=message):
        export.to_tflite(spiky, tmp_path / "model.tflite", **given | arguments)
    assert not list(tmp_path.iterdir())


def test_features_have_no_accuracy(mixer, images, tmp_path):
    given = dict(representative=images, verify_with=(images, np.zeros(64)), max_accuracy_drop=0.1)
    with pytest.raises(ValueError, match="need a classifier, whose output"):
        export.to_tflite(mixer(include_top=False), tmp_path / "model.tflite", "int8", **given)
