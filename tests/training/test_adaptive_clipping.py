"""Adaptive gradient clipping: against its equation, unit by unit."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_mlp.training import recipes
from keras_mlp.training.adaptive_clipping import clip, units

SHAPES = {
    "dense/kernel": ((5, 3), (0,)),
    "conv/kernel": ((3, 3, 4, 6), (0, 1, 2)),
    "depthwise/kernel": ((3, 3, 4, 1), (0, 1)),
    "conv/bias": ((6,), None),
    "scale": ((), None),
    "attention/attention_biases": ((4, 49), (1,)),
}


@pytest.mark.parametrize("path", SHAPES)
def test_no_units_gradient_is_longer_than_the_share_of_its_weights(path):
    shape, axes = SHAPES[path]
    draw = np.random.RandomState(0)
    with keras.name_scope(path.rpartition("/")[0] or "x"):
        variable = keras.Variable(draw.standard_normal(shape).astype("float32"), name=path.rpartition("/")[2])
    assert units(variable) == axes
    length = lambda x: np.sqrt(np.sum(x**2, axes, keepdims=True))  # noqa: E731
    weights, gradient = variable.numpy(), draw.standard_normal(shape).astype("float32")
    for size in (1e-4, 1.0):  # of which the first needs no clipping
        found = np.asarray(clip(size * gradient, variable, 0.1, axes))
        shorter = np.minimum(1, 0.1 * np.maximum(length(weights), 1e-3) / length(size * gradient))
        np.testing.assert_allclose(found, shorter * size * gradient, rtol=1e-5)
        assert np.all(shorter == 1) == (size < 1)


def test_weights_of_zero_may_move_and_gradients_of_zero_stay():
    kernel = keras.Variable(np.zeros((4, 2), "float32"), name="kernel")
    np.testing.assert_allclose(clip(np.ones((4, 2), "float32"), kernel, 0.1, (0,)), np.full((4, 2), 5e-5), rtol=1e-5)
    np.testing.assert_array_equal(clip(np.zeros((4, 2), "float32"), kernel, 0.1, (0,)), np.zeros((4, 2)))


def test_a_recipe_asks_for_it(plain, small_model):
    recipe = dataclasses.replace(plain, optimizer="sgd", gradient_clip_factor=0.1, learning_rate=1.0)
    model = small_model()
    optimizer = recipes.optimizer(dataclasses.replace(recipe, schedule="constant"), model, steps_per_epoch=10)
    before = [variable.numpy() for variable in model.trainable_variables]
    optimizer.apply([np.ones_like(value) for value in before], model.trainable_variables)
    for variable, value in zip(model.trainable_variables, before, strict=True):
        expected = clip(np.ones_like(value), keras.Variable(value), 0.1, units(variable))
        np.testing.assert_allclose(value - variable.numpy(), expected, rtol=1e-3, atol=1e-7)
    copy = type(optimizer).from_config(optimizer.get_config())
    assert copy.clip_factor == 0.1
