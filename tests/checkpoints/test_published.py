"""`weights="imagenet"` as a user runs it: a real server has the published file, with the golden rule's values."""

import io
import urllib.parse

import golden
import numpy as np
import pytest

import keras_mlp
from keras_mlp.checkpoints import download

CASE = golden.load("mlp_mixer/mixer_s32_224_npz.json")
CARD = keras_mlp.model_card("mlp_mixer_s32")


@pytest.fixture(scope="module")
def published():
    file = io.BytesIO()
    np.savez(file, **CASE.state_dict())
    return file.getvalue()


@pytest.fixture
def mirror(server, cache, published, monkeypatch):
    """A mirror on loopback that has the best checkpoint of Mixer-S/32, and an empty cache."""
    url = urllib.parse.urlsplit(CARD.weights["imagenet"].url)
    server.files[f"/{url.netloc}{url.path}"] = published
    monkeypatch.setenv("KERAS_MLP_MIRROR", server.url)
    return server


def test_the_published_file_is_fetched_converted_once_and_computes_like_the_reference(mirror, cache):
    options = dict(include_preprocessing=False, classifier_activation=None)
    model = keras_mlp.MLPMixerS32(**options)
    assert CASE.error(model(CASE.images())) < 1e-3
    names = sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))
    stem = "mlp_mixer_s32-imagenet_gsam"
    assert names == [f"{stem}.keras_mlp.safetensors", f"{stem}.npz", f"{stem}.npz.json"]
    converted = (cache / names[0]).stat()

    again = keras_mlp.create_model("mlp_mixer_s32", weights="imagenet_gsam", name="mine", **options)
    np.testing.assert_array_equal(again(CASE.images()), model(CASE.images()))
    assert len(mirror.log) == 1
    assert (cache / names[0]).stat().st_mtime_ns == converted.st_mtime_ns

    larger = keras_mlp.MLPMixerS32(input_shape=(384, 320, 3), include_top=False)
    assert larger.output.shape == (None, 12, 10, 512)
    with pytest.raises(ValueError, match="new_head=True"):
        keras_mlp.MLPMixerS32(classes=5)
    fine_tune = keras_mlp.MLPMixerS32(classes=5, new_head=True)
    assert fine_tune.output.shape == (None, 5)
    np.testing.assert_array_equal(fine_tune.get_layer("norm").gamma, model.get_layer("norm").gamma)
    assert len(mirror.log) == 1


def test_a_damaged_conversion_is_made_again(mirror, cache):
    keras_mlp.MLPMixerS32(include_top=False)
    converted = cache / "mlp_mixer_s32-imagenet_gsam.keras_mlp.safetensors"
    size = converted.stat().st_size
    converted.write_bytes(converted.read_bytes()[:100])
    keras_mlp.MLPMixerS32(include_top=False)
    assert converted.stat().st_size == size


def test_a_file_of_another_model_is_an_error_and_never_a_random_model(mirror, cache):
    tiny = golden.load("mlp_mixer/tiny_npz.json")
    file = io.BytesIO()
    np.savez(file, **tiny.state_dict())
    (path,) = mirror.files
    mirror.files[path] = file.getvalue()
    with pytest.raises(ValueError, match=r"Missing from the checkpoint \(72\): blocks_2_norm1/gamma"):
        keras_mlp.MLPMixerS32()


def test_without_a_network_the_error_says_what_to_fetch_and_where_to_put_it(cache, monkeypatch):
    monkeypatch.setenv("KERAS_MLP_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(download.DownloadError) as error:
        keras_mlp.MLPMixerS32()
    message = str(error.value)
    assert CARD.weights["imagenet"].url in message
    assert str(cache / "mlp_mixer_s32-imagenet_gsam.npz") in message
    assert "`weights=`" in message and "KERAS_MLP_MIRROR" in message


def test_a_path_is_as_good_as_a_tag(published, tmp_path):
    (tmp_path / "anything").write_bytes(published)
    model = keras_mlp.MLPMixerS32(
        weights=tmp_path / "anything", include_preprocessing=False, classifier_activation=None
    )
    assert CASE.error(model(CASE.images())) < 1e-3
