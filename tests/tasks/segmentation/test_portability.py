"""Segmenters at other sizes, compiled, on other backends, in other processes and formats."""

import os
import subprocess
import sys

import fresh
import golden
import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp import export, tasks

HEADS = {"as_mlp": tasks.UPerNet, "mlp_mixer": tasks.SemanticFPN}
"""A backbone in stages, and one of one level, whose weights belong to a grid."""
both = pytest.mark.parametrize("name", HEADS)


def segmenter(name, **options):
    builder, config = golden.arguments(golden.small(name))
    model = HEADS[name](builder(**config, include_top=False), 3, channels=8, **options)
    for layer in model.layers:  # as after training
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(golden.tensor("a.running_mean", layer.moving_mean.shape))
            layer.moving_variance.assign(golden.tensor("a.running_var", layer.moving_variance.shape))
    return model, golden.small(name).images()


def near(found, expected, limit=1e-4):
    expected = np.asarray(expected)
    return np.abs(np.asarray(found) - expected).max() < limit * np.abs(expected).max()


@both
def test_a_fused_segmenter_computes_the_same_with_fewer_layers(name):
    model, images = segmenter(name)
    fused = keras_mlp.fuse(model)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in fused.layers)
    assert len(fused.layers) < len(model.layers) and near(fused(images), model(images))


@both
def test_a_resized_segmenter_has_the_weights_and_another_size(name):
    model, images = segmenter(name, auxiliary=True)
    larger = keras_mlp.resize(model, (48, 64))
    found = larger(np.zeros((1, 48, 64, 3), "float32"))
    assert {key: x.shape for key, x in found.items()} == dict.fromkeys(("logits", "auxiliary"), (1, 48, 64, 3))
    for layer in model.layers:
        if layer.name.startswith(("decoder", "neck", "head")):
            for ours, theirs in zip(layer.get_weights(), larger.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(ours, theirs)
    again = keras_mlp.resize(model, images.shape[1:3])
    assert near(again(images)["logits"], model(images)["logits"])


@pytest.mark.parametrize(
    "name", [pytest.param("as_mlp", marks=golden.SLOW), pytest.param("mlp_mixer", marks=golden.HUGE)]
)
def test_a_segmenter_runs_under_xla(name):
    model, images = segmenter(name)
    expected = model(images)
    model.compile(jit_compile=True)
    assert near(model.predict(images, verbose=0), expected)


def test_segmenters_load_in_a_fresh_process(tmp_path):
    for saved, loaded in fresh.answers(((name, segmenter(name)) for name in HEADS), tmp_path).values():
        np.testing.assert_allclose(loaded, saved, atol=1e-5 * np.abs(saved).max())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_segmenter_of_tensorflow_answers_and_learns_on_other_backends(backend, tmp_path):
    for name in HEADS:
        model, images = segmenter(name)
        model.save(tmp_path / f"{name}.keras")
        np.savez(tmp_path / f"{name}.npz", images=images, logits=model(images))
    code = """
import sys, keras, numpy as np, keras_mlp
from keras_mlp import tasks
folder, *names = sys.argv[1:]
for name in names:
    model = keras.models.load_model(f"{folder}/{name}.keras")
    with np.load(f"{folder}/{name}.npz") as stored:
        images, expected = stored["images"], stored["logits"]
    found = model.predict(images, verbose=0)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max(), name
    model.compile(keras.optimizers.SGD(0.01), tasks.PixelCrossEntropy())
    before = model.get_layer("head").get_weights()[0]
    labels = np.random.default_rng(0).integers(0, 3, images.shape[:3])
    assert np.isfinite(model.train_on_batch(images, labels)), name
    assert np.abs(model.get_layer("head").get_weights()[0] - before).max() > 0, name
    print(name)
print(keras.backend.backend())
"""
    command = [sys.executable, "-c", code, str(tmp_path), *HEADS]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": backend})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*HEADS, backend]


@pytest.mark.slow
@both
def test_a_segmenter_becomes_onnx(name, tmp_path):
    model, images = segmenter(name)
    assert export.to_onnx(model, tmp_path / "model.onnx", verify_with=images) < 1e-4


@pytest.mark.slow
@both
def test_a_segmenter_becomes_a_saved_model(name, tmp_path):
    import tensorflow as tf

    model, images = segmenter(name)
    export.to_saved_model(model, tmp_path / "model")
    served = tf.saved_model.load(tmp_path / "model").signatures["serving_default"]
    assert near(served(pixels=tf.constant(images))["outputs"], model(images))
