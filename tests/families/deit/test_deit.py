"""DeiT: the second token and its head."""

import golden
import numpy as np
import pytest

import keras_mlp


def test_both_heads_are_outputs_for_training_with_a_teacher():
    case = golden.load("deit/tiny_distilled_rect.json")
    apart = golden.build(case, heads_apart=True)(case.images())
    assert list(apart) == ["head", "head_dist"]
    assert np.abs(apart["head"] - apart["head_dist"]).max() > 0.1
    assert case.error((apart["head"] + apart["head_dist"]) / 2) < 1e-5


def test_a_model_of_one_head_has_no_heads_apart():
    with pytest.raises(ValueError, match="Only distilled models have two heads. Received: heads_apart=True"):
        golden.build(golden.load("deit/tiny.json"), heads_apart=True)


def test_files_that_were_distilled_begin_models_that_are_not_only_without_their_second_token():
    case = golden.load("deit/tiny_distilled_rect.json")
    with pytest.raises(ValueError, match="Left over.*distillation_token"):
        golden.loaded(case, golden.arguments(case)[0], **golden.arguments(case)[1] | {"distilled": False}, classes=10)


def test_a_distilled_file_is_recognised_and_any_other_is_a_vits():
    """What a layout is called matters where its names are kept with the file, as `keras-mlp convert` does."""
    for name, layout in (("tiny_distilled_rect", "deit/deit"), ("tiny", "vit/timm")):
        case = golden.load(f"deit/{name}.json")
        model = golden.build(case, load=False)
        report = keras_mlp.load_checkpoint(model, case.state_dict())
        assert report.layout == layout and not report.fresh
        assert case.error(model(case.images())) < 1e-5


def test_a_file_is_resampled_around_both_tokens():
    case = golden.load("deit/tiny_distilled_rect.json")
    larger = keras_mlp.resize(golden.build(case), (64, 96))
    old, new = (np.asarray(m.get_layer("position").embedding) for m in (golden.build(case), larger))
    assert (len(old), len(new)) == (26, 98)
    np.testing.assert_array_equal(new[:2], old[:2])
