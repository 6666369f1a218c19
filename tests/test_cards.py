"""What cards compute: which frames of a video are looked at."""

import numpy as np
import pytest

import keras_mlp


def test_kinetics_takes_four_clips_of_every_fourth_frame_of_thirty_a_second():
    """The first begins at the beginning and the last ends at the end; they are as long in time at any rate."""
    sample = keras_mlp.model_card("morph_mlp_video_s16").preprocessing.sample
    frames = sample(300, 16)
    assert frames.shape == (4, 16)
    np.testing.assert_array_equal(frames[:, 0], [0, 78, 156, 234])
    np.testing.assert_array_equal(frames[:, -1], [63, 141, 219, 297])
    assert set(np.diff(frames)[0]) == {4, 5}
    np.testing.assert_array_equal(sample(150, 16, rate=15)[:, [0, -1]], [[0, 31], [39, 70], [78, 109], [117, 148]])


def test_something_something_takes_the_middle_of_equal_parts():
    """Reference: `get_seq_frames` of the authors' loader, one clip of 45 frames."""
    preprocessing = keras_mlp.model_card("morph_mlp_video_b16").weights["ssv1"].preprocessing
    expected = [round(44 / 16 * i) + int(44 / 16 / 2) for i in range(16)]
    np.testing.assert_array_equal(preprocessing.sample(45, 16), [expected])
    assert (preprocessing.crops, preprocessing.crop_pct, preprocessing.bgr) == (3, 1.0, True)


@pytest.mark.parametrize("length", [1, 3, 15])
@pytest.mark.parametrize("tag", ["k400", "ssv1"])
def test_frames_of_a_short_video_are_repeated(tag, length):
    preprocessing = keras_mlp.model_card("morph_mlp_video_b32").weights[tag].preprocessing
    frames = preprocessing.sample(length, 32)
    assert frames.min() == 0 and frames.max() <= length - 1 and (np.diff(frames) >= 0).all()


def test_videos_are_normalised_like_images():
    """Of black and white, on all axes of a video."""
    card = keras_mlp.model_card("morph_mlp_video_s16")
    pixels = np.stack([np.zeros((4, 2, 2, 3)), np.full((4, 2, 2, 3), 255.0)])
    normal = card.preprocess(pixels)
    assert normal.shape == pixels.shape
    np.testing.assert_allclose(normal[:, 0, 0, 0], [[-2] * 3, [0.55 / 0.225] * 3])
