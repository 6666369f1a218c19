"""Comparing a file with its model."""

import keras
import numpy as np
import pytest

from keras_mlp import export


def classifier(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(16, "gelu"), keras.layers.Dense(4)])


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    return export.to_tflite(model, tmp_path_factory.mktemp("verify") / "model.tflite").path


INPUTS = np.random.default_rng(0).normal(size=(200, 6)).astype("float32")


def test_the_same_model_agrees(model, path):
    labels = model.predict(INPUTS, verbose=0).argmax(-1)
    labels[:50] = (labels[:50] + 1) % 4
    found = export.verify(model, path, INPUTS, labels)
    assert found.max_difference < 1e-5
    assert found.agreement == 1
    assert found.images == 200
    assert found.keras_accuracy == found.tflite_accuracy == 0.75
    assert found == export.verify(model, path, INPUTS, np.eye(4)[labels])  # one-hot


def test_another_model_is_told_apart(path):
    other = classifier(seed=1)
    labels = other.predict(INPUTS, verbose=0).argmax(-1)
    found = export.verify(other, path, INPUTS, labels)
    assert found.max_difference > 1
    assert found.agreement < 0.8
    assert found.keras_accuracy == 1
    assert found.tflite_accuracy == found.agreement
    assert not any(limit.admits(found) for limit in export.LIMITS.values())


def test_difference_is_in_standard_deviations(model, path):
    shifted = keras.models.clone_model(model)
    shifted.set_weights(model.get_weights())
    shift = 0.25 * model.predict(INPUTS, verbose=0).std()
    shifted.layers[-1].bias.assign_add(np.full(4, shift))
    assert export.verify(shifted, path, INPUTS).max_difference == pytest.approx(0.25, rel=1e-3)


def test_not_a_number_is_never_within_a_limit():
    found = export.Verification(max_difference=float("nan"), agreement=1.0, images=1)
    assert not export.LIMITS["int8"].admits(found)


def test_inputs_that_do_not_fit_are_refused(model, path, tmp_path):
    with pytest.raises(ValueError, match=r"shape \(n, 6\) with n > 0. Received: shape=\(3, 5\)"):
        export.verify(model, path, np.zeros((3, 5)))
    with pytest.raises(ValueError, match=r"`labels` must be integers 0–3 of the shape \(3,\).*shape=\(2,\)"):
        export.verify(model, path, INPUTS[:3], [0, 1])
    with pytest.raises(ValueError, match="There is no file"):
        export.verify(model, tmp_path / "none.tflite", INPUTS)
    (tmp_path / "text.tflite").write_text("not a model")
    with pytest.raises(ValueError, match=r"LiteRT cannot run .*text\.tflite"):
        export.verify(model, tmp_path / "text.tflite", INPUTS)
    with pytest.raises(ValueError, match="not a TFLite file"):
        export.operators(tmp_path / "text.tflite")


def test_timing(path):
    one, two = export.time_tflite(path, threads=(1, 2), runs=20)
    assert (one.threads, two.threads, one.runs, one.batch_size) == (1, 2, 20, 1)
    assert 0 < one.median_ms <= one.p90_ms < 1000
    with open(path, "rb") as file:
        assert one.size_bytes == len(file.read())
    assert 0 < one.peak_bytes < 1e9
    with pytest.raises(ValueError, match="`runs` must be a positive integer"):
        export.time_tflite(path, runs=0)
    with pytest.raises(ValueError, match="`threads` must be a positive integer"):
        export.time_tflite(path, threads=(0,))
    with pytest.raises(ValueError, match="at least one thread count"):
        export.time_tflite(path, threads=())


def test_memory_is_that_of_a_process_of_its_own(mixer, tmp_path):
    """Beside TensorFlow, which is in this one, the file would not show."""
    result = export.to_tflite(mixer(dim=256), tmp_path / "model.tflite")
    (timing,) = export.time_tflite(result.path, threads=(1,), runs=1)
    assert result.size_bytes < timing.peak_bytes < 10 * result.size_bytes


def test_profile(mixer, tmp_path):
    """Of a model whose operators take some microseconds each, which is what the profiler counts in."""
    result = export.to_tflite(mixer(dim=512), tmp_path / "model.tflite")
    found = export.profile_tflite(result.path, runs=5)
    counts = {row.operator.partition(" (")[0]: row.count for row in found}
    assert counts["Fully Connected"] == result.operators["FULLY_CONNECTED"]
    assert (counts["Convolution"], counts["GELU"]) == (1, 4)
    assert {row.kernels for row in found} == {"XNNPACK"}
    shares = [row.share for row in found]
    assert sum(shares) == pytest.approx(1, abs=1e-3) and shares == sorted(shares, reverse=True)
    assert all(row.ms >= 0 for row in found) and found[0].ms > 0


def test_profile_tells_operators_that_xnnpack_does_not_have(tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = keras.ops.cumsum(keras.layers.Conv2D(8, 3)(inputs), axis=1)
    path = export.to_tflite(keras.Model(inputs, x), tmp_path / "model.tflite").path
    assert {row.kernels for row in export.profile_tflite(path, runs=2) if row.operator == "CUMSUM"} == {"LiteRT"}
    with pytest.raises(ValueError, match="`runs` must be a positive integer"):
        export.profile_tflite(path, runs=0)
    with pytest.raises(ValueError, match="There is no file"):
        export.profile_tflite(tmp_path / "none.tflite")
