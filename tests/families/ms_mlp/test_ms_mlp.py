"""MS-MLP's layer of its own."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mlp.families import ms_mlp


def along(x, shift, axis, kernel, bias):
    """Moved around the end, then mixed in windows with zeros around the moved map: `(height, width, channels)`."""
    moved, half = np.roll(x, shift, axis), len(kernel) // 2
    padded, y = np.pad(moved, ((half, half), (half, half), (0, 0))), np.zeros(x.shape)
    for i, row in enumerate(kernel):
        for j, tap in enumerate(row):
            y += tap[:, 0] * padded[i : i + x.shape[0], j : j + x.shape[1]]
    return y + bias


@pytest.mark.parametrize("size", [(6, 7), (2, 3), (1, 8)])
def test_mix_shift_moves_the_pieces_and_then_mixes_them(size):
    """Channels that make no equal pieces, maps smaller than the distances, at known sizes and unknown ones."""
    draw = np.random.RandomState(0)
    x = draw.standard_normal((2, *size, 8))
    layer = ms_mlp.MixShift((-4, 0, 3), (1, 5, 3), dtype="float64")
    expected = np.asarray(layer(x))
    pieces = (slice(0, 3), slice(3, 6), slice(6, 8))
    for image, answer in zip(x, expected, strict=True):
        for g, (shift, piece) in enumerate(zip(layer.shifts, pieces, strict=True)):
            y = sum(
                along(image[..., piece], shift, axis, *map(np.asarray, (convolution.kernel, convolution.bias)))
                for axis, convolution in ((1, layer.width[g]), (0, layer.height[g]))
            )
            np.testing.assert_allclose(answer[..., piece], y, atol=1e-12)
    unknown = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 8), "float64")])
    np.testing.assert_allclose(unknown(x), expected, atol=1e-12)


@pytest.mark.parametrize(
    "shifts, sizes, message",
    [
        ((1, 2), (3,), "for each piece.*Received"),
        ((), (), "for each piece.*Received"),
        ((1, 2), (3, 4), "odd.*Received"),
        ((-2, -1, 0, 1, 2), (1, 1, 3, 5, 7), "only 4. Use more channels"),  # where the authors' code raises IndexError
    ],
)
def test_pieces_that_cannot_be_are_refused(shifts, sizes, message):
    with pytest.raises(ValueError, match=message):
        ms_mlp.MixShift(shifts, sizes).build((None, 4, 4, 16))
