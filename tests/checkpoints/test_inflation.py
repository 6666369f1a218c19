"""Video models that begin with the weights of image models."""

import keras
import numpy as np
import pytest

import keras_mlp

MORPH = dict(dims=(12, 24), depths=(1, 1), chunks=(4, 4), mlp_ratios=(2, 2))
MVIT = dict(dims=(8, 16), depths=(1, 1), heads=(1, 2), strides=(1, 2), key_stride=2, class_token=True)
V1 = dict(all_queries=False, residual_pooling=False, widen_in_attention=False)


def randomised(model):
    """The model with other weights than those that it begins with."""
    random = np.random.default_rng(0)
    model.set_weights([array + 0.1 * random.normal(size=array.shape) for array in model.get_weights()])
    return model


def both(image, video, config, size=32, classes=(3, 3), **video_config):
    """An image model and a video model of one configuration, without preprocessing, which may differ."""
    models = (
        builder(**config, **more, input_shape=shape, classes=count, include_preprocessing=False)
        for builder, shape, count, more in zip(
            (image, video), ((size, size, 3), (4, size, size, 3)), classes, ({}, video_config), strict=True
        )
    )
    first, second = models
    return randomised(first), second


def still(model, frames=4):
    picture = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype("float32")
    return picture, np.repeat(picture[:, None], frames, 1)


def test_a_video_that_stands_still_is_first_what_its_image_is():
    """Where both are normalised alike, which the published ones are not."""
    image, video = both(keras_mlp.MorphMLP, keras_mlp.MorphMLPVideo, MORPH)
    left = keras_mlp.inflate(image, video, kernels="middle")
    assert left and all("_temporal" in name for name in left)
    picture, clip = still(video)
    np.testing.assert_allclose(video(clip), image(picture), atol=1e-4)


def test_by_default_a_kernel_is_shared_out_among_the_frames():
    image, video = both(keras_mlp.MorphMLP, keras_mlp.MorphMLPVideo, MORPH)
    keras_mlp.inflate(image, video)
    kernel = np.asarray(video.get_layer("stem_conv1").kernel)
    expected = np.asarray(image.get_layer("stem_conv1").kernel)
    assert kernel.shape == (3, *expected.shape)
    np.testing.assert_allclose(kernel, np.repeat(expected[None] / 3, 3, 0), rtol=1e-6)


@pytest.mark.parametrize("positions", ["joint", "separable", "relative"])
def test_embeddings_of_places_are_those_of_the_image_in_all_frames(positions):
    config = MVIT | (V1 if positions != "relative" else {})
    video_positions = "separable" if positions == "joint" else positions
    image = randomised(keras_mlp.MViT(**config, positions=positions, input_shape=(32, 32, 3), classes=3))
    video = keras_mlp.MViTVideo(**config, positions=video_positions, input_shape=(4, 32, 32, 3), classes=5)
    left = keras_mlp.inflate(image, video)
    assert all(name.startswith("head") for name in left)
    if positions == "relative":
        ours, theirs = (model.get_layer("blocks_0_attention").tables for model in (video, image))
        assert not np.any(ours[0])
        np.testing.assert_array_equal(ours[1], theirs[0])
        return
    ours, theirs = video.get_layer("position"), image.get_layer("position")
    if positions == "joint":
        np.testing.assert_array_equal(ours.places, np.asarray(theirs.embedding)[1:])
        np.testing.assert_array_equal(ours.of_tokens[0], np.asarray(theirs.embedding)[0])
        assert not np.any(ours.frames)
    else:
        np.testing.assert_array_equal(ours.places, theirs.places)
        np.testing.assert_array_equal(ours.frames, np.repeat(np.asarray(theirs.frames), 2, 0))


def test_models_that_do_not_fit_are_refused_and_stay_as_they_are():
    image, video = both(keras_mlp.MorphMLP, keras_mlp.MorphMLPVideo, MORPH, classes=(3, 5))
    other = keras_mlp.MorphMLPVideo(**MORPH | dict(dims=(16, 32)), input_shape=(4, 32, 32, 3), classes=5)
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"do not fit .*: stem_conv1/kernel is \(3, 3, 3, 6\) in the image model, "):
        keras_mlp.inflate(image, other)
    for array, same in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, same)
    with pytest.raises(ValueError, match=r"They take \(None, 4, 32, 32, 3\) and \(None, 32, 32, 3\)"):
        keras_mlp.inflate(video, image)
    with pytest.raises(ValueError, match=r"one of \('mean', 'middle'\). Received: kernels='sum'"):
        keras_mlp.inflate(image, video, kernels="sum")
    small = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="other")])
    with pytest.raises(ValueError, match="do not fit"):
        keras_mlp.inflate(small, video)
