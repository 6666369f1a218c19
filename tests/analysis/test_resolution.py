"""Classifiers on images of other sizes than their own."""

import golden
import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.analysis import plot_resolution, resolution
from keras_mlp.analysis.resolution import OWN, TUNED, WAYS, resize_between_corners, resize_maps, ways_for

PATCH, SIZE = 4, (16, 24)
IMAGES = np.random.default_rng(0).uniform(0, 255, (12, *SIZE, 3)).astype("float32")


def mixer(**options):
    keras.utils.set_random_seed(0)
    small = dict(patch_size=PATCH, dim=16, depth=2, input_shape=(*SIZE, 3), classes=3, classifier_activation=None)
    model = keras_mlp.MLPMixer(**small | options)
    if model.layers[-1].name == "head":  # which begins as zeros
        model.layers[-1].kernel.assign(np.random.default_rng(0).normal(size=model.layers[-1].kernel.shape))
    return model


def enlarged(size):
    """The images with each patch as often as a larger size has room for."""
    times = [new // old for new, old in zip(size, SIZE, strict=True)]
    rows, columns = (side // PATCH for side in SIZE)
    patches = IMAGES.reshape(-1, rows, PATCH, columns, PATCH, 3)
    return patches.repeat(times[0], axis=1).repeat(times[1], axis=3).reshape(-1, *size, 3)


def test_a_mixer_sees_an_image_of_enlarged_patches_as_it_saw_the_image(tmp_path):
    """What `keras_mlp.resize` promises, measured; the labels are what the model says, but for two."""
    model, larger = mixer(), (32, 48)
    labels = np.asarray(model(IMAGES)).argmax(-1)
    assert len(set(labels)) > 1
    labels[:2] = (labels[:2] + 1) % 3
    found = resolution(model, enlarged, [SIZE, larger], labels)
    assert [(one.height, one.way) for one in found] == [(16, OWN), *((32, way) for way in ways_for(model))]
    by_way = {one.way: one for one in found}
    assert by_way[OWN].agreement == by_way["weights resampled"].agreement == 1
    assert by_way[OWN].accuracy == by_way["weights resampled"].accuracy == pytest.approx(10 / 12)
    plot_resolution({"mixer": found}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_is_tuned_at_each_other_size_and_measured_after_it():
    tuned = []

    def tune(model, size):
        tuned.append((size, model.input_shape[1:3]))
        model.get_layer("head").bias.assign([0, 1e6, 0])

    found = resolution(mixer(), enlarged, [(16, 48), (32, 24)], np.ones(12), {}, tune)
    assert tuned == [((16, 48), (16, 48)), ((32, 24), (32, 24))]
    assert [one.accuracy for one in found if one.way == TUNED] == [1, 1]


def test_resized_maps_leave_all_weights_as_they_are():
    """Where nothing is tied to the size, as in the second model, they are what `keras_mlp.resize` gives."""
    model = mixer()
    larger = resize_maps(model, (24, 40))
    for one, other in zip(model.get_weights(), larger.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    images = np.random.default_rng(1).uniform(0, 255, (2, 24, 40, 3)).astype("float32")
    assert np.abs(larger(images) - keras_mlp.resize(model, (24, 40))(images)).max() > 1e-4
    free = keras_mlp.ASMLP(patch_size=4, dim=6, depths=(1,), shift_size=3, input_shape=(*SIZE, 3), classes=3)
    answers = [way(free, (24, 40))(images) for way in (resize_maps, keras_mlp.resize)]
    np.testing.assert_array_equal(*answers)


def test_embeddings_between_corners_are_those_that_scipy_makes_for_vits_authors():
    """`scipy.ndimage.zoom` of order 1; the class token in front keeps its own, and all else is as of `resize`."""
    ndimage = pytest.importorskip("scipy.ndimage", reason="needs SciPy")
    options = dict(patch_size=4, dim=6, depth=1, heads=2, input_shape=(*SIZE, 3), classes=3)
    model = keras_mlp.ViT(**options)
    assert resize_between_corners in ways_for(model).values()
    larger, usual = resize_between_corners(model, (28, 40)), keras_mlp.resize(model, (28, 40))
    first, *positions = np.asarray(model.get_layer("position").embedding)
    zoomed = ndimage.zoom(np.reshape(positions, (4, 6, 6)), (7 / 4, 10 / 6, 1), order=1)
    embedding = larger.get_layer("position").embedding
    np.testing.assert_allclose(embedding, np.concatenate([first[None], zoomed.reshape(-1, 6)]), atol=1e-6)
    assert np.abs(embedding - usual.get_layer("position").embedding).max() > 1e-4
    others = [
        [variable for variable in one.weights if not variable.path.endswith("embedding")] for one in (larger, usual)
    ]
    for one, other in zip(*others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_measured_is_told():
    with pytest.raises(ValueError, match="'mlp_mixer' has no sequence of tokens with embeddings of positions"):
        resize_between_corners(mixer(), (32, 48))
    with pytest.raises(ValueError, match="mixes the positions of a sequence"):
        resize_maps(golden.build(golden.small("feed_forward"), load=False), (48, 48))
    with pytest.raises(ValueError, match="`labels` must be one an image"):
        resolution(mixer(), enlarged, [], [0])
    for options in (dict(include_top=False), dict(classes=1)):
        with pytest.raises(ValueError, match="must be a classifier of images of one size"):
            resolution(mixer(**options), enlarged, [])
    with pytest.raises(ValueError, match="must be a multiple of the patch size 4"):
        resolution(mixer(), enlarged, [(17, 24)])
    for way in WAYS.values():
        with pytest.raises(ValueError, match="`size` must be two positive integers, .* Received: size=32"):
            way(mixer(), 32)
    with pytest.raises(ValueError, match="Received: size=32"):
        resolution(mixer(), enlarged, [32])
