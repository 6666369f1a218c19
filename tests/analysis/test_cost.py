"""Costs are counted from the operations that really run."""

import keras
import pytest
from keras import layers

from keras_mlp.analysis import cost


def counted(layer, shape):
    x = keras.Input(shape)
    return cost(keras.Model(x, layer(x))).macs


def test_each_kind_of_operation_is_counted_by_its_definition():
    assert counted(layers.Dense(7), (5,)) == 5 * 7
    assert counted(layers.Dense(7), (4, 6, 5)) == 4 * 6 * 5 * 7
    assert counted(layers.Conv2D(8, 3, padding="same"), (10, 12, 4)) == 10 * 12 * 9 * 4 * 8
    assert counted(layers.Conv2D(8, 3, padding="same", groups=2), (10, 12, 4)) == 10 * 12 * 9 * 2 * 8
    assert counted(layers.Conv2D(8, 2, strides=2), (10, 12, 4)) == 5 * 6 * 4 * 4 * 8
    assert counted(layers.DepthwiseConv2D(3, padding="same"), (10, 12, 4)) == 10 * 12 * 9 * 4
    assert counted(layers.Conv3D(8, (1, 3, 3), padding="same"), (2, 10, 12, 4)) == 2 * 10 * 12 * 9 * 4 * 8
    assert counted(layers.EinsumDense("abc,bd->adc", (4, 5)), (6, 5)) == 6 * 5 * 4
    assert counted(layers.LayerNormalization(), (5,)) == 0


def test_steps_of_a_loop_count_as_often_as_they_run():
    """In a loop that Keras traces once, and in steps that stand one by one."""
    for unroll in (False, True):
        assert counted(layers.LSTM(6, return_sequences=True, unroll=unroll), (5, 4)) == 5 * (4 + 6) * 4 * 6
    assert counted(layers.LSTM(6), (5, 4)) == 5 * (4 + 6) * 4 * 6


def test_parameters_are_the_trainable_ones():
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, layers.BatchNormalization()(layers.Conv2D(4, 1)(x)))
    found = cost(model)
    assert found.parameters == 3 * 4 + 4 + 2 * 4
    assert found.macs_by_operation == {"Conv2D": 8 * 8 * 3 * 4}
    assert found.activations == 8 * 8 * 4


def test_an_unknown_size_must_be_given():
    x = keras.Input((None, None, 3))
    model = keras.Model(x, layers.Conv2D(4, 1)(x))
    with pytest.raises(ValueError, match="Pass `input_shape`"):
        cost(model)
    assert cost(model, (10, 10, 3)).macs == 10 * 10 * 3 * 4
