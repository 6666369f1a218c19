"""Shifts and regions, and their gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp import layers
from keras_mlp.families import hire_mlp


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "channels, size, dilation", [(7, 3, 1), (7, 3, 2), (4, 5, 1), (16, 5, 1), (5, 7, 1), (6, 1, 1)]
)
def test_axial_shift_moves_each_group_by_its_own_distance(channels, size, dilation, known):
    x = np.random.RandomState(0).standard_normal((2, 6, 5, channels)).astype("float32")
    for axis, side in ((1, "height"), (2, "width")):
        expected = np.zeros_like(x)
        for c in range(channels):
            shift = (c // -(-channels // size) - size // 2) * dilation
            for i in range(x.shape[axis]):
                if 0 <= i - shift < x.shape[axis]:
                    expected[(slice(None),) * axis + (i, ..., c)] = x[(slice(None),) * axis + (i - shift, ..., c)]
        inputs = keras.Input(x.shape[1:] if known else (None, None, channels))
        answer = keras.Model(inputs, layers.AxialShift(side, size, dilation)(inputs))(x)
        np.testing.assert_array_equal(answer, expected)
    for wrong in (dict(side="depth", size=3), dict(side="width", size=4)):
        with pytest.raises(ValueError, match="must be"):
            layers.AxialShift(**wrong)


@pytest.mark.parametrize("side, axis", [("height", 1), ("width", 2)])
def test_cycle_shift_reads_the_channels_in_turn_further_on(side, axis):
    """Channel by channel against the definition, at known sizes and unknown ones."""
    x = np.random.RandomState(0).standard_normal((2, 4, 6, 7)).astype("float32")
    for size in (1, 3, 5):
        expected = np.zeros_like(x)
        for c in range(7):
            offset = (c + size // 2) % size - size // 2
            for i in range(x.shape[axis]):
                if 0 <= i + offset < x.shape[axis]:
                    expected[(slice(None),) * axis + (i, ..., c)] = x[(slice(None),) * axis + (i + offset, ..., c)]
        for shape in (x.shape[1:], (None, None, 7)):
            inputs = keras.Input(shape)
            answer = keras.Model(inputs, layers.CycleShift(side, size)(inputs))(x)
            np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("border, pad", [("zeros", "constant"), ("replicate", "edge")])
@pytest.mark.parametrize("moves", [("left", "right", "up", "down"), ("down", "up", "right", "left"), ("up",), ()])
def test_pixel_shift_moves_each_group_to_its_side(moves, border, pad):
    """Group by group against the definition, at known sizes and unknown ones, and on maps of one row or column."""
    sides = {"left": (0, 1), "right": (0, -1), "up": (1, 0), "down": (-1, 0)}
    for size, channels, parts in (((4, 6), 11, 5), ((1, 3), 8, 4), ((5, 1), 9, 4), ((3, 3), 3, 4)):
        x = np.random.RandomState(0).standard_normal((2, *size, channels)).astype("float32")
        expected, group = x.copy(), channels // parts
        for i, (rows, columns) in enumerate(sides[move] for move in moves):
            moved = np.pad(x[..., i * group : (i + 1) * group], ((0, 0), (1, 1), (1, 1), (0, 0)), pad)
            moved = moved[:, 1 + rows : 1 + rows + size[0], 1 + columns : 1 + columns + size[1]]
            expected[..., i * group : (i + 1) * group] = moved
        for shape in (x.shape[1:], (None, None, channels)):
            inputs, layer = keras.Input(shape), layers.PixelShift(parts, moves, border)
            np.testing.assert_array_equal(keras.Model(inputs, layer(inputs))(x), expected)


@pytest.mark.parametrize(
    "wrong, said",
    [
        (dict(parts=3), "at least 4.*parts=3"),
        (dict(parts=0, moves=()), "at least 1.*parts=0"),
        (dict(parts=4, moves=("up", "on")), r"\['down', 'left', 'right', 'up'\].*moves=\('up', 'on'\)"),
        (dict(parts=4, border="circular"), "border='circular'"),
    ],
)
def test_pixel_shift_names_what_it_does_not_know(wrong, said):
    with pytest.raises(ValueError, match=said):
        layers.PixelShift(**wrong)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "layer",
    [
        layers.AxialShift("height", 3),
        layers.CycleShift("width", 3),
        layers.PixelShift(5),
        layers.PixelShift(5, border="replicate"),
        hire_mlp.RegionPartition("width", 4, shift=2),
        hire_mlp.RegionPartition("height", 4, shift=1, shift_border="zeros", border="replicate"),
        lambda x: hire_mlp.RegionMerge("height", 2, shift=2)([x, tf.repeat(x, 2, axis=1)[:, :-1]]),
    ],
    ids=[
        "axial",
        "cycle",
        "pixel",
        "pixel with its border",
        "regions around the border",
        "regions of a continued map",
        "merge",
    ],
)
def test_gradients_of_shifts_and_regions_have_no_strided_slices(layer, known):
    """TensorFlow is several times slower at the gradient of a strided slice; and `w · L z = (Lᵀ w) · z`."""
    x, z = (np.random.RandomState(seed).standard_normal((2, 6, 7, 6)).astype("float32") for seed in (0, 1))

    def weighted(x):
        y = layer(x)
        return tf.reduce_sum(y * tf.reshape(tf.cos(tf.range(tf.size(y), dtype="float32")), tf.shape(y)))

    @tf.function(input_signature=[tf.TensorSpec(x.shape if known else (None, None, None, 6))])
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            answer = weighted(x)
        return tape.gradient(answer, x)

    np.testing.assert_allclose(tf.reduce_sum(gradient(x) * z), weighted(tf.constant(z)), rtol=1e-4)
    assert "StridedSliceGrad" not in {op.type for op in gradient.get_concrete_function().graph.get_operations()}
