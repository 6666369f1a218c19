"""AS-MLP's layers of its own."""

import keras
import numpy as np
import pytest

from keras_mlp.families import as_mlp


@pytest.mark.parametrize("height, width", [(4, 6), (5, 6), (4, 7), (5, 7)])
def test_patch_merging_puts_four_neighbours_side_by_side(height, width):
    """At known sizes and unknown ones; an odd side is filled with zeros."""
    x = np.random.RandomState(0).standard_normal((2, height, width, 3)).astype("float32")
    whole = np.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    cells = whole.reshape(2, whole.shape[1] // 2, 2, whole.shape[2] // 2, 2, 3)
    expected = np.concatenate([cells[:, :, r, :, c] for c in (0, 1) for r in (0, 1)], axis=-1)
    for shape in ((height, width, 3), (None, None, 3)):
        inputs = keras.Input(shape)
        outputs = as_mlp.PatchMerging()(inputs)
        np.testing.assert_array_equal(keras.Model(inputs, outputs)(x), expected)
