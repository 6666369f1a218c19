"""Models with a dictionary of outputs: their files answer by the same names."""

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

import keras_mlp
from keras_mlp import export


@pytest.fixture(scope="module")
def pyramid():
    """Two maps of a small AS-MLP."""
    keras.utils.set_random_seed(0)
    backbone = keras_mlp.ASMLP(dim=12, depths=(1, 1), input_shape=(32, 32, 3), include_top=False)
    return keras_mlp.feature_pyramid(backbone)


@pytest.fixture(scope="module")
def path(pyramid, images, tmp_path_factory):
    return export.to_tflite(pyramid, tmp_path_factory.mktemp("named") / "pyramid.tflite", verify_with=images).path


@pytest.fixture(scope="module")
def two_heads():
    """Which animal (one of four), and which of three tags."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(16, "gelu")(inputs)
    animal = keras.layers.Dense(4, "softmax", name="animals")(x)
    return keras.Model(inputs, {"tags": keras.layers.Dense(3, "sigmoid")(x), "animal": animal})


INPUTS = np.random.default_rng(0).normal(size=(200, 6)).astype("float32")


@pytest.mark.parametrize("batch_size", [1, None])
def test_a_pyramid_gives_its_maps_by_the_names_of_its_levels(pyramid, images, tmp_path, batch_size):
    result = export.to_tflite(pyramid, tmp_path / "model.tflite", batch_size=batch_size, verify_with=images)
    assert set(result.verification.differences) == {"P2", "P3"}
    assert result.verification.max_difference == max(result.verification.differences.values()) < 1e-5
    assert result.verification.agreement is None
    runner = export.Runner(result.path)
    assert runner.output_names == ("P2", "P3") and runner.output_step == {"P2": 0, "P3": 0}
    answers, expected = runner(images[:7]), pyramid.predict(images[:7].astype("float32"), verbose=0)
    assert list(answers) == ["P2", "P3"]
    for name, answer in answers.items():
        assert answer.dtype == "float32"
        np.testing.assert_allclose(answer, expected[name], atol=1e-5 * expected[name].std(), rtol=0)
    assert export.read_metadata(result.path)[0]["named_outputs"] == ["P2", "P3"]


@pytest.mark.parametrize("input_dtype", ["float32", pytest.param("int8", marks=pytest.mark.slow)])
def test_each_quantised_level_is_scaled_back_by_its_own_step(pyramid, images, tmp_path, input_dtype):
    path = tmp_path / "model.tflite"
    result = export.to_tflite(pyramid, path, "int8", images, input_dtype=input_dtype, verify_with=images)
    assert max(result.verification.differences.values()) < 0.5
    steps = export.Runner(path).output_step
    assert (len(set(steps.values())) == 2 and min(steps.values()) > 0) == (input_dtype == "int8")


def test_a_pyramid_of_one_level_gives_its_map_by_name_too(mixer, images, tmp_path):
    """As the model does. Without a dictionary a file of one output answers an array, whatever its tensor is called."""
    pyramid = keras_mlp.feature_pyramid(mixer(include_top=False))
    (level,) = pyramid.output
    result = export.to_tflite(pyramid, tmp_path / "pyramid.tflite", verify_with=images)
    assert list(export.Runner(result.path)(images)) == list(result.verification.differences) == [level]
    alone = export.Runner(export.to_tflite(mixer(include_top=False), tmp_path / "map.tflite").path)
    assert alone.output_names is None and isinstance(alone(images), np.ndarray)


def test_heads_are_told_apart_whatever_their_order(two_heads, tmp_path):
    result = export.to_tflite(two_heads, tmp_path / "model.tflite", verify_with=INPUTS)
    assert result.verification.agreement == 1
    answers, expected = export.Runner(result.path)(INPUTS), two_heads.predict(INPUTS, verbose=0)
    assert {name: answer.shape for name, answer in answers.items()} == {"tags": (200, 3), "animal": (200, 4)}
    for name, answer in answers.items():
        np.testing.assert_allclose(answer, expected[name], atol=1e-6)


def test_verify_names_the_output_that_differs(two_heads, tmp_path):
    path = export.to_tflite(two_heads, tmp_path / "model.tflite").path
    other = keras.models.clone_model(two_heads)
    other.set_weights(two_heads.get_weights())
    animals = other.get_layer("animals")
    animals.kernel.assign(-animals.kernel)
    found = export.verify(other, path, INPUTS)
    assert found.worst == "animal" and found.differences["tags"] < 1e-5 < 1 < found.differences["animal"]
    assert found.max_difference == found.differences["animal"] and found.agreement < 0.5
    assert not export.LIMITS["int8"].admits(found)


def test_a_file_that_fails_names_the_output_and_is_not_written(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {"small": inputs * 2, "large": keras.layers.Dense(4, name="large")(inputs)})
    model.get_layer("large").kernel.assign(1e6 * np.eye(4))  # beyond what half precision holds
    with pytest.raises(export.ExportError, match="float16 file does not compute.*Its output 'large' differs most"):
        export.to_tflite(model, tmp_path / "model.tflite", "float16", verify_with=INPUTS[:, :4])
    assert not list(tmp_path.iterdir())


def test_what_does_not_go_with_names_is_refused(pyramid, two_heads, path, mixer, images, tmp_path):
    file = tmp_path / "model.tflite"
    single = mixer()
    with pytest.raises(ValueError, match="`classes` go with a model of one output"):
        export.to_tflite(two_heads, file, classes=["a", "b"])
    with pytest.raises(ValueError, match="`labels` need a classifier"):
        export.to_tflite(two_heads, file, verify_with=(INPUTS, np.zeros(200)))
    with pytest.raises(ValueError, match="has the outputs 'P2', 'P3' where the model has one output without a name"):
        export.verify(single, path, images)
    one = export.to_tflite(single, file).path
    with pytest.raises(ValueError, match="has one output without a name where the model has the outputs 'P2', 'P3'"):
        export.verify(pyramid, one, images)
    inputs = keras.Input((4,))
    nested = keras.Model(inputs, {"a": inputs, "b": {"c": inputs, "d": inputs}})
    with pytest.raises(ValueError, match="several in a flat dictionary, by name. Received: 1 inputs and 3 outputs"):
        export.to_tflite(nested, tmp_path / "nested.tflite")
    with pytest.raises(ValueError, match="one input and one output. Received: 1 inputs and 2 outputs"):
        export.quantization_errors(pyramid, images)


def test_other_formats_have_the_same_names(pyramid, images, tmp_path):
    assert export.to_onnx(pyramid, tmp_path / "pyramid.onnx", verify_with=images[:3]) < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "pyramid.onnx", providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["P2", "P3"]
    export.to_saved_model(pyramid, tmp_path / "pyramid")
    pixels = images[:3].astype("float32")
    serve = tf.saved_model.load(tmp_path / "pyramid").signatures["serving_default"]
    answers, expected = serve(pixels=tf.constant(pixels)), pyramid.predict(pixels, verbose=0)
    assert set(answers) == set(expected)
    for name, answer in answers.items():
        np.testing.assert_allclose(answer, expected[name], atol=1e-4)


def test_named_outputs_are_timed_and_profiled(path):
    (timing,) = export.time_tflite(path, threads=(1,), runs=2)
    assert timing.median_ms > 0
    assert sum(row.share for row in export.profile_tflite(path, runs=2)) == pytest.approx(1, abs=1e-2)
