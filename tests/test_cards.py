"""What cards say and compute: scores, and which frames of a video are looked at."""

import dataclasses
import math

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp import allowed, cards
from keras_mlp.cards import Recipe, Score, scores
from keras_mlp.cli.commands import info
from weights import tables


def test_kinetics_takes_four_clips_of_every_fourth_frame_of_thirty_a_second():
    """The first begins at the beginning and the last ends at the end; they are as long in time at any rate."""
    sample = keras_mlp.model_card("morph_mlp_video_s16").preprocessing.sample
    frames = sample(300, 16)
    assert frames.shape == (4, 16)
    np.testing.assert_array_equal(frames[:, 0], [0, 78, 156, 234])
    np.testing.assert_array_equal(frames[:, -1], [63, 141, 219, 297])
    assert set(np.diff(frames)[0]) == {4, 5}
    np.testing.assert_array_equal(sample(150, 16, rate=15)[:, [0, -1]], [[0, 31], [39, 70], [78, 109], [117, 148]])


def test_something_something_takes_the_middle_of_equal_parts():
    """Reference: `get_seq_frames` of the authors' loader, one clip of 45 frames."""
    preprocessing = keras_mlp.model_card("morph_mlp_video_b16").weights["ssv1"].preprocessing
    expected = [round(44 / 16 * i) + int(44 / 16 / 2) for i in range(16)]
    np.testing.assert_array_equal(preprocessing.sample(45, 16), [expected])
    assert (preprocessing.crops, preprocessing.crop_pct, preprocessing.bgr) == (3, 1.0, True)


@pytest.mark.parametrize("length", [1, 3, 15])
@pytest.mark.parametrize("tag", ["k400", "ssv1"])
def test_frames_of_a_short_video_are_repeated(tag, length):
    preprocessing = keras_mlp.model_card("morph_mlp_video_b32").weights[tag].preprocessing
    frames = preprocessing.sample(length, 32)
    assert frames.min() == 0 and frames.max() <= length - 1 and (np.diff(frames) >= 0).all()


def test_videos_are_normalised_like_images():
    """Of black and white, on all axes of a video."""
    card = keras_mlp.model_card("morph_mlp_video_s16")
    pixels = np.stack([np.zeros((4, 2, 2, 3)), np.full((4, 2, 2, 3), 255.0)])
    normal = card.preprocess(pixels)
    assert normal.shape == pixels.shape
    np.testing.assert_allclose(normal[:, 0, 0, 0], [[-2] * 3, [0.55 / 0.225] * 3])


def test_tensors_are_normalised_as_exactly_as_arrays():
    card = keras_mlp.model_card("mlp_mixer_b16")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3))
    for preprocessing in (card.preprocessing, keras_mlp.model_card("as_mlp_tiny").preprocessing):
        tensor = preprocessing(keras.ops.convert_to_tensor(pixels, "float64"))
        np.testing.assert_allclose(tensor, preprocessing(pixels), rtol=0, atol=1e-14)


def test_a_score_of_another_metric_needs_no_new_field(monkeypatch):
    """It is stored, read, told and put into the table; top-1 stays as it is."""
    box = Score(44.0, "box AP", "COCO 2017", "ImageNet-1k, then COCO 2017", "a table", exact=False)
    mean = Score(46.5, "mIoU", "ADE20K")
    card = keras_mlp.model_card("as_mlp_tiny")
    more = dataclasses.replace(card, scores=(*scores.of(card.scores, scores.TOP1), box, mean))
    monkeypatch.setattr(cards.file.resources, "files", lambda package: Text(cards.to_json({card.name: more})))
    assert cards.from_file.__wrapped__() == {card.name: more}
    assert more.top1 == card.top1 == {"ImageNet-1k": 81.3}
    assert str(box) == "~44.0 % box AP on COCO 2017, trained on ImageNet-1k, then COCO 2017"
    text = " ".join("\n".join(info._text(more)).split())
    assert "published top-1 81.30 % (ImageNet-1k)" in text
    assert "published box AP ~44.00 % (ImageNet-1k, then COCO 2017)" in text
    assert "published mIoU 46.50 % (ADE20K)" in text
    assert "not exact: a table" in text
    monkeypatch.setattr(keras_mlp, "list_models", lambda: [card.name])
    monkeypatch.setattr(keras_mlp, "model_card", lambda name: more)
    cell = "| 81.30 (ImageNet-1k), ~44.00 box AP (ImageNet-1k, then COCO 2017), 46.50 mIoU (ADE20K) |"
    assert cell in tables.models() and tables.models().endswith(f"{scores.FOOTNOTE} `keras-mlp info` tells where.")


class Text(str):
    """A folder of one file, which holds this."""

    def joinpath(self, name):
        return self

    def read_text(self, encoding):
        return str(self)


@pytest.mark.parametrize("family", ["bimlp", "sparse_mlp", "swat"])
def test_what_is_remembered_or_read_off_a_figure_is_marked(family):
    for name in keras_mlp.list_models(family=family):
        found = keras_mlp.model_card(name).scores
        assert found and not any(score.exact for score in found)
        assert all(score.number().startswith("~") and score.source for score in found)


def test_a_printed_card_marks_what_is_not_exact_and_says_why():
    printed = str(keras_mlp.model_card("swat_deit_s"))
    assert "Score('~80.5 % top-1 on ImageNet-1k', source=" in printed and "read off figs/performance.png" in printed
    assert "~" not in str(keras_mlp.model_card("mlp_mixer_b16"))


def test_every_score_names_its_source():
    for name in keras_mlp.list_models():
        card = keras_mlp.model_card(name)
        for score in (*card.scores, *(score for weights in card.weights.values() for score in weights.scores)):
            assert score.source and 0 < score.value <= 100


NO_NUMBER = (math.nan, math.inf, -math.inf, "1", None, True, (), 1j, [1])
NEGATIVE = (-1, -1e-9)
WRONG = {
    "source": (None, 5),
    "optimizer": ("magic", "AdamW", None, ["adam"]),
    "learning_rate": (0, *NEGATIVE, *NO_NUMBER),
    "learning_rate_rule": ("magic", None),
    "batch_size": (0, -1, 1.5, 64.0, *NO_NUMBER),
    "epochs": (0, -1, 1.5, 10.0, *NO_NUMBER),
    "steps": (0, -1, 1.5, "1", math.nan),
    "warmup_epochs": (*NEGATIVE, *NO_NUMBER),
    "warmup_steps": (-1, 1.5, "1", math.nan),
    "schedule": ("magic", None),
    "final_learning_rate": (*NEGATIVE, *NO_NUMBER),
    "rate_factors": ("head", ("head", 10.0), (("head",),), (("head", -1),), ((10.0, "head"),), [("head", 10.0)], None),
    "rate_delays": ("head", ("head", 5), (("head",),), (("head", -1),), (("head", 0.5),), [("head", 5)], None),
    "weight_decay": (*NEGATIVE, *NO_NUMBER),
    "no_weight_decay": ("bias", ["bias"], (1,), None),
    "loss": ("magic", None),
    "label_smoothing": (1, 2, *NEGATIVE, *NO_NUMBER),
    "mixup": (*NEGATIVE, *NO_NUMBER),
    "cutmix": (*NEGATIVE, *NO_NUMBER),
    "rand_augment": (2, (2,), (2, 9, 1), (0, 9), (2.5, 9), (2, -1), (2, "9"), (2, math.nan), [2, 9], "rand"),
    "random_erasing": (1.1, *NEGATIVE, *NO_NUMBER),
    "repeated_augmentation": (0, 1.5, *NO_NUMBER),
    "horizontal_flip": (0, 1, "True", None),
    "random_resized_crop": (0.5, (0, 1), (0.5, 1.1), (1, 0.5), (0.5,), [0.1, 1], (math.nan, 1), ("a", "b")),
    "drop_path_rate": (1, *NEGATIVE, *NO_NUMBER),
    "dropout_rate": (1, *NEGATIVE, *NO_NUMBER),
    "gradient_clip_norm": (0, *NEGATIVE, "1", math.nan),
    "gradient_clip_factor": (0, *NEGATIVE, "1", math.nan),
    "ema_decay": (1, *NEGATIVE, "1", math.nan),
    "layer_decay": (0, 1.1, *NEGATIVE, *NO_NUMBER),
    "unfreeze_epochs": (1, (-1,), (1.5,), (3, 1), (1, 1), [1], None),
    "balance_classes": (0, 1, "yes", None),
    "patience": (0, -1, 1.5, "5"),
    "precision": ("magic", "float8", 16),
}


def test_recipes_of_videos_show_as_many_clips_as_published():
    """SlowFast's batches and epochs count videos, with two clips of each; on Something-Something MViT has one."""
    kinetics = keras_mlp.model_card("morph_mlp_video_s16").recipe
    assert (kinetics.batch_size, kinetics.epochs, kinetics.warmup_epochs) == (2 * 64, 2 * 60, 2 * 10)
    something = keras_mlp.cards.VIDEO_TRAININGS["mvit_video_v2_s16x4_ssv2"].recipe
    assert (something.batch_size, something.epochs, something.warmup_epochs) == (16, 100, 3)


def test_every_field_of_a_recipe_says_what_it_allows():
    """And its default, which is not checked again and again, is among that."""
    assert set(WRONG) == {field.name for field in dataclasses.fields(Recipe)} == set(allowed._declared(Recipe))
    for name, default in Recipe.defaults().items():
        assert allowed._declared(Recipe)[name].admits(default), name


@pytest.mark.parametrize("field", WRONG)
def test_values_that_a_recipe_does_not_allow_are_refused(field):
    recipe = keras_mlp.model_card("mlp_mixer_s32").recipe
    for value in WRONG[field]:
        with pytest.raises(ValueError, match=rf"A recipe's {field} must be (a|an|one|None) .*\. Received: ") as error:
            dataclasses.replace(recipe, **{field: value})
        assert str(error.value).endswith(f"Received: {value!r}")


def test_the_ends_of_what_is_allowed_are_told_and_allowed():
    recipe = Recipe(source="test", label_smoothing=0, mixup=0, layer_decay=1, random_erasing=1.0, warmup_steps=0)
    dataclasses.replace(recipe, learning_rate=np.float32(0.1), epochs=np.int64(1), random_resized_crop=(1, 1))
    for changes, told in (
        (dict(label_smoothing=2), "a number from 0 below 1"),
        (dict(epochs=0), "an integer from 1"),
        (dict(layer_decay=2), "a number above 0 to 1"),
        (dict(unfreeze_epochs=(2, 1)), "a tuple of values, rising, each an integer from 0"),
        (dict(rand_augment=9), "None or a tuple of an integer from 1 and a number from 0"),
        (dict(horizontal_flip=5), "one of True, False"),
    ):
        with pytest.raises(ValueError, match=f"must be {told}. Received"):
            dataclasses.replace(recipe, **changes)
