"""Binary layers train through their rounding, and their weights are kept as bits and come back bit by bit."""

import json
import os
import subprocess
import sys

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_mlp
from keras_mlp import binary
from keras_mlp.checkpoints import readers
from keras_mlp.families.bimlp.binary import BinaryAggregation, BinaryDense, ClipWeights, quantize

X = np.array([-2.0, -1.5, -1.0, -0.75, -0.5, -0.25, -0.0, 0.0, 0.5, 0.75, 1.0, 1.5, 2.0], "float32")


def random(*shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype("float32")


def test_levels_are_those_of_the_released_code_and_of_the_paper():
    np.testing.assert_array_equal(quantize(X, "ternary"), np.sign(X) * (np.abs(X) > 0.5))
    np.testing.assert_array_equal(quantize(X, "binary"), np.where(X >= 0, 1, -1))
    np.testing.assert_array_equal(quantize(X, None), X)


@pytest.mark.parametrize("levels", ["ternary", "binary"])
@pytest.mark.parametrize(
    "gradient, slope",
    [("straight_through", np.abs(X) <= 1), ("bireal", np.maximum(2 - 2 * np.abs(X), 0))],
)
def test_gradients_pass_the_rounding_by_the_slope_asked_for(levels, gradient, slope):
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        answer = tf.reduce_sum(quantize(x, levels, gradient) * tf.range(len(X), dtype="float32"))
    np.testing.assert_allclose(tape.gradient(answer, x), slope * np.arange(len(X)))


@pytest.mark.parametrize("levels", ["ternary", "binary"])
def test_binary_dense_is_its_equation(levels):
    layer, x = BinaryDense(5, activation_levels=levels), random(2, 3, 4, 6)
    answer = layer(x)
    kernel, q = np.asarray(layer.kernel), np.asarray(quantize(x, levels))
    expected = q @ np.sign(kernel) * np.abs(kernel).mean(axis=0)
    np.testing.assert_allclose(answer, expected, atol=1e-6)


@pytest.mark.parametrize("side", ["width", "height"])
@pytest.mark.parametrize("inputs", [1, 2])
def test_binary_aggregation_is_its_equation(side, inputs):
    layer, x = BinaryAggregation(side, size=3, inputs=inputs), random(2, 5, 5, 4)
    answer = np.asarray(layer(x))
    if side == "height":
        x, answer = x.swapaxes(1, 2), answer.swapaxes(1, 2)
    kernel = np.asarray(layer.kernel).reshape(3, 4 // inputs, inputs)
    weights = np.sign(kernel) * np.abs(kernel).mean(axis=-1, keepdims=True)
    q = np.pad(np.asarray(quantize(x)), ((0, 0), (0, 0), (1, 1), (0, 0)))
    q = q.reshape(2, 5, 7, 4 // inputs, inputs)
    expected = sum(np.sum(q[:, :, k : k + 5] * weights[k], axis=-1) for k in range(3))
    np.testing.assert_allclose(answer, expected, atol=1e-6)


@pytest.mark.parametrize("layer", [BinaryDense(5), BinaryAggregation("width", inputs=2)], ids=["dense", "aggregation"])
def test_the_weights_gradient_is_that_of_the_binary_weights(layer):
    """As in the released code, signs and scales pass it unchanged to the real numbers behind them."""
    x = random(2, 8, 8, 4)
    layer(x)
    whole = type(layer).from_config(layer.get_config() | {"weight_levels": None})
    whole(x)
    signs, scale = layer.signs_and_scale()
    whole.kernel.assign(signs * scale)
    gradients = []
    for one in (layer, whole):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(one(x) ** 2)
        gradients.append(tape.gradient(loss, one.kernel.value))
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-4)


def one_step():
    """The weights of two binary layers after a step of training, from the same start whatever the backend."""
    layers = [BinaryAggregation("width", inputs=2), BinaryDense(3, activation_levels="binary", gradient="bireal")]
    model = keras.Sequential([keras.Input((4, 5, 6)), *layers])
    model.set_weights([random(*weight.shape, seed=i) for i, weight in enumerate(model.get_weights())])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.fit(random(2, 4, 5, 6, seed=5), random(2, 4, 5, 3, seed=6), verbose=0)
    return model.get_weights()


def test_jax_trains_to_the_same_weights():
    code = "import json, test_binary; print(json.dumps([w.tolist() for w in test_binary.one_step()]))"
    environment = os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": str(golden.ROOT.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    for weights, expected in zip(json.loads(done.stdout), one_step(), strict=True):
        np.testing.assert_allclose(weights, expected, atol=1e-5)


def test_training_keeps_the_weights_within_the_limit():
    layer = BinaryDense(1, kernel_constraint=ClipWeights(0.25))
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(keras.optimizers.SGD(10.0), "mse")
    model.fit(np.ones((8, 3)), -np.ones((8, 1)), verbose=0)
    assert np.abs(layer.kernel).max() == 0.25


@pytest.mark.parametrize(
    "option", [dict(activation_levels="sign"), dict(weight_levels="ternary"), dict(gradient="magic")], ids=str
)
def test_other_levels_are_refused_with_those_that_there_are(option):
    for build in (lambda: BinaryDense(2, **option), lambda: keras_mlp.BiMLPS(weights=None, **option)):
        with pytest.raises(ValueError, match=f"`{next(iter(option))}` must be one of '(ternary|binary|straight)"):
            build()


def small_model(**options):
    return keras_mlp.BiMLP(dims=(8,), depths=(1,), transitions=(True,), input_shape=(16, 16, 3), classes=3, **options)


def test_a_packed_model_comes_back_bit_by_bit(tmp_path):
    model, images = small_model(), 255 * random(2, 16, 16, 3)
    model.get_layer("head").kernel.assign(random(8, 3))
    report = binary.pack(model, tmp_path / "packed.safetensors")
    other = small_model(weights=str(tmp_path / "packed.safetensors"))
    np.testing.assert_array_equal(other(images), model(images))
    np.testing.assert_array_equal(other.predict(images, verbose=0), model.predict(images, verbose=0))
    again = binary.pack(other, tmp_path / "again.safetensors")
    assert again.ratio == report.ratio
    first, second = (readers.read(tmp_path / name).tensors for name in ("packed.safetensors", "again.safetensors"))
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_bits_are_in_the_order_that_is_told(tmp_path):
    """The format, read without this package's reader."""
    import safetensors.numpy

    layer = BinaryDense(3, name="layer")
    model = keras.Sequential([keras.Input((6,)), layer])
    kernel = random(6, 3)
    layer.kernel.assign(kernel)
    report = binary.pack(model, tmp_path / "packed.safetensors")
    tensors = safetensors.numpy.load_file(tmp_path / "packed.safetensors")
    assert set(tensors) == {"layer/kernel.signs", "layer/kernel.scale"}
    for i, weight in enumerate(kernel.ravel()):
        assert tensors["layer/kernel.signs"][i // 8] >> (i % 8) & 1 == (weight >= 0)
    np.testing.assert_allclose(tensors["layer/kernel.scale"], np.abs(kernel).mean(axis=0, keepdims=True), rtol=1e-6)
    assert (report.kernels, report.bytes_before, report.bytes_packed) == (1, 4 * 18, 3 + 4 * 3)
    assert report.file_bytes == (tmp_path / "packed.safetensors").stat().st_size


def test_wide_layers_are_thirty_times_smaller(tmp_path):
    model = keras.Sequential([keras.Input((1024,)), BinaryDense(1024), BinaryDense(64)])
    report = binary.pack(model, tmp_path / "packed.safetensors")
    assert 30 < report.ratio < 32
    assert report.file_bytes < report.bytes_before / 29


def test_scales_of_equal_weights_are_exact():
    """A plain mean of 1000 times 0.1 is not 0.1 in float32."""
    layer = BinaryDense(4)
    layer.build((None, 1000))
    scale = np.float32([0.1, 0.3, 1e-3, 0.7])
    layer.kernel.assign(np.sign(random(1000, 4)) * scale)
    for compute in (layer.signs_and_scale, tf.function(layer.signs_and_scale, jit_compile=True)):
        np.testing.assert_array_equal(ops.squeeze(compute()[1]), scale)


def test_models_without_binary_weights_are_refused(tmp_path):
    model = keras.Sequential([keras.Input((4,)), BinaryDense(3, weight_levels=None), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="no binary weights to pack"):
        binary.pack(model, tmp_path / "packed.safetensors")
    assert not list(tmp_path.iterdir())


def test_damaged_bits_are_refused(tmp_path):
    path = tmp_path / "packed.safetensors"
    bits = {"layer/kernel.signs": np.zeros(2, "uint8"), "layer/kernel.scale": np.ones((1, 3), "float32")}
    keras_mlp.save_checkpoint(bits, path, packed_kernels=json.dumps({"layer/kernel": [6, 3]}))
    with pytest.raises(ValueError, match=r"layer/kernel.*\(6, 3\)"):
        readers.read(path)


def test_weights_that_are_all_zero_can_still_be_trained():
    layer = BinaryDense(3)
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    layer(x)
    layer.kernel.assign(np.zeros((5, 3)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x))
    assert np.isfinite(tape.gradient(loss, layer.kernel.value)).all()
