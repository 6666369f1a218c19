"""FeedForward: what another input size changes, and what it leaves."""

import golden
import numpy as np

import keras_mlp


def test_another_size_leaves_the_class_token_and_the_table_as_they_are():
    """The scale of the norm along the tokens, and its shift, are those of the nearest position."""
    case = golden.load("feed_forward/tiny.json")
    model = golden.build(case)
    larger = keras_mlp.resize(model, (448, 224))
    old, new = [m.get_layer("blocks_0_token_mixing") for m in (model, larger)]
    assert (old.grid, new.grid, new.fc1.units) == ((7, 7), (14, 7), old.fc1.units)
    np.testing.assert_array_equal(new.fc1.kernel[0], old.fc1.kernel[0])
    np.testing.assert_array_equal(new.fc2.bias[0], old.fc2.bias[0])
    scale = np.repeat(np.reshape(old.norm.gamma[1:], (7, 7)), 2, axis=0)
    np.testing.assert_array_equal(new.norm.gamma[1:], scale.reshape(-1))
    for before, after in zip(model.get_layer("position").weights, larger.get_layer("position").weights, strict=True):
        np.testing.assert_array_equal(after, before)


def test_the_width_along_the_tokens_is_that_of_224_pixels_whatever_the_size_is():
    small = keras_mlp.FeedForwardTiny(weights=None, input_shape=(96, 64, 3), include_top=False)
    assert small.get_layer("blocks_11_token_mixing").fc1.units == 4 * (1 + 14 * 14)
    assert small.output.shape == (None, 6, 4, 192)
