"""How alike the maps of models are."""

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.analysis import plot_similarity, similarity

IMAGES = np.random.default_rng(0).uniform(0, 255, (24, 16, 16, 3)).astype("float32")


def mixer(seed, **options):
    keras.utils.set_random_seed(seed)
    return keras_mlp.MLPMixer(patch_size=4, dim=8, depth=2, input_shape=(16, 16, 3), classes=2, **options)


def test_a_model_is_like_itself_and_less_like_another(tmp_path):
    one, other = mixer(0), mixer(1)
    own = similarity(one, IMAGES, batch_size=8)
    assert own.rows == own.columns == ("stem", "blocks_0", "blocks_1", "norm")
    np.testing.assert_allclose(np.diag(own.values), 1, rtol=1e-6)
    np.testing.assert_allclose(own.values, own.values.T, atol=1e-9)
    crossed = similarity(one, IMAGES, other).values
    assert crossed.shape == (4, 4) and crossed.max() < 0.999 and crossed.min() >= 0
    plot_similarity(own, tmp_path / "similarity.png", ("one", "one"))
    assert (tmp_path / "similarity.png").read_bytes().startswith(b"\x89PNG")


def test_a_rotation_and_a_scale_of_the_channels_change_nothing_and_noise_does():
    """Kornblith et al., section 2.3. The estimate has no bias: independent maps are near 0 for any width."""
    image = keras.Input((4, 4, 64))
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(64, 64)))[0] * 3
    plain = keras.Model(image, keras.layers.Conv2D(64, 1, use_bias=False, name="last")(image))
    turned = keras.models.clone_model(plain)
    plain.get_layer("last").kernel.assign(np.eye(64)[None, None])
    turned.get_layer("last").kernel.assign(rotation[None, None])
    images = np.random.default_rng(2).normal(size=(32, 4, 4, 64)).astype("float32")
    assert similarity(plain, images, turned).values == pytest.approx(1, abs=1e-5)
    noise = keras.Model(image, keras.layers.Rescaling(0.0, name="none")(image))
    assert similarity(plain, images, noise).values == 0


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="must be at least 4"):
        similarity(mixer(0), IMAGES[:3])
