"""Less memory in training: MLPs that are computed anew in the backward pass."""

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mlp
from keras_mlp.training.remat import rematerialize
from keras_mlp.zoo import FAMILIES


def gradients(model, images):
    """Of the sum of squares of a training step's answer, and how often the layers' hidden values are computed."""

    @tf.function
    def compute():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(tf.cast(model(images, training=True), "float32")))
        return tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    operations = compute.get_concrete_function().graph.get_operations()
    return compute(), sum(operation.type == "Erf" for operation in operations)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_gradients_are_the_same_and_what_is_not_kept_is_computed_once_more(policy):
    images = np.random.RandomState(0).uniform(size=(2, 8, 8, 3)).astype("float32")
    keras.utils.set_random_seed(0)
    arguments = dict(weights=None, input_shape=(8, 8, 3), classes=4, patch_size=4, dim=8, depth=2, dtype=policy)
    model = keras_mlp.MLPMixer(token_dim=6, channel_dim=12, **arguments)
    kept, computed = gradients(model, images)
    assert rematerialize(model) is model
    anew, computed_anew = gradients(model, images)
    assert computed_anew > computed
    for one, other in zip(kept, anew, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2 if policy == "mixed_bfloat16" else 1e-5, atol=1e-6)


WITHOUT = {"bimlp", "cmt", "hat_net", "levit"}
"""Families that are binary, or have a norm or convolution between each linear layer and the activation after it."""


@pytest.mark.parametrize("family", golden.chosen(sorted(FAMILIES), golden.FEW, *golden.HUGE))
def test_mlps_are_computed_anew_and_families_without_such_are_refused(family):
    model = golden.build(golden.small(family))
    if family in WITHOUT:
        with pytest.raises(ValueError, match="linear layers with activations"):
            rematerialize(model)
    else:
        rematerialize(model)


def test_a_model_without_mlps_is_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="relu")], name="plain")
    with pytest.raises(ValueError, match="linear layers with activations.*plain"):
        rematerialize(model)
