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
        assert 2**-0.5 < height / features.shape[-3] / near < 2**0.5
        assert 2**-0.5 < width / features.shape[-2] / near < 2**0.5
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
