"""Feature pyramids: one map for each level, of every family."""

import golden
import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.zoo import FAMILIES


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_gives_its_levels(family):
    """Names by stride, finest first; the last is the map that the model without its top answers."""
    case = golden.small(family)
    builder, arguments = golden.arguments(case)
    model = builder(**arguments, include_top=False)
    pyramid = keras_mlp.feature_pyramid(model)
    maps = pyramid(case.images())
    assert list(maps) == sorted(maps) and all(name[0] == "P" for name in maps)
    *_, height, width, _ = case.input_shape
    for name, features in maps.items():
        near = 2 ** int(name[1:])
        for side, positions in ((height, features.shape[-3]), (width, features.shape[-2])):
            rounded_up = positions - 1 < side / near <= positions  # as often as sides are odd
            assert rounded_up or 2**-0.5 < side / positions / near < 2**0.5
    np.testing.assert_array_equal(list(maps.values())[-1], model(case.images()))


@pytest.mark.parametrize(
    "name, expected",
    [
        ("smlpnet_t", {"P2": (56, 56, 80), "P3": (28, 28, 160), "P4": (14, 14, 320), "P5": (7, 7, 640)}),
        ("vip_small7", {"P3": (32, 32, 192), "P4": (16, 16, 384)}),
        ("mlp_mixer_s16", {"P4": (14, 14, 512)}),
        (
            "morph_mlp_video_s16",
            {"P2": (8, 56, 56, 112), "P3": (8, 28, 28, 224), "P4": (8, 14, 14, 392), "P5": (8, 7, 7, 784)},
        ),
    ],
)
def test_published_models_have_the_levels_of_their_papers(name, expected):
    model = keras_mlp.create_model(name, weights=None)
    pyramid = keras_mlp.feature_pyramid(model)
    assert {key: tensor.shape[1:] for key, tensor in pyramid.output.items()} == expected
    assert pyramid.name == f"{name}_pyramid"


def test_a_level_ends_with_its_last_block():
    """And the pyramid shares its weights with the model: training one trains the other."""
    case = golden.load("smlp/tiny.json")
    model = golden.build(case)
    pyramid = keras_mlp.feature_pyramid(model)
    finest = next(iter(pyramid.output))
    end = keras.Model(model.input, model.get_layer("down_1").input)
    np.testing.assert_array_equal(pyramid(case.images())[finest], end(case.images()))
    model.get_layer("stem").kernel.assign(model.get_layer("stem").kernel * 2)
    np.testing.assert_array_equal(pyramid(case.images())[finest], end(case.images()))


def test_pyramids_survive_saving(tmp_path):
    case = golden.load("smlp/tiny.json")
    pyramid = keras_mlp.feature_pyramid(golden.build(case))
    pyramid.save(tmp_path / "pyramid.keras")
    loaded = keras.saving.load_model(tmp_path / "pyramid.keras")(case.images())
    for name, features in pyramid(case.images()).items():
        np.testing.assert_allclose(loaded[name], features, atol=1e-6)


def test_what_has_no_maps_is_refused():
    flat = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()])
    for model in (flat, keras.layers.Dense(3), None):
        with pytest.raises(ValueError, match="`model` must"):
            keras_mlp.feature_pyramid(model)


def test_a_backbone_within_other_models_gives_its_levels():
    """Behind augmentations, in a sequential model and in one within another; with weights that it shares."""
    case = golden.small("hire_mlp")
    builder, arguments = golden.arguments(case)
    shape, images = case.input_shape[1:], case.images()
    backbone = builder(**arguments, include_top=False)
    augmented = keras.Sequential([keras.Input(shape), keras.layers.RandomFlip(), keras.layers.Rescaling(2.0)])
    image = keras.Input(shape)
    nested = keras.Model(image, keras.layers.GlobalMaxPooling2D()(backbone(augmented(image) + 1)))
    deep = keras.Sequential([keras.Input(shape), nested, keras.layers.Dense(3)])
    expected = keras_mlp.feature_pyramid(backbone)(2 * images + 1)
    for model in (nested, deep):
        pyramid = keras_mlp.feature_pyramid(model)
        found = pyramid(images, training=False)
        assert pyramid.name == f"{model.name}_pyramid" and list(found) == list(expected)
        for name, features in expected.items():
            np.testing.assert_allclose(found[name], features, atol=1e-5)
        assert {id(weight) for weight in pyramid.weights} <= {id(weight) for weight in backbone.weights}


def test_of_several_backbones_and_of_wrapped_ones_it_is_said_how_to_reach_them():
    def backbone(name):
        return keras_mlp.MLPMixer(patch_size=8, dim=8, depth=1, input_shape=(32, 32, 3), include_top=False, name=name)

    image, film = keras.Input((32, 32, 3)), keras.Input((4, 32, 32, 3))
    two = keras.Model(image, keras.layers.Add()([backbone("one")(image), backbone("other")(image)]))
    with pytest.raises(ValueError, match=r"get_layer\('one'\) and model.get_layer\('other'\): take the pyramid of the"):
        keras_mlp.feature_pyramid(two)
    wrapped = keras.Model(film, keras.layers.TimeDistributed(backbone("one"), name="frames")(film))
    with pytest.raises(ValueError, match=r"has model.get_layer\('frames'\).layer: take"):
        keras_mlp.feature_pyramid(wrapped)
    assert keras_mlp.feature_pyramid(wrapped.get_layer("frames").layer).output["P3"].shape == (None, 4, 4, 8)
