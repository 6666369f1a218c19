"""Bicubic resizing of maps, as PyTorch does it."""

import keras
import numpy as np
import pytest

from keras_mlp.layers import BicubicResize


def test_bicubic_resizing_keeps_constants_and_ramps():
    """Exactly PyTorch's answers are held by RaftMLP's golden cases of other sizes."""
    rows = np.broadcast_to(np.arange(12.0)[None, :, None, None], (1, 12, 5, 2))
    x = keras.Input((12, 5, 2), dtype="float64")
    layer = BicubicResize((24, 7), dtype="float64")
    resized = np.asarray(keras.Model(x, layer(x))(rows))
    assert resized.shape == (1, 24, 7, 2)
    np.testing.assert_allclose(resized[0, 4:-4, 3, 0], (np.arange(24)[4:-4] + 0.5) / 2 - 0.5, atol=0.05)
    np.testing.assert_allclose(resized, np.broadcast_to(resized[:, :, :1, :1], resized.shape), atol=1e-12)
    np.testing.assert_array_equal(BicubicResize((12, 5), dtype="float64")(rows), rows)
    back = BicubicResize(dtype="float64")(resized, rows)
    assert back.shape == rows.shape
    assert BicubicResize(multiple=4)(rows).shape == (1, 12, 8, 2)


def test_bicubic_resizing_needs_one_size_to_go_to_and_a_known_one_to_come_from():
    x = np.zeros((1, 4, 4, 1), "float32")
    with pytest.raises(ValueError, match="not both"):
        BicubicResize(size=(2, 2), multiple=2)
    for layer, arguments in ((BicubicResize(), (x,)), (BicubicResize((2, 2)), (x, x))):
        with pytest.raises(ValueError, match="not both"):
            layer(*arguments)
    with pytest.raises(ValueError, match="static `input_shape`"):
        BicubicResize(multiple=2)(keras.Input((None, 4, 1)))


@pytest.mark.parametrize("size", [(9, 5), (3, 8), (4, 7), (1, 2)])
def test_maps_of_unknown_size_are_resized_as_those_of_known_size(size):
    x = np.random.RandomState(0).standard_normal((2, *size, 3))
    source, layer = keras.Input((None, None, 3), dtype="float64"), BicubicResize((4, 7), dtype="float64")
    unknown = keras.Model(source, layer(source))
    assert unknown.output.shape == (None, 4, 7, 3)
    np.testing.assert_allclose(unknown(x), layer(x), atol=1e-12)
