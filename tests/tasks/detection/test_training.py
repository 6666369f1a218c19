"""What detectors learn from scenes of handwritten digits."""

import dataclasses

import keras
import pytest

import keras_mlp
from keras_mlp import tasks
from keras_mlp.tasks.detection import recipes
from keras_mlp.tasks.detection.matching import Sampler
from keras_mlp.training.recipes import optimizer


@pytest.mark.slow
@pytest.mark.huge
def test_mask_rcnn_learns_to_tell_the_pixels_of_each_digit():
    recipe = dataclasses.replace(recipes.scenes(), epochs=3)
    options = dict(task="detection", image_size=64, batch_size=recipe.batch_size, masks=True, seed=0)
    train = tasks.load("scenes", "train", recipe=recipe, **options)
    keras.utils.set_random_seed(0)
    backbone = keras_mlp.ASMLP(2, 16, (1, 2, 3), include_top=False, input_shape=(64, 64, 3))
    anchors = dict(scales=(5.0,), ratios=(1.0, 2.0), candidates=100, proposals=40)
    model = tasks.MaskRCNN(backbone, len(train.classes), channels=32, box_width=64, count=20, **anchors)
    model.anchor_sampler, model.sampler = Sampler(64, 0.5), Sampler(32, 0.5)
    model.compile(optimizer(recipe, model, train.steps), jit_compile=False)
    model.fit(train.dataset, steps_per_epoch=train.steps, epochs=recipe.epochs, verbose=0)
    scores = tasks.evaluate(model, tasks.load("scenes", "test", **options), verbose=0)
    assert scores["masks"]["AP50"] >= 0.85 and scores["boxes"]["AP50"] >= 0.85
