"""Every variant answers like the reference: the golden cases, within the limits that a right model reaches."""

import golden
import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.analysis import cost
from keras_mlp.zoo import FAMILIES

CASES = [golden.load(path) for path in golden.cases()]
TINY = [case for case in CASES if case.variant.startswith("tiny")]
FULL = [case for case in CASES if not case.variant.startswith("tiny")]
IN_DOUBLE = ("bimlp", "repmlpnet")
"""Families whose published sizes say little in float32, with the weights of these cases: levels of BiMLP flip, and the
gates of RepMLPNet are so steep that what was rounded in an early stage is all there is to see in the last."""


def binary(measured):
    """Multiply-adds of binary numbers."""
    return measured.low_bit_macs.get("binary", 0)


@pytest.mark.parametrize("case", golden.chosen(TINY, {golden.small(name).key for name in FAMILIES}, golden.SLOW))
def test_tiny_cases_compute_like_the_reference(case):
    keras.config.set_dtype_policy("float64")
    model = golden.build(case)
    assert sum(variable.size for variable in map(np.asarray, model.trainable_variables)) == case.parameters
    assert case.error(model(case.images())) < 1e-6


@pytest.mark.parametrize(
    "case", golden.chosen(TINY, {golden.small(name).key for name in (*golden.FEW, *IN_DOUBLE)}, *golden.HUGE)
)
def test_single_precision_computes_nearly_like_the_reference(case):
    """The published variants of the other families are computed in it anyway."""
    model = golden.build(case)
    assert case.error(model(case.images())) < 1e-4
    if "macs" in vars(case):
        measured = cost(model)
        assert (measured.macs, binary(measured)) == (case.macs, vars(case).get("quantised_macs", 0))


@pytest.mark.slow
@pytest.mark.parametrize("case", golden.chosen(FULL, golden.smallest().values(), pytest.mark.huge))
def test_published_variants_compute_like_the_reference(case):
    """The public builder of the variant, not the generic one; with the golden checkpoint as a user would load it."""
    double = golden.family(case) in IN_DOUBLE
    limit = 1e-5 if double else golden.limit(case)
    keras.config.set_dtype_policy("float64" if double else "float32")
    entry, classes = golden.MODELS[case.key], case.logits.shape[1]
    options = dict(include_preprocessing=False, classifier_activation=None, classes=classes)
    if entry["model"] is None:  # an ablation, which only the generic builder makes
        builder, config = golden.arguments(case)
        options |= config
    else:
        builder = getattr(keras_mlp, entry["builder"])
    model, report = golden.loaded(case, builder, weights=None, **options)
    assert report.layout.startswith(case.family)
    assert not report.resampled and not report.fresh
    assert case.error(model(case.images())) < limit

    measured = cost(model)
    assert measured.parameters == case.parameters
    assert measured.macs == vars(case).get("macs", measured.macs)
    assert binary(measured) == vars(case).get("quantised_macs", 0)
    if entry["model"] and "form" not in entry and classes == FAMILIES[golden.family(case)].classes:
        card = keras_mlp.model_card(entry["model"])
        assert (card.parameters, card.macs) == (measured.parameters, measured.macs)
        assert card.low_bit_macs == measured.low_bit_macs


def test_every_variant_has_a_golden_case():
    tested = {entry["model"] for entry in golden.MODELS.values()} - {None}
    families = set(FAMILIES) - golden.WITHOUT_REFERENCE
    declared = {model for family in families for model in FAMILIES[family].variants}
    assert tested == declared


def test_every_golden_case_has_its_name():
    assert {case.key for case in FULL} == set(golden.MODELS)
