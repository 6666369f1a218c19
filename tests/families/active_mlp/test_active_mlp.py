"""ActiveMLP's layer of its own, and what its builder refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mlp
from keras_mlp.families import active_mlp


def read(line, place):
    """A line `(length, channels)` at a real place: what is around is zero, what is between is on a straight line."""
    weights = np.maximum(0, 1 - np.abs(place - np.arange(len(line))))
    return weights @ line


@pytest.mark.parametrize("channels, share", [(4, 1), (4, 2), (8, 4), (3, 2)])
@pytest.mark.parametrize("size", [(5, 7), (1, 3)])
def test_channels_are_read_at_their_distances(size, channels, share):
    """At known sizes and unknown ones; far outside, at whole numbers, and where both axes share a distance."""
    draw = np.random.RandomState(0)
    x = draw.standard_normal((2, *size, channels))
    distances = 3 * draw.standard_normal((2, *size, 2 * channels // share))
    distances[0, 0, :2, 0] = 1e10, -1e10
    distances[1, :, 1] = np.round(distances[1, :, 1])
    width, height = active_mlp.ActiveShift(dtype="float64")([x, distances])
    of_channel = np.repeat(distances, share, axis=-1)
    for b, h, w, c in np.ndindex(x.shape):
        along_width, along_height = of_channel[b, h, w, c], of_channel[b, h, w, channels + c]
        np.testing.assert_allclose(width[b, h, w, c], read(x[b, h, :, c], w + along_width), atol=1e-12)
        np.testing.assert_allclose(height[b, h, w, c], read(x[b, :, w, c], h + along_height), atol=1e-12)
    signature = [[tf.TensorSpec((None, None, None, n), "float64") for n in (channels, distances.shape[-1])]]
    unknown = tf.function(active_mlp.ActiveShift(dtype="float64"), input_signature=signature)
    np.testing.assert_array_equal(unknown([x, distances]), [width, height])


def test_a_longer_distance_changes_the_reading_by_the_slope_between_two_positions():
    """The gradient of the distances, which a position passes to its neighbours."""
    x, distance = np.array([1.0, 4.0, 2.0]), tf.constant([0.5, 2.25, 0.0])
    with tf.GradientTape() as tape:
        tape.watch(distance)
        both = tf.stack([distance, tf.zeros(3)], axis=-1)[None, None]
        width, _ = active_mlp.ActiveShift()([x[None, None, :, None], both])
    np.testing.assert_allclose(np.ravel(width), [2.5, 0.0, 2.0], atol=1e-6)
    # From 1 to 4; from beyond the end, where all is zero; from 2 to the zero after the end.
    np.testing.assert_allclose(tape.gradient(width, distance), [3.0, 0.0, -2.0], atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_distances_are_computed_and_kept_in_full_precision(policy):
    keras.config.set_dtype_policy(policy)
    small = dict(dims=(8, 8), depths=(2, 2), mlp_ratios=(1, 1), share=(2, 2), include_top=False)
    model = keras_mlp.ActiveMLP(**small, input_shape=(32, 32, 3))
    assert model.get_layer("stages_0_0_distances").output.dtype == "float32"
    shift = model.get_layer("stages_0_0_token_mixing_shift")
    x, distances = np.eye(64)[None, :, :, None], np.full((1, 64, 64, 2), 3 + 1 / 1024)  # more digits than 16 bits have
    width, height = shift([x, distances])
    assert width.dtype == height.dtype == model.output.dtype == policy.removeprefix("mixed_")
    assert float(width[0, 50, 46, 0]) == float(height[0, 46, 50, 0]) == 1 / 1024


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(depths=(2, 1, 4, 2)), "at least 2 blocks.*Received: depths=.2, 1, 4, 2"),
        (dict(interval=0), "Received: interval=0"),
        (dict(share=(2, 4, 4, 7)), "divisors of twice the widths.*share=.2, 4, 4, 7"),
    ],
)
def test_what_cannot_be_built_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        keras_mlp.ActiveMLP(**wrong)


def test_distances_that_are_not_shared_evenly_are_refused():
    with pytest.raises(ValueError, match="4 channels.*Received: 3 distances"):
        active_mlp.ActiveShift()([np.zeros((1, 2, 2, 4)), np.zeros((1, 2, 2, 3))])
