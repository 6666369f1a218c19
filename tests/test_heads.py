"""Heads: two classifiers, one of which learns from a teacher."""

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp import cards, heads
from keras_mlp.classifiers import Output
from keras_mlp.family import Family
from keras_mlp.layers import batch_norm


@pytest.fixture
def builder():
    """The builder of a family with two heads, each with a norm of its own."""

    def two_heads(features, classes, activation, *, distilled=True, heads_apart=False, dropout_rate=0.0):
        """Two heads.

        Args:
            distilled: whether there is a second head.
            heads_apart: whether both are outputs.
            dropout_rate: before each.
        """
        x = heads.pooled(features, "avg", heads.precise())
        if not distilled:
            return heads.classify(batch_norm("head_norm")(x), classes, activation, dropout_rate)
        both = (batch_norm(name)(x) for name in ("head_norm", "head_dist_norm"))
        return heads.classify_twice(*both, classes, activation, heads_apart, dropout_rate)

    paper = cards.Paper("Two", "A. N. Author", 2026, "https://arxiv.org/abs/2601.00000")
    family = Family("two", title="Two", paper=paper, preprocessing=cards.Preprocessing(), head=two_heads)

    def Two(x):
        """One layer."""
        return keras.layers.Conv2D(4, 2, 2, name="stem")(x)

    made = family.builder(Two)
    return lambda **options: made(input_shape=(8, 8, 3), classes=5, include_preprocessing=False, **options)


def random(model):
    draw = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(np.abs(draw.normal(size=weight.shape)) + 0.1)
    return model


def images(count=4):
    return np.random.default_rng(1).normal(size=(count, 8, 8, 3)).astype("float32")


def test_the_output_is_the_mean_of_the_logits_and_its_activation(builder):
    apart = random(builder(heads_apart=True, classifier_activation=None))
    logits = apart(images())
    assert list(logits) == ["head", "head_dist"] and np.abs(logits["head"] - logits["head_dist"]).max() > 0.1
    mean = (logits["head"] + logits["head_dist"]) / 2
    for activation, expected in ((None, mean), ("softmax", keras.ops.softmax(mean))):
        model = builder(classifier_activation=activation)
        model.set_weights(apart.get_weights())
        np.testing.assert_allclose(model(images()), expected, atol=1e-6)
        assert Output.of(model).activation == (activation or "linear")
    probabilities = random(builder(heads_apart=True))(images())
    np.testing.assert_allclose(probabilities["head_dist"], keras.ops.softmax(logits["head_dist"]), atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_both_compute_in_float32_at_least(builder, policy):
    expected = {"mixed_float16": "float32", "float64": "float64"}[policy]
    model = builder(dtype=policy, dropout_rate=0.1)
    assert model.output.dtype == expected
    assert {layer.compute_dtype for layer in model.layers if layer.name in ("head", "head_dist", "head_average")} == {
        expected
    }


def test_each_learns_from_its_own_loss_and_the_output_is_that_of_both(builder):
    """Labels say one thing and the teacher another: each head learns what its loss was given."""
    keras.utils.set_random_seed(0)
    apart = builder(heads_apart=True, classifier_activation=None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    apart.compile(keras.optimizers.Adam(0.05), {"head": loss, "head_dist": loss})
    labels, taught = np.array([0, 1, 2, 3]), np.array([1, 2, 3, 4])
    apart.fit(images(), {"head": labels, "head_dist": taught}, epochs=60, verbose=0)
    found = apart(images())
    np.testing.assert_array_equal(np.argmax(found["head"], -1), labels)
    np.testing.assert_array_equal(np.argmax(found["head_dist"], -1), taught)
    together = builder(classifier_activation=None)
    together.set_weights(apart.get_weights())
    np.testing.assert_allclose(together(images()), (found["head"] + found["head_dist"]) / 2, atol=1e-5)


def test_a_new_head_keeps_the_norms_and_may_be_one_where_there_were_two(builder, tmp_path):
    old, path = random(builder()), tmp_path / "two.safetensors"
    keras_mlp.save_checkpoint(old, path)
    for distilled in (True, False):
        model = builder(distilled=distilled)
        report = keras_mlp.load_checkpoint(model, path, new_head=True)
        kernels = {
            f"{name}/{weight}" for name in ("head", "head_dist")[: 1 + distilled] for weight in ("kernel", "bias")
        }
        assert set(report.fresh) == kernels
        for name in ("head_norm", "head_dist_norm")[: 1 + distilled]:
            np.testing.assert_array_equal(model.get_layer(name).gamma, old.get_layer(name).gamma)
    with pytest.raises(ValueError, match="Left over.*head_dist_norm"):
        keras_mlp.load_checkpoint(builder(distilled=False), path)
