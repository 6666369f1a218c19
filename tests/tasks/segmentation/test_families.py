"""Every family is the backbone of a segmenter; families of one level get the others by a simple pyramid."""

import itertools

import golden
import keras
import numpy as np
import pytest

from keras_mlp import export, tasks
from keras_mlp.zoo import FAMILIES

HEADS = {"upernet": tasks.UPerNet, "semantic_fpn": tasks.SemanticFPN}
IMAGES = [name for name in sorted(FAMILIES) if FAMILIES[name].input == "image"]
MARKS = {("mlp_mixer", "semantic_fpn"): (), ("hire_mlp", "upernet"): golden.SLOW}
"""Of the pairs that are tested before all are."""


def pairs():
    for family, head in itertools.product(IMAGES, HEADS):
        marks = MARKS.get((family, head), golden.HUGE)
        yield pytest.param(family, head, id=f"{family}-{head}", marks=marks)


@pytest.mark.parametrize("family, head", pairs())
def test_every_family_is_trained_saved_and_exported_as_a_segmenter(family, head, tmp_path):
    case = golden.small(family)

    def segmenter(**options):
        return HEADS[head](golden.build(case, include_top=False, **options), 3, channels=8)

    model, images = segmenter(dtype="mixed_bfloat16"), case.images()
    assert model.output.dtype == "float32" and model.output_shape[1:] == (*case.input_shape[1:3], 3)
    labels = np.random.default_rng(0).integers(0, 3, images.shape[:3])
    model.compile("sgd", tasks.PixelCrossEntropy(), run_eagerly=True)  # one step is done before a graph is made
    before = model.get_layer("head").get_weights()
    assert np.isfinite(model.train_on_batch(images, labels))
    assert np.abs(model.get_layer("head").get_weights()[0] - before[0]).max() > 0
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(again(images), model(images))

    plain = segmenter()  # with the case's weights, none of which rounds to another sign in BiMLP
    export.to_tflite(plain, tmp_path / "model.tflite")
    expected = np.asarray(plain(images))
    found = export.Runner(tmp_path / "model.tflite")(images)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_videos_are_refused():
    (family,) = [name for name in FAMILIES if FAMILIES[name].input == "video"][:1]
    builder, config = golden.arguments(golden.small(family))
    with pytest.raises(ValueError, match=r"must be a model that gives a map \(batch, height, width, channels\)"):
        tasks.UPerNet(builder(**config, include_top=False), 3)
