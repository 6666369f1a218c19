"""A model that is loaded draws no numbers that loading would replace."""

import os
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from backends import BACKENDS
from keras.src.initializers import random_initializers

import keras_mlp
from keras_mlp.checkpoints import first_values
from keras_mlp.checkpoints.layouts import CheckpointError

SMALL = dict(patch_size=8, dim=16, depth=1, input_shape=(32, 32, 3), classes=10)


@pytest.fixture
def drawn(monkeypatch):
    """How many numbers each draw of an initializer had; stand-ins in graphs that only tell shapes are not drawn."""
    sizes = []

    def counting(draw):
        def counted(shape, *arguments, **options):
            if tf.executing_eagerly():
                sizes.append(int(np.prod(shape)))
            return draw(shape, *arguments, **options)

        return counted

    for name in ("normal", "truncated_normal", "uniform"):
        monkeypatch.setattr(random_initializers.random, name, counting(getattr(random_initializers.random, name)))
    return sizes


def two_layers():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(3, name="second")(keras.layers.Dense(5, name="first")(inputs)))


def test_a_builder_with_weights_draws_nothing_that_they_replace(drawn, tmp_path):
    published = keras_mlp.MLPMixer(**SMALL)
    kernels = [weight for weight in published.weights if weight.name == "kernel" and "head" not in weight.path]
    assert sum(drawn) == sum(int(np.prod(kernel.shape)) for kernel in kernels)
    keras_mlp.save_checkpoint(published, tmp_path / "model.safetensors")
    drawn.clear()
    model = keras_mlp.MLPMixer(**SMALL, weights=tmp_path / "model.safetensors")
    assert not drawn
    for loaded, saved in zip(model.get_weights(), published.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, saved)


def test_what_is_not_loaded_begins_as_in_a_random_model(drawn):
    keras.utils.set_random_seed(1)
    expected = two_layers().get_layer("second").get_weights()
    drawn.clear()
    keras.utils.set_random_seed(1)
    model = first_values.made(two_layers)
    assert all(map(first_values.is_missing, model.variables))
    first, second = model.layers[1:]
    first_values.give(first.kernel, np.full((4, 5), 0.5))
    first_values.settle(model)
    np.testing.assert_array_equal(first.kernel, np.full((4, 5), 0.5))
    for begun, random in zip(second.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(begun, random)
    assert drawn == [15] and np.ptp(expected[0]) > 0


def test_what_another_thread_makes_meanwhile_has_its_values_at_once():
    made = []

    def make():
        thread = threading.Thread(target=lambda: made.append(two_layers()))
        thread.start()
        thread.join()
        return two_layers()

    model = first_values.made(make)
    assert not any(map(first_values.is_missing, made[0].variables)) and np.ptp(made[0].layers[1].kernel) > 0
    first_values.settle(model)
    assert not any(map(first_values.is_missing, model.variables))


def test_a_model_that_cannot_be_made_leaves_no_variable_without_a_value():
    made = []

    def fail():
        made.append(two_layers())
        raise ValueError("no model")

    with pytest.raises(ValueError, match="no model"):
        first_values.made(fail)
    assert not any(map(first_values.is_missing, made[0].variables))


def test_weights_that_do_not_fit_leave_nothing_behind(tmp_path):
    keras_mlp.save_checkpoint(keras_mlp.MLPMixer(**SMALL), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="Of another shape"):
        keras_mlp.MLPMixer(**SMALL | {"dim": 8}, weights=tmp_path / "model.safetensors")
    assert not any(map(first_values.is_missing, two_layers().variables))


ON_ANOTHER_BACKEND = """
import sys, keras, keras_mlp, numpy as np
folder, published = sys.argv[1], np.load(sys.argv[1] + "/weights.npz")
keras.utils.set_random_seed(0)
arguments = dict(patch_size=8, dim=16, depth=1, input_shape=(32, 32, 3), drop_path_rate=0.1)
model = keras_mlp.MLPMixer(**arguments, classes=3, new_head=True, weights=folder + "/model.safetensors")
for variable in model.weights:
    if variable.path in published:
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), published[variable.path])
if keras.backend.backend() == "torch":  # which finds the weights by itself, as its optimizers want them
    names = set(model.state_dict())
    assert all(any(name.endswith(variable.path) for name in names) for variable in model.weights)
model.compile("sgd", "sparse_categorical_crossentropy")
model.fit(np.ones((2, 32, 32, 3)), np.zeros(2), verbose=0)
print(keras.backend.backend(), np.isfinite(model.predict(np.ones((1, 32, 32, 3)), verbose=0)).all())
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_is_loaded_and_trained_on_other_backends(backend, tmp_path):
    published = keras_mlp.MLPMixer(**SMALL)
    keras_mlp.save_checkpoint(published, tmp_path / "model.safetensors")
    shared = {v.path: np.asarray(v) for v in published.weights if "head" not in v.path}
    np.savez(tmp_path / "weights.npz", **shared)
    words = [sys.executable, "-c", ON_ANOTHER_BACKEND, str(tmp_path)]
    environment = os.environ | {"KERAS_BACKEND": backend}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == [backend, "True"], done.stderr
