"""Published detectors as data, the rates that fall in steps, and what an objective asks of model and data."""

import dataclasses

import keras
import numpy as np
import pytest
from tasks.detection.test_data import SOURCE

import keras_mlp
from keras_mlp import tasks, zoo
from keras_mlp.cards import DETECTORS, DetectionRecipe, detectors
from keras_mlp.tasks import scenes
from keras_mlp.tasks.detection import check, recipes, sources
from keras_mlp.training import depth
from keras_mlp.training.recipes import learning_rate


def test_published_detectors_are_of_the_zoo_and_say_where_their_numbers_are_from():
    for name, one in DETECTORS.items():
        assert name == one.name and one.detector in ("retina_net", "mask_rcnn", "cascade_mask_rcnn")
        assert zoo.model_card(one.model) and one.recipe.source
        assert one.recipe.epochs == 12 * one.times and one.recipe.drops[-1] < one.recipe.epochs
        assert all(score.source and 30 < score.value < 60 for score in one.scores)
    (cascade,) = [one for one in detectors.published("as_mlp_base", "cascade_mask_rcnn") if one.times == 3]
    assert [(score.metric, score.value) for score in cascade.scores] == [("box AP", 51.5), ("mask AP", 44.7)]
    assert not DETECTORS["retina_net_hire_mlp_small_1x"].scores[0].exact
    assert [one.name for one in detectors.published("convnext_base")] == [
        "cascade_mask_rcnn_convnext_base_3x",
        "cascade_mask_rcnn_convnext_base_3x_22k",
    ]


def test_rates_fall_by_the_layers_of_the_authors():
    backbone = keras_mlp.ConvNeXt(dims=(2, 4, 8, 16), depths=(3, 3, 9, 3), include_top=False, input_shape=(32, 32, 3))
    model = tasks.MaskRCNN(backbone, 2, masks=False, channels=4, box_width=4, candidates=9, proposals=4, count=2)
    words = DETECTORS["cascade_mask_rcnn_convnext_tiny_3x"].recipe.rate_factors
    found = depth.rate_factors(model, 1.0, words)
    for name, power in (
        *(("stem", 7), ("stem_norm", 7), ("stages_0_2_scale", 6), ("down_1_norm", 5), ("stages_1_0_norm", 5)),
        *(("down_2", 4), ("stages_2_2_norm", 4), ("stages_2_3_norm", 3), ("stages_2_8_norm", 2), ("down_3", 1)),
        *(("stages_3_2_norm", 1), ("level_0_norm", 0), ("rpn_conv", 0), ("head_0_classes", 0)),
    ):
        values = {found[variable.path] for variable in model.get_layer(name).trainable_variables}
        assert values == {0.7**power}, name
    hornet = dict(DETECTORS["cascade_mask_rcnn_hornet_base_3x"].recipe.rate_factors)
    for word, power in (("stem", 13), ("stages_2_1_", 10), ("stages_2_16_", 2), ("stages_2_17_", 2), ("down_3", 1)):
        assert hornet[word] == 0.8**power


def test_the_rate_falls_to_a_tenth_after_each_of_its_epochs():
    recipe = dataclasses.replace(DETECTORS["retina_net_lit_ti_1x"].recipe, warmup_steps=10)
    rate = learning_rate(recipe, steps_per_epoch=100)
    found = [float(rate(step)) for step in (0, 5, 10, 799, 801, 1099, 1101, 1199)]
    np.testing.assert_allclose(found, [0, 5e-5, 1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6], rtol=1e-5)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(rate))
    assert float(again(801)) == pytest.approx(1e-5)
    with pytest.raises(ValueError, match="drops"):
        DetectionRecipe("a test", schedule="steps", drops=(11, 8))
    assert recipes.finetune().drops == (16, 22) and recipes.scenes().schedule == "cosine"


def test_annotations_are_told_of_by_class_and_size():
    text = check.described(SOURCE, "all")
    assert "16 images, 4 of them without boxes" in text and "0 crowds" in text
    assert "| a | " in text and " large" in text


def test_data_without_boxes_or_masks_are_refused():
    model = keras.Sequential([keras.Input((64, 96, 3)), keras.layers.Flatten()])
    options = dict(image_size=(64, 96), batch_size=4)
    with pytest.raises(ValueError, match="Detection needs data with boxes"):
        tasks.Detection().fitted(model, tasks.load(scenes.source("test", 4), "test", **options))
    model.has_masks = True
    with pytest.raises(ValueError, match="load them with masks=True"):
        tasks.Detection().fitted(model, tasks.load(sources.digits("test", 4), "test", task="detection", **options))
