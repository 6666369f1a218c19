"""Patches, pooling and windows: sizes that are known or not, and sizes that do not fit."""

import keras
import numpy as np
import pytest

from keras_mlp import layers
from keras_mlp.families import as_mlp
from keras_mlp.layers import windows


@pytest.mark.parametrize("shape", [(None, None, None, 3), (None, 4, None, 3), (None, 16, 3)])
def test_grid_layers_need_a_known_grid(shape):
    with pytest.raises(ValueError, match=r"TokenMLP mixes the positions of a fixed grid.*static `input_shape`"):
        layers.TokenMLP(4)(keras.Input(shape[1:]))


def test_patch_embedding_is_a_linear_map_of_each_patch():
    layer = layers.PatchEmbedding(5, 2)
    x = np.random.RandomState(0).standard_normal((1, 4, 6, 3)).astype("float32")
    answer = layer(x)
    patch = x[0, 2:4, 4:6].reshape(-1)
    np.testing.assert_allclose(answer[0, 1, 2], patch @ np.asarray(layer.kernel).reshape(-1, 5), atol=1e-5)


@pytest.mark.parametrize("size, near", [((30, 32), "height=30. The nearest that work: 28 and 32"), ((32, 3), "4")])
def test_patch_embedding_refuses_sizes_that_would_be_cut(size, near):
    with pytest.raises(ValueError, match=near):
        layers.PatchEmbedding(8, 4)(keras.Input((*size, 3)))


@pytest.mark.parametrize("patch_size", [0, 2.0, (4,), (4, 0), True])
@pytest.mark.parametrize("cls, dim", [(layers.PatchEmbedding, (8,)), (as_mlp.PadToPatches, ())])
def test_patches_have_a_height_and_a_width(cls, dim, patch_size):
    with pytest.raises(ValueError, match=r"`patch_size` must be a positive integer or a pair.*Received: "):
        cls(*dim, patch_size)


def test_patches_that_are_not_square_name_the_side_that_does_not_fit():
    layer = layers.PatchEmbedding(8, (4, 6))
    assert layer(keras.Input((None, 12, 3))).shape == (None, None, 2, 8)
    with pytest.raises(ValueError, match=r"patch size \(4, 6\). Received: width=16. The nearest that work: 12 and 18"):
        layer(keras.Input((8, 16, 3)))
    x = np.ones((1, 5, 7, 2), "float32")
    assert (
        as_mlp.PadToPatches((4, 6))(x).shape
        == as_mlp.PadToPatches((4, 6)).compute_output_shape(x.shape)
        == (1, 8, 12, 2)
    )


def test_patch_embedding_takes_unknown_sizes():
    assert layers.PatchEmbedding(8, 4)(keras.Input((None, None, 3))).shape == (None, None, None, 8)


@pytest.mark.parametrize("size, stride", [(3, 2), (3, 1), (5, 3), (1, 2)])
def test_maxima_at_the_border_are_those_of_what_lies_inside(size, stride):
    """On maps of odd and of even size, known and unknown."""
    x, half = np.random.RandomState(0).standard_normal((2, 7, 6, 3)) - 5, size // 2
    rows, columns = range(0, 7, stride), range(0, 6, stride)
    around = [
        [x[:, max(i - half, 0) : i + half + 1, max(j - half, 0) : j + half + 1].max((1, 2)) for j in columns]
        for i in rows
    ]
    expected = np.moveaxis(around, 2, 0)
    for shape in ((7, 6, 3), (None, None, 3)):
        inputs = keras.Input(shape, dtype="float64")
        pooled = layers.PaddedMaxPooling(size, stride, dtype="float64")(inputs)
        np.testing.assert_array_equal(keras.Model(inputs, pooled)(x), expected)
    with pytest.raises(ValueError, match="odd number. Received: size=4"):
        layers.PaddedMaxPooling(4)


@pytest.mark.parametrize("size", [3, (2, 3), (6, 1), (6, 9)])
def test_windows_need_not_be_square_and_lead_back_to_the_map(size):
    x, (rows, columns) = (
        np.random.RandomState(0).standard_normal((2, 6, 9, 4)),
        size if isinstance(size, tuple) else (3, 3),
    )
    cut = np.asarray(windows.cut_windows(x, size))
    first = [
        x[:, i : i + rows, j : j + columns].reshape(2, -1, 4) for i in range(0, 6, rows) for j in range(0, 9, columns)
    ]
    np.testing.assert_array_equal(cut, np.stack(first, axis=1))
    np.testing.assert_array_equal(windows.join_windows(cut, size, 6, 9), x)
