"""The form for serving: it answers as the model does, in this process and as a SavedModel."""

import os
import subprocess
import sys

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf
from backends import BACKENDS

import keras_mlp
from keras_mlp import export
from keras_mlp.export import freezing
from keras_mlp.zoo import FAMILIES


def error(found, expected):
    return np.abs(found - expected).max() / np.std(expected)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_frozen_model_computes_what_the_model_does_for_any_batch(model, images, jit_compile):
    serve = keras_mlp.fast(model, jit_compile=jit_compile)
    assert serve.input_shape == (32, 32, 3)
    for batch in (images[:1], images[:5]):
        scores = serve(batch)
        assert isinstance(scores, np.ndarray) and error(scores, np.asarray(model(batch))) < 1e-4


def test_what_is_done_to_the_model_afterwards_does_not_change_it(mixer, images):
    model = mixer()
    serve, before = keras_mlp.fast(model), np.asarray(model(images))
    model.get_layer("head").kernel.assign(np.zeros((32, 10)))
    assert error(serve(images), before) < 1e-4


def test_no_variable_and_no_preprocessing_is_left_in_the_graph(model, images):
    network = freezing.fused(model)
    function, _ = freezing.constants(network, (32, 32, 3))
    kinds = {operation.type for operation in function.graph.get_operations()}
    assert "MatMul" in kinds and not kinds & {"ReadVariableOp", "VarHandleOp"}
    assert not any("preprocessing" in layer.name for layer in network.layers)


def test_outputs_with_names_keep_them(mixer, images):
    pyramid = keras_mlp.feature_pyramid(mixer(include_top=False))
    found, expected = keras_mlp.fast(pyramid)(images[:2]), pyramid(images[:2])
    assert found.keys() == expected.keys()
    for name, maps in found.items():
        assert error(maps, np.asarray(expected[name])) < 1e-4


def test_images_and_models_that_do_not_fit_are_refused(model, monkeypatch):
    with pytest.raises(ValueError, match=r"shape \(n, 32, 32, 3\). Received: shape=\(2, 16, 16, 3\)"):
        keras_mlp.fast(model)(np.zeros((2, 16, 16, 3)))
    with pytest.raises(ValueError, match="must be a functional Keras model"):
        keras_mlp.fast("mlp_mixer_b16")
    first, second = keras.Input((4,)), keras.Input((4,))
    with pytest.raises(ValueError, match="must have one input. Received: 2 inputs"):
        keras_mlp.fast(keras.Model([first, second], keras.layers.Add()([first, second])))
    monkeypatch.setattr(freezing, "_MOST", 1000)
    with pytest.raises(ValueError, match="A graph of TensorFlow holds less than 2 GB"):
        keras_mlp.fast(model)


@pytest.mark.parametrize(
    "families",
    [pytest.param(golden.FEW, marks=golden.SLOW), pytest.param(sorted(FAMILIES), marks=golden.HUGE)],
    ids=["few", "all"],
)
def test_every_family_computes_the_same_when_frozen(families):
    """All in one process, with the limit of `verify` for files in float32."""
    for family in families:
        case = golden.small(family)
        model = golden.build(case)
        found = keras_mlp.fast(model)(case.images())
        assert error(found, model.predict(case.images(), verbose=0)) < export.LIMITS["float32"].max_difference, family


def test_a_frozen_saved_model_serves_alike_and_has_no_variables(mixer, images, tmp_path):
    model = mixer(dtype="mixed_bfloat16")
    names = [f"class {i}" for i in range(10)]
    export.to_saved_model(model, tmp_path / "model", classes=names, frozen=True)
    kept = tf.train.list_variables(str(tmp_path / "model" / "variables" / "variables"))
    assert [name for name, _ in kept] == ["_CHECKPOINTABLE_OBJECT_GRAPH"]
    served = tf.saved_model.load(tmp_path / "model")
    pixels = images[:3].astype("float32")
    float32 = mixer()
    float32.set_weights(model.get_weights())
    found = served.signatures["serving_default"](pixels=tf.constant(pixels))["outputs"]
    assert error(found.numpy(), np.asarray(float32(pixels))) < 1e-4
    assert set(served.signatures) == {"serving_default", "encoded_images", "classify", "labels"}


ON_ANOTHER_BACKEND = """
import sys, keras, keras_mlp, numpy as np
model = keras.saving.load_model(sys.argv[1] + "/model.keras")
images = np.load(sys.argv[1] + "/images.npy")
found, expected = keras_mlp.fast(model)(images), model.predict(images, verbose=0)
assert isinstance(found, np.ndarray) and np.abs(found - expected).max() < 1e-4 * expected.std()
print(keras.backend.backend())
"""


@pytest.mark.slow
@pytest.mark.huge
@pytest.mark.parametrize("backend", BACKENDS)
def test_other_backends_have_such_a_form_too(backend, model, images, tmp_path):
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images[:3])
    words = [sys.executable, "-c", ON_ANOTHER_BACKEND, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": backend})
    assert done.stdout.split() == [backend], done.stderr
