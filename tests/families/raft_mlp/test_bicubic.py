"""RaftMLP's resizing of maps."""

import keras
import numpy as np
import pytest

from keras_mlp.families import raft_mlp


def test_bicubic_resizing_keeps_constants_and_ramps():
    """Exactly PyTorch's answers are held by RaftMLP's golden cases of other sizes."""
    rows = np.broadcast_to(np.arange(12.0)[None, :, None, None], (1, 12, 5, 2))
    x = keras.Input((12, 5, 2), dtype="float64")
    layer = raft_mlp.BicubicResize((24, 7), dtype="float64")
    resized = np.asarray(keras.Model(x, layer(x))(rows))
    assert resized.shape == (1, 24, 7, 2)
    np.testing.assert_allclose(resized[0, 4:-4, 3, 0], (np.arange(24)[4:-4] + 0.5) / 2 - 0.5, atol=0.05)
    np.testing.assert_allclose(resized, np.broadcast_to(resized[:, :, :1, :1], resized.shape), atol=1e-12)
    np.testing.assert_array_equal(raft_mlp.BicubicResize((12, 5), dtype="float64")(rows), rows)
    back = raft_mlp.BicubicResize(dtype="float64")(resized, rows)
    assert back.shape == rows.shape
    assert raft_mlp.BicubicResize(multiple=4)(rows).shape == (1, 12, 8, 2)


def test_bicubic_resizing_needs_one_size_to_go_to_and_a_known_one_to_come_from():
    x = np.zeros((1, 4, 4, 1), "float32")
    with pytest.raises(ValueError, match="not both"):
        raft_mlp.BicubicResize(size=(2, 2), multiple=2)
    for layer, arguments in ((raft_mlp.BicubicResize(), (x,)), (raft_mlp.BicubicResize((2, 2)), (x, x))):
        with pytest.raises(ValueError, match="not both"):
            layer(*arguments)
    with pytest.raises(ValueError, match="static `input_shape`"):
        raft_mlp.BicubicResize((2, 2))(keras.Input((None, 4, 1)))
