"""Two views of an image."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_mlp.training import data
from keras_mlp.training.data import views

SEED = tf.constant([1, 2])


def picture(size=32, channels=3):
    """Squares of all colours."""
    squares = np.random.default_rng(0).uniform(0, 255, (4, 4, channels))
    return tf.constant(np.kron(squares, np.ones((size // 4, size // 4, 1))), tf.float32)


def test_training_data_are_pairs_of_views_which_the_seed_decides(prepared, plain):
    recipe = dataclasses.replace(plain, random_resized_crop=(0.2, 1.0))
    options = dict(image_size=(16, 12), batch_size=128, recipe=recipe, data_dir=prepared, augmentation=views.two_views)
    one, same, other = (next(iter(data.load("digits", seed=seed, **options).dataset)) for seed in (1, 1, 2))
    (first, second), labels = one
    assert first.shape == second.shape == (128, 16, 12, 3) and labels.shape == (128, 10)
    assert min(map(np.min, (first, second))) >= 0 and max(map(np.max, (first, second))) <= 255
    assert np.abs(first - second).mean() > 5
    np.testing.assert_array_equal(first, same[0][0])
    assert np.abs(first - other[0][0]).max() > 0


def test_a_blur_keeps_the_mean_and_hides_what_is_small():
    noise = tf.constant(np.random.default_rng(0).uniform(0, 255, (56, 64, 3)), tf.float32)
    found = views.gaussian_blur(noise, SEED, 2.0, 2.0)
    deviation = 2 * 56 / 224
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * deviation**2))
    taps /= taps.sum()
    expected = np.einsum("i,j,ijc->c", taps, taps, noise[20:27, 30:37])
    np.testing.assert_allclose(found[23, 33], expected, rtol=0.01)  # its tails are cut off elsewhere
    assert float(tf.reduce_mean(found)) == pytest.approx(float(tf.reduce_mean(noise)), rel=0.01)


def test_colours_are_jittered_within_their_bounds():
    image = picture().numpy()

    def jitter(*bounds, image=image):
        return views.colour_jitter(tf.constant(image), SEED, *bounds).numpy()

    np.testing.assert_allclose(jitter(0.0, 0.0, 0.0, 0.0), image, atol=0.1)
    dim = image / 2
    factors = jitter(0.4, 0.0, 0.0, 0.0, image=dim)[dim > 1] / dim[dim > 1]
    assert np.ptp(factors) < 1e-3 and 0.6 <= factors[0] <= 1.4 and abs(factors[0] - 1) > 0.01
    grey = tf.image.rgb_to_grayscale(image)
    np.testing.assert_allclose(tf.image.rgb_to_grayscale(jitter(0.0, 0.0, 0.1, 0.0)), grey, atol=4)
    turned = jitter(0.0, 0.0, 0.0, 0.1)
    assert np.abs(turned - image).max() > 5
    for side in (tf.reduce_max, tf.reduce_min):  # the hue alone
        np.testing.assert_allclose(side(turned, -1), side(image, -1), atol=0.1)
    assert jitter(0.4, 0.4, 0.2, 0.1, image=picture(channels=1)).shape == (32, 32, 1)


def test_the_first_view_is_always_blurred_and_the_second_alone_is_solarised(plain, monkeypatch):
    monkeypatch.setattr(views, "BLUR", (6.0, 6.0))
    noise = tf.constant(np.random.default_rng(0).uniform(215, 255, (64, 64, 3)), tf.float32)

    @tf.function
    def pair(seed):
        return views.two_views(noise, seed, (64, 64), plain, "bilinear")

    first, second = zip(*([view.numpy() for view in pair(tf.constant([0, i]))] for i in range(60)), strict=True)

    def roughness(views):
        return np.median([np.abs(np.diff(view, axis=0)).mean() for view in views])

    def dark(views):
        return np.mean([view.mean() < 128 for view in views])

    assert roughness(first) < 0.7 * roughness(second)
    assert dark(first) == 0 and 0.05 < dark(second) < 0.4
