"""Hire-MLP's regions."""

import keras
import numpy as np
import pytest

from keras_mlp.families import hire_mlp


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("side, axis", [("height", 1), ("width", 2)])
@pytest.mark.parametrize("shift, shift_border", [(0, "circular"), (2, "circular"), (2, "zeros")])
@pytest.mark.parametrize("border, mode", [("circular", "wrap"), ("replicate", "edge"), ("zeros", "constant")])
def test_regions_are_neighbours_of_the_moved_map_side_by_side(known, side, axis, shift, shift_border, border, mode):
    """Against NumPy's roll and pad; and back, where nothing was lost."""
    x = np.random.RandomState(0).standard_normal((2, 5, 7, 3)).astype("float32")
    moved = np.roll(x, shift, axis)
    if shift_border == "zeros":
        moved[(slice(None),) * axis + (slice(shift),)] = 0
    for size in (1, 2, 3, 4):
        missing = [(0, 0)] * 4
        missing[axis] = (0, -x.shape[axis] % size)
        whole = np.moveaxis(np.pad(moved, missing, mode=mode), axis, 1)
        expected = whole.reshape(2, -1, size, *whole.shape[2:]).swapaxes(2, 3)
        expected = np.moveaxis(expected.reshape(*expected.shape[:3], -1), 1, axis)
        inputs = keras.Input(x.shape[1:] if known else (None, None, 3))
        regions = hire_mlp.RegionPartition(side, size, shift, shift_border, border)(inputs)
        back = hire_mlp.RegionMerge(side, size, shift if shift_border == "circular" else 0)([regions, inputs])
        regions, back = keras.Model(inputs, [regions, back])(x)
        np.testing.assert_array_equal(regions, expected)
        np.testing.assert_array_equal(back, x if shift_border == "circular" else moved)


def test_regions_tell_what_they_cannot_do():
    for wrong in (dict(side="depth", size=3), dict(side="width", size=0), dict(side="width", size=2, border="mirror")):
        with pytest.raises(ValueError, match="must be"):
            hire_mlp.RegionPartition(**wrong)
    with pytest.raises(ValueError, match="at least 3 positions"):
        hire_mlp.RegionPartition("width", 4)(np.zeros((1, 8, 1, 3)))
