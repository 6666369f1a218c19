"""Finding models: names, wildcards, cards."""

import dataclasses
import importlib
import pkgutil

import pytest

import keras_mlp
from keras_mlp import families, zoo
from keras_mlp.family import Family


def test_models_are_found_by_wildcards_words_and_weights():
    everything = keras_mlp.list_models()
    assert keras_mlp.list_models("mlp_mixer*") == [
        "mlp_mixer_b16",
        "mlp_mixer_b32",
        "mlp_mixer_h14",
        "mlp_mixer_l16",
        "mlp_mixer_l32",
        "mlp_mixer_s16",
        "mlp_mixer_s32",
    ]
    assert keras_mlp.list_models("mixer_b") == ["mlp_mixer_b16", "mlp_mixer_b32", "swat_mixer_b32"]
    assert keras_mlp.list_models("*16", family="mlp_mixer") == ["mlp_mixer_b16", "mlp_mixer_l16", "mlp_mixer_s16"]
    assert keras_mlp.list_models("mlp_mixer*", weights="imagenet21k") == ["mlp_mixer_b16", "mlp_mixer_l16"]
    assert keras_mlp.list_models("mlp_mixer*", weights="*sam*") == keras_mlp.list_models("mlp_mixer_[bs]*")
    with_weights, without = keras_mlp.list_models(weights=True), keras_mlp.list_models(weights=False)
    assert sorted(with_weights + without) == sorted(everything)
    assert {"mlp_mixer_h14", "mlp_mixer_l32"} <= set(without)
    assert keras_mlp.list_models("nothing_like_this") == []


def test_models_are_found_by_what_they_take():
    videos = keras_mlp.list_models(input="video")
    assert {name for name in videos if name.startswith("morph")} == {
        f"morph_mlp_video_{size}" for size in ("b16", "b32", "s16", "s32")
    }
    assert all("_video_" in name for name in videos)
    assert sorted(videos + keras_mlp.list_models(input="image")) == sorted(keras_mlp.list_models())
    assert {len(keras_mlp.model_card(name).input_shape) for name in videos} == {4}
    with pytest.raises(ValueError, match="`input` must be 'image' or 'video'. Received: input='audio'"):
        keras_mlp.list_models(input="audio")


def test_unknown_names_are_refused_with_near_matches():
    with pytest.raises(ValueError, match="no model 'mlp_mixer_b61'. Did you mean.*'mlp_mixer_b16'"):
        keras_mlp.create_model("mlp_mixer_b61")
    with pytest.raises(ValueError, match="no model 'zzz'. There are: .*mlp_mixer_b16"):
        keras_mlp.model_card("zzz")
    with pytest.raises(ValueError, match="no family 'mlp_mixr'. Did you mean 'mlp_mixer'"):
        keras_mlp.list_models(family="mlp_mixr")


def test_create_model_is_the_builder():
    model = keras_mlp.create_model("mlp_mixer_s32", weights=None, classes=7)
    assert (model.name, model.output.shape) == ("mlp_mixer_s32", (None, 7))
    small = keras_mlp.create_model("mlp_mixer", patch_size=8, dim=16, depth=1, input_shape=(32, 32, 3), classes=3)
    assert small.output.shape == (None, 3)


def test_the_authors_best_imagenet_checkpoint_is_called_imagenet():
    for model in keras_mlp.list_models():
        weights = keras_mlp.model_card(model).weights
        candidates = [w for w in weights.values() if w.classes == 1000]
        candidates = [w for w in candidates if w.publisher == "authors"] or candidates
        sides = keras_mlp.model_card(model).input_shape[-3:-1]  # one for larger images is better only on those
        candidates = [w for w in candidates if w.input_size == sides] or candidates
        assert ("imagenet" in weights) == bool(candidates)
        if candidates:
            assert (weights["imagenet"].top1 or 0) == max(w.top1 or 0 for w in candidates)
    assert keras_mlp.model_card("mlp_mixer_b16").weights["imagenet"].top1 == 77.36


@pytest.mark.parametrize("name", keras_mlp.list_models())
def test_cards_are_complete(name):
    card = keras_mlp.model_card(name)
    assert card.name == name and getattr(keras_mlp, card.builder) is zoo.FAMILIES[card.family].builders[name]
    assert card.parameters > 0 and card.macs > 0 and card.input == zoo.FAMILIES[card.family].input
    assert card.paper.title and card.paper.url.startswith("https://")
    for tag, weights in card.weights.items():
        assert weights.tag == tag or tag == "imagenet"
        assert weights.url.startswith("https://") and weights.licence and weights.training_data
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.macs = 0


def test_file_names_of_checkpoints_do_not_collide():
    names = [w.file_name for f in zoo.FAMILIES.values() for tags in f.checkpoints.values() for w in tags.values()]
    assert len(names) == len(set(names)) > 0


def modules():
    return [
        importlib.import_module(f"keras_mlp.families.{info.name}") for info in pkgutil.iter_modules(families.__path__)
    ]


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__.rpartition(".")[2])
def test_families_list_their_own_names(module):
    declared = [found for found in vars(module).values() if isinstance(found, Family)]
    names = [build.__name__ for found in declared for build in found.builders.values()]
    assert names and sorted(module.__all__) == sorted(names)
