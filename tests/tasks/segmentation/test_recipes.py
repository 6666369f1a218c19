"""Published segmenters as data, and how they are trained by it."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mlp
from keras_mlp import tasks
from keras_mlp.cards import SEGMENTERS, SegmentationRecipe, segmenters
from keras_mlp.tasks.segmentation import data
from keras_mlp.training import depth, recipes
from keras_mlp.zoo import FAMILIES

HEADS = ("upernet", "semantic_fpn", "setr_naive", "setr_pup", "setr_mla")


def test_every_published_segmenter_names_its_sources_and_what_is_in_the_zoo():
    models = keras_mlp.list_models()
    for name, one in SEGMENTERS.items():
        assert one.name == name and one.model in models and one.head in HEADS
        assert one.recipe.source and one.recipe.steps and one.recipe.resize and one.recipe.image_size
        assert all(score.source and 30 < score.value < 90 for score in one.scores)
        assert ("inferred" in one.recipe.source) == (one.model.startswith(("cycle_mlp", "repmlpnet")))
        assert (one.window is None) == (one.stride is None) and (one.window or 2) > (one.stride or 1)
    assert [one.name for one in segmenters.published("as_mlp_tiny")] == ["upernet_as_mlp_tiny_ade20k"]
    assert len(segmenters.published("vit_l16", "setr_mla")) == 4
    best = {one.model: one.scores for one in SEGMENTERS.values() if one.head == "upernet"}
    assert [str(score) for score in best["as_mlp_base"]] == ["49.5 % mIoU, several scales on ADE20K"]
    miou = {(score.metric, score.dataset): score.value for score in keras_mlp.model_card("vit_l16").scores}
    assert miou["mIoU", "ADE20K"] == 48.64 and miou["mIoU", "Cityscapes"] == 79.34
    assert all(not score.exact for score in SEGMENTERS["semantic_fpn_cycle_mlp_b4_ade20k"].scores)


def test_backbones_are_built_as_the_authors_of_a_segmenter_do_it():
    for one in SEGMENTERS.values():
        assert one.config == ({"class_token": False} if one.head == "setr_mla" else {})
        assert set(one.config) <= set(inspect.signature(FAMILIES["vit"].builders["vit_l16"]).parameters)
    # The repository's segmentors of Hire-MLP name these; the classifiers have them too.
    hire = inspect.signature(keras_mlp.HireMLP).parameters
    expected = dict(region_sizes=(4, 3, 3, 2), shift_periods=(2, 2, 3, 2), shift_sizes=(2, 2, 1, 1))
    for name, value in expected.items():
        assert hire[name].default == value
        assert all(name not in keras_mlp.model_card(model).config for model in keras_mlp.list_models("hire_mlp_*"))


def test_as_mlp_spares_the_norms_of_its_backbone_from_decay_and_nothing_else():
    recipe = SEGMENTERS["upernet_as_mlp_tiny_ade20k"].recipe
    backbone = keras_mlp.ASMLP(2, 6, (1, 1), shift_size=3, include_top=False, input_shape=(16, 16, 3))
    model = tasks.UPerNet(backbone, 3, channels=4, auxiliary=True, auxiliary_channels=4)
    spared = {v.path for v in model.trainable_variables if any(depth.holds(v.path, w) for w in recipe.no_weight_decay)}
    expected = set()
    for variable in model.trainable_variables:
        layer = variable.path.split("/")[0]
        if "norm" in layer and not layer.startswith(("decoder", "auxiliary")):
            expected.add(variable.path)
    assert spared == expected and {"level_0_norm/gamma", "stem_norm/beta"} <= spared
    optimizer = recipes.optimizer(dataclasses.replace(recipe, steps=2000), model, steps_per_epoch=10)
    np.testing.assert_allclose(
        [float(optimizer._learning_rate(step)) for step in (750, 1500, 1750)], [3e-5, 6e-5, 3e-5], rtol=1e-5
    )


@pytest.mark.parametrize(("head", "neck"), [(tasks.SETRNaive, 10.0), (tasks.SETRMLA, 1.0)])
def test_heads_of_setr_are_ten_times_as_fast_as_the_backbone(head, neck):
    recipe = dataclasses.replace(SEGMENTERS["setr_pup_vit_l16_ade20k_160k"].recipe, image_size=None, warmup_steps=0)
    backbone = keras_mlp.ViT(8, 8, 4, 2, include_top=False, input_shape=(16, 16, 3))
    model = head(backbone, 3, auxiliary=True)
    factors = recipes.optimizer(recipe, model, steps_per_epoch=10).rate_factors
    for path, factor in factors.items():
        new = path.startswith(("decoder", "head", "auxiliary"))
        assert factor == (10 if new else 1), path
    assert any(path.startswith("head_auxiliary") for path in factors)
    assert any(path.startswith("neck") for path in factors) == (neck == 1)
    loss = tasks.Segmentation().compile_arguments(model, dataclasses.replace(recipe, auxiliary_weight=0.25))
    assert set(loss["loss_weights"].values()) == {1.0, 0.25}


def test_a_recipe_weighs_the_classes():
    backbone = keras_mlp.ViT(8, 8, 4, 2, include_top=False, input_shape=(16, 16, 3))
    model = tasks.SETRNaive(backbone, 3)
    recipe = SegmentationRecipe("a test", class_weight=(0.5, 1.0, 2.0))
    assert tasks.Segmentation().loss(model, recipe).class_weight == (0.5, 1.0, 2.0)
    with pytest.raises(ValueError, match="`class_weight` of the recipe must have a number for each of the 3 classes"):
        tasks.Segmentation().loss(model, dataclasses.replace(recipe, class_weight=(1.0, 2.0)))


@pytest.mark.parametrize(("whole", "resized"), [((100, 150), (20, 30)), ((150, 100), (30, 20)), ((100, 400), (10, 40))])
def test_an_image_is_fitted_into_the_two_sides_before_the_crop(whole, resized):
    """As mmsegmentation's `Resize(img_scale=(40, 20))`: the longer side is at most 40, the shorter at most 20."""
    recipe = SegmentationRecipe(
        "a test", resize=(40, 20), random_scale=None, photometric_distortion=False, horizontal_flip=False
    )
    image, mask = tf.fill((*whole, 3), 50.0), {"masks": tf.zeros((*whole, 1), tf.uint8)}
    augmented = tf.function(lambda: data.augmented(image, (0, 0), (64, 64), recipe, "bilinear", mask))
    _, targets = augmented()
    seen = np.asarray(targets["masks"])[..., 0] != 255
    assert (seen.any(1).sum(), seen.any(0).sum()) == resized


def test_a_recipe_trains_a_segmenter_in_plain_keras():
    recipe = SegmentationRecipe("a test", steps=3, warmup_steps=1, batch_size=4, rate_factors=(("decoder", 10.0),))
    backbone = keras_mlp.ASMLP(2, 6, (1, 1), shift_size=3, include_top=False, input_shape=(16, 16, 3))
    model = tasks.SemanticFPN(backbone, 11, channels=4, neck_channels=4, auxiliary=True, auxiliary_channels=4)
    loaded = tasks.load(tasks.scenes.source("train", 4, 32), image_size=16, batch_size=4, recipe=recipe)
    loaded = tasks.Segmentation().fitted(model, loaded)
    model.compile(**tasks.compile_arguments(recipe, model, loaded.steps, loaded.batch_size), jit_compile=False)
    epochs = recipes.in_epochs(recipe, loaded.steps).epochs
    history = model.fit(loaded.dataset, steps_per_epoch=loaded.steps, epochs=epochs, verbose=0).history
    assert epochs == 3 and np.isfinite(history["loss"]).all()
    assert isinstance(model.optimizer, keras.optimizers.AdamW)
