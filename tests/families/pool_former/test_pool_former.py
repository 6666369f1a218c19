"""PoolFormer: averages at the border of a map, and what may be asked for."""

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.families.pool_former import NormOfAverage, PoolMixing
from keras_mlp.layers import LayerNormalization


@pytest.mark.parametrize("size", [1, 3, 5])
def test_averages_count_only_the_positions_inside(size):
    x, half = np.random.RandomState(0).standard_normal((2, 4, 3, 2)), size // 2
    expected = np.zeros_like(x)
    for i in range(4):
        for j in range(3):
            window = x[:, max(i - half, 0) : i + half + 1, max(j - half, 0) : j + half + 1]
            expected[:, i, j] = window.mean((1, 2)) - x[:, i, j]
    np.testing.assert_allclose(PoolMixing(size, dtype="float64")(x), expected, atol=1e-12)


@pytest.mark.parametrize("size", [0, 2, -3])
def test_windows_without_a_middle_are_refused(size):
    with pytest.raises(ValueError, match=f"positive odd number. Received: size={size}"):
        PoolMixing(size)


def test_mixings_that_do_not_exist_are_named_with_those_that_do():
    with pytest.raises(ValueError, match=r"\['identity', 'linear', 'pool'\]. Received: 'attention' in mixings="):
        keras_mlp.PoolFormer(mixings=("pool", "pool", "pool", "attention"))


def test_the_norm_of_the_average_is_the_average_of_the_norm():
    x = np.random.RandomState(0).standard_normal((2, 4, 3, 8))
    norms = [kind(epsilon=1e-6, dtype="float64") for kind in (NormOfAverage, LayerNormalization)]
    average = keras.ops.mean(norms[0](x), axis=(1, 2))
    np.testing.assert_allclose(average, norms[1](x.mean((1, 2))), atol=1e-12)
    np.testing.assert_allclose(norms[0](x, training=True), norms[0](x), atol=1e-12)


def test_scales_go_through_the_pooling_and_shifts_end_there():
    source = keras.Input((5, 4, 3), dtype="float64")
    norm, dense = keras.layers.BatchNormalization(dtype="float64"), keras.layers.Dense(2, dtype="float64")
    model = keras.Model(source, dense(PoolMixing(dtype="float64")(norm(source))))
    draw = np.random.RandomState(0)
    for weight in model.weights:
        weight.assign(draw.uniform(0.5, 1.5, weight.shape))
    fused = keras_mlp.fuse(model)
    assert [type(layer).__name__ for layer in fused.layers[1:]] == ["PoolMixing", "Dense"]
    x = draw.standard_normal((2, 5, 4, 3))
    np.testing.assert_allclose(fused(x), model(x), atol=1e-12)
