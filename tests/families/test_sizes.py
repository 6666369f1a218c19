"""Input sizes: families free of the grid take any, the others say what works."""

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mlp
from keras_mlp.zoo import FAMILIES

ANY_SIZE = [
    case for case in golden.tiny() if golden.REFERENCES[case.family].ANY_SIZE and vars(case).get("any_size", True)
]
SMALL = {golden.small(family).key for family in FAMILIES}


@pytest.mark.parametrize("case", golden.chosen(ANY_SIZE, SMALL, *golden.HUGE))
def test_a_model_of_unknown_size_computes_like_the_reference(case):
    """With odd and oblong images, too, and on its way to the answer it has passed its pyramid's maps."""
    *frames, _, _, channels = case.input_shape[1:]
    model = golden.build(case, input_shape=(*frames, None, None, channels))
    assert case.error(model(case.images())) <= 1e-4
    *_, last = keras_mlp.feature_pyramid(model)(case.images()).values()
    top = keras.Model(keras_mlp.feature_pyramid(model).outputs[-1], model.output)
    assert case.error(top(last)) <= 1e-4


@pytest.mark.parametrize(
    "stages", [((("conv", 1),), (("conv", 2),)), ((("conv", 1),), (("attention", 1),))], ids=["conv", "attention"]
)
def test_families_without_a_grid_take_images_of_unknown_size(stages):
    arguments = dict(patch_size=4, dim=16, stages=stages, heads=2, include_top=False)
    anything = keras_mlp.feature_pyramid(keras_mlp.SPACH(**arguments, input_shape=(None, None, 3)))
    known = keras_mlp.SPACH(**arguments, input_shape=(24, 40, 3))
    known.set_weights(anything.get_weights())
    images = np.random.RandomState(0).uniform(0, 255, (2, 24, 40, 3)).astype("float32")
    expected = keras_mlp.feature_pyramid(known)(images)
    assert {name: tuple(tensor.shape) for name, tensor in expected.items()} == {
        "P2": (2, 6, 10, 16),
        "P3": (2, 3, 5, 32),
    }
    for name, features in anything(images).items():
        np.testing.assert_allclose(features, expected[name], atol=1e-5)


@pytest.mark.parametrize("size", [(32, 40), (33, 46), (50, 31)])
def test_as_mlp_takes_images_of_unknown_and_odd_sizes(size):
    """Zeros fill the last patches, and the last rows and columns that are merged, as in the authors' backbones."""
    arguments = dict(patch_size=4, dim=10, depths=(1, 1, 1), include_top=False)
    anything = keras_mlp.feature_pyramid(keras_mlp.ASMLP(**arguments, input_shape=(None, None, 3)))
    known = keras_mlp.ASMLP(**arguments, input_shape=(*size, 3))
    known.set_weights(anything.get_weights())
    images = np.random.RandomState(0).uniform(0, 255, (1, *size, 3)).astype("float32")
    expected = keras_mlp.feature_pyramid(known)(images)
    assert list(expected) == ["P2", "P3", "P4"]
    for k, (name, features) in enumerate(expected.items(), 2):
        assert features.shape[1:3] == tuple(-(-side // 2**k) for side in size)
        np.testing.assert_allclose(anything(images)[name], features, atol=1e-4)
        np.testing.assert_allclose(anything.predict(images, verbose=0)[name], features, atol=1e-4)


@pytest.mark.parametrize(
    "builder, options",
    [
        ("CycleMLP", dict(transitions=(True,) * 3)),
        ("HireMLP", dict(region_sizes=(3, 2, 2), shift_periods=(2, 2, 2), shift_sizes=(1, 1, 1))),
        ("WaveMLP", dict(transitions=(True,) * 3)),
    ],
)
@pytest.mark.parametrize("size", [pytest.param((48, 64), marks=golden.SLOW), (57, 38)])
def test_pyramids_of_overlapping_patches_are_the_same_at_unknown_sizes(builder, options, size):
    """Sides are rounded as convolutions with padding on both ends round them: down by the stem's, then up."""
    arguments = options | dict(dims=(8, 12, 16), depths=(2, 1, 2), mlp_ratios=(2, 2, 2), include_top=False)
    anything = keras_mlp.feature_pyramid(getattr(keras_mlp, builder)(**arguments, input_shape=(None, None, 3)))
    known = getattr(keras_mlp, builder)(**arguments, input_shape=(*size, 3))
    known.set_weights(anything.get_weights())
    images = np.random.RandomState(0).uniform(0, 255, (1, *size, 3)).astype("float32")
    expected = keras_mlp.feature_pyramid(known)(images)
    sides = [(side - 3) // 4 + 1 for side in size]
    for name in ("P2", "P3", "P4"):
        assert expected[name].shape[1:3] == tuple(sides)
        np.testing.assert_allclose(anything(images)[name], expected[name], atol=1e-4)
        np.testing.assert_allclose(anything.predict(images, verbose=0)[name], expected[name], atol=1e-4)
        sides = [-(-side // 2) for side in sides]
    assert list(expected) == ["P2", "P3", "P4"]


def test_morph_mlp_takes_images_of_unknown_size():
    """With chunks of the first stage that are a row each, and one and a half columns."""
    arguments = dict(dims=(12, 24), depths=(1, 1), chunks=(12, 4), mlp_ratios=(1, 1), include_top=False)
    anything = keras_mlp.feature_pyramid(keras_mlp.MorphMLP(**arguments, input_shape=(None, None, 3)))
    known = keras_mlp.MorphMLP(**arguments, input_shape=(32, 48, 3))
    known.set_weights(anything.get_weights())
    images = np.random.RandomState(0).uniform(0, 255, (3, 32, 48, 3)).astype("float32")
    expected = keras_mlp.feature_pyramid(known)(images)
    assert {name: features.shape for name, features in expected.items()} == {"P2": (3, 8, 12, 12), "P3": (3, 4, 6, 24)}
    unknown = tf.function(anything, input_signature=[tf.TensorSpec((None, None, None, 3))])
    for name, features in expected.items():
        np.testing.assert_allclose(anything(images)[name], features, atol=1e-5)
        np.testing.assert_allclose(unknown(images)[name], features, atol=1e-5)


def test_videos_may_be_of_unknown_size_but_not_length():
    arguments = dict(dims=(12, 24), depths=(1, 1), chunks=(12, 4), mlp_ratios=(1, 1), include_top=False)
    anything = keras_mlp.MorphMLPVideo(**arguments, input_shape=(6, None, None, 3))
    known = keras_mlp.MorphMLPVideo(**arguments, input_shape=(6, 32, 48, 3))
    for layer in known.layers:  # the frames' begin as zeros
        if "temporal_frames" in layer.name:
            layer.fc.kernel.assign(np.random.RandomState(0).standard_normal(layer.fc.kernel.shape))
    anything.set_weights(known.get_weights())
    videos = np.random.RandomState(0).uniform(0, 255, (2, 6, 32, 48, 3)).astype("float32")
    unknown = tf.function(anything, input_signature=[tf.TensorSpec((None, 6, None, None, 3))])
    for model in (anything, unknown):
        np.testing.assert_allclose(model(videos), known(videos), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="known number of frames"):
        keras_mlp.MorphMLPVideo(**arguments, input_shape=(None, 32, 48, 3))


def test_chunks_of_morph_mlp_never_run_on_into_the_next_image():
    """Twelve images of 4 x 4 positions make whole chunks of 12, but one of them does not."""
    model = keras_mlp.MorphMLP((12, 12), (1, 1), (12, 4), (1, 1), input_shape=(None, None, 3), include_top=False)
    images = np.zeros((12, 16, 16, 3), "float32")
    with pytest.raises(ValueError, match="length=12, 12 channels, 4 x 4 positions"):
        model(images)
    with pytest.raises(tf.errors.InvalidArgumentError, match="reshape"):
        tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3))])(images)


def test_posmlp_takes_whole_windows_of_images_of_unknown_size():
    arguments = dict(dims=(8, 16), depths=(1, 1), windows=(4, 2), groups=(2, 4), mlp_ratios=(2, 2), include_top=False)
    anything = keras_mlp.feature_pyramid(keras_mlp.PosMLP(**arguments, input_shape=(None, None, 3)))
    known = keras_mlp.PosMLP(**arguments, input_shape=(32, 62, 3))
    known.set_weights(anything.get_weights())
    images = np.random.RandomState(0).uniform(0, 255, (2, 32, 62, 3)).astype("float32")
    expected = keras_mlp.feature_pyramid(known)(images)
    assert {name: features.shape for name, features in expected.items()} == {"P2": (2, 8, 16, 8), "P3": (2, 4, 8, 16)}
    for name, features in expected.items():
        np.testing.assert_allclose(anything(images)[name], features, atol=1e-5)
        np.testing.assert_allclose(anything.predict(images, verbose=0)[name], features, atol=1e-5)


def test_raft_mlp_takes_any_known_size_with_its_own_padding():
    pyramid = keras_mlp.feature_pyramid(keras_mlp.RaftMLPS(weights=None, input_shape=(250, 190, 3)))
    assert [tensor.shape[1:3] for tensor in pyramid.output.values()] == [(63, 48), (32, 24), (16, 12), (8, 6)]


@pytest.mark.parametrize(
    "name", golden.chosen(["vip_small7", "dyna_mixer_s", "swat_mixer_ti"], ["vip_small7"], *golden.HUGE)
)
def test_grids_are_resampled_to_sizes_that_the_authors_code_does_not_take(name):
    model = keras_mlp.resize(keras_mlp.create_model(name, weights=None), (112, 336))
    assert np.isfinite(model(np.zeros((1, 112, 336, 3)))).all()


@pytest.mark.parametrize(
    "name, size, message",
    [
        ("posmlp_t", (224, 256), "width=256. The nearest that work: 224 and 445"),
        ("hat_net_tiny", (224, 256), "multiples of its window.*width=256. The nearest that work: 224 and 445"),
        ("repmlpnet_b256", (256, 300), "width=300. The nearest that work: 256 and 512"),
        ("repmlpnet_t224", (100, 224), "height=100. The nearest that work: 224"),
        ("vip_small7", (None, None), "static `input_shape`"),
        ("morph_mlp_t", (256, 256), r"chunk.*Received: the size \(256, 256\). .* work: \(224, 224\)"),
        ("morph_mlp_t", (224, 200), r"Received: the size \(224, 200\). .* work: \(224, 224\)"),
        ("raft_mlp_s", (None, 224), "static `input_shape`"),
        ("spach_mlp_xxs", (None, None), "static `input_shape`"),
        ("swat_mixer_ti", (None, None), "static `input_shape`"),
        ("swat_mixer_ti", (100, 112), "multiples of 16. Received: height=100. The nearest that work: 96 and 112"),
        (
            "swat_swin_t",
            (256, 256),
            "its window, 7. Received: height=256. The nearest that work: 224 and 448",
        ),
        ("gc_vit_xxtiny", (None, None), "static `input_shape`"),
        ("gc_vit_xxtiny", (224, 240), "multiples of 32. Received: width=240. The nearest that work: 224 and 256"),
        ("spach_conv_xxs", (100, 96), "height=100. The nearest that work: 96 and 112"),
    ],
)
def test_sizes_that_cannot_work_are_refused_with_those_that_do(name, size, message):
    with pytest.raises(ValueError, match=message):
        keras_mlp.create_model(name, weights=None, input_shape=(*size, 3))


def test_the_pyramid_of_a_model_in_two_precisions_has_that_of_the_model():
    model = keras_mlp.SPACH(
        patch_size=4, dim=16, stages=((("conv", 1),),), input_shape=(8, 8, 3), dtype="mixed_float16"
    )
    assert {tensor.dtype for tensor in keras_mlp.feature_pyramid(model).output.values()} == {"float16"}
    assert keras.config.dtype_policy().name == "float32"


def test_every_family_takes_images_of_unknown_size_or_says_that_it_cannot():
    refused = []
    for name, family in FAMILIES.items():
        if family.input == "image":
            case = golden.small(name)
            try:
                golden.build(case, input_shape=(None, None, case.input_shape[-1]))
            except ValueError as error:
                assert "Received: " in str(error), name
                refused.append(name)
    assert "feed_forward" in refused and "as_mlp" not in refused
