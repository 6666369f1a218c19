"""Norms, activations and stochastic depth, and what their gradients keep."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp import layers
from keras_mlp.layers import activations


def test_stochastic_depth_drops_samples_whole_and_keeps_the_mean():
    x = keras.Input((4, 4, 2))
    model = keras.Model(x, layers.stochastic_depth(x, 0.25, "drop"))
    ones = np.ones((4000, 4, 4, 2), "float32")
    kept = np.asarray(model(ones, training=True)).reshape(4000, -1)
    assert (kept.min(axis=1) == kept.max(axis=1)).all()
    assert set(np.round(np.unique(kept), 4)) == {0.0, np.float32(1.3333)}
    assert kept.mean() == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(model(ones[:1]), ones[:1])
    assert layers.stochastic_depth(x, 0.0, "none") is x


def test_layer_normalization_is_keras_own_and_keeps_more_digits():
    x = np.random.RandomState(0).standard_normal((2, 3, 4, 64))
    both = (layers.LayerNormalization, keras.layers.LayerNormalization)
    ours, keras_own = (cls(epsilon=1e-5, dtype="float64") for cls in both)
    keras_own.build(x.shape)
    ours.build(x.shape)
    for layer in (ours, keras_own):
        layer.set_weights(np.random.RandomState(1).standard_normal((2, 64)))
    np.testing.assert_allclose(ours(x), keras_own(x), atol=1e-12)
    shifted = (x + 1000).astype("float32")
    exact = np.asarray(layers.LayerNormalization(epsilon=1e-5, dtype="float64")(shifted.astype("float64")))
    ours_error, keras_error = (np.abs(np.asarray(cls(epsilon=1e-5)(shifted)) - exact).max() for cls in both)
    assert ours_error < keras_error
    half = layers.LayerNormalization(epsilon=1e-5, dtype="mixed_float16")(shifted)
    assert half.dtype == "float16" and np.isfinite(half).all()
    with pytest.raises(ValueError, match="Only the last axis"):
        layers.LayerNormalization(epsilon=1e-5, axis=1)


def test_the_two_forms_of_gelu_differ_as_they_should():
    x = np.linspace(-4, 4, 101)
    exact, tanh = (np.asarray(activations.get(form)(x)) for form in activations.GELU_FORMS)
    assert 1e-4 < np.abs(exact - tanh).max() < 1e-3
    np.testing.assert_allclose(exact, keras.activations.gelu(x), atol=1e-7)
    np.testing.assert_allclose(tanh, 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), atol=1e-6)
    assert [activations.gelu_form(activations.get(form)) for form in activations.GELU_FORMS] == ["gelu", "gelu_tanh"]
    assert activations.gelu_form(activations.get("relu")) is None
    assert layers.Activation("gelu").activation is activations.gelu


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Activation(layers.gelu, dtype="float64"),
        lambda: layers.Activation(layers.gelu_tanh, dtype="float64"),
        lambda: layers.Dense(7, activation=layers.gelu, dtype="float64"),
        lambda: layers.LayerNormalization(epsilon=1e-5, center=False, dtype="float64"),
    ],
    ids=["gelu", "gelu_tanh", "dense", "layer_norm"],
)
def test_in_training_the_gradient_is_the_same_and_keeps_fewer_arrays(make):
    layer = make()
    x, upstream = (tf.constant(3 * np.random.RandomState(seed).standard_normal((5, 7))) for seed in (0, 1))
    layer.build(x.shape)

    def gradient(training):
        @tf.function
        def compute():
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.identity(layer(x, training=training), name="answer")
            # What a branch takes from outside is what the gradient needs of the forward pass.
            return tf.cond(tf.reduce_all(y < 99), lambda: tape.gradient(y, x, upstream), lambda: x)

        branch = next(op for op in compute.get_concrete_function().graph.get_operations() if op.type.endswith("If"))
        names = ("Placeholder", "Const", "Identity", "IdentityN")  # further names of arrays that are there anyway
        kept = [tensor for tensor in branch.inputs if tensor.shape == x.shape and tensor.op.type not in names]
        return compute(), len(kept)

    (plain, several), (own, few) = gradient(training=False), gradient(training=True)
    # TensorFlow rounds a constant of the tanh form to float32.
    np.testing.assert_allclose(own, plain, rtol=1e-6, atol=1e-8)
    assert few <= 1 < several, (few, several)
