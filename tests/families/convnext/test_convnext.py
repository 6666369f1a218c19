"""ConvNeXt: the network that Keras has, too, and what follows from a norm after the average."""

import golden
import keras
import numpy as np
import pytest

import keras_mlp


@pytest.mark.slow
def test_keras_own_convnext_computes_the_same():
    """From pixels to logits, with the golden weights; both hold them in one order."""
    shape = dict(weights=None, input_shape=(64, 96, 3), classifier_activation=None)
    ours, theirs = keras_mlp.ConvNeXtTiny(**shape), keras.applications.ConvNeXtTiny(**shape)
    keras_mlp.load_checkpoint(ours, golden.load("convnext/convnext_tiny.json").state_dict())
    pairs = zip(ours.get_weights(), theirs.weights, strict=True)
    theirs.set_weights([value.reshape(weight.shape) for value, weight in pairs])
    pixels = np.random.RandomState(0).uniform(0, 255, (2, 64, 96, 3)).astype("float32")
    expected = np.asarray(theirs(pixels))
    assert np.abs(ours(pixels) - expected).max() < 1e-5 * expected.std()


def test_a_new_head_keeps_the_norm_before_it_and_a_model_without_head_leaves_it_out():
    case = golden.load("convnext/tiny.json")
    builder, arguments = golden.arguments(case)
    model = builder(**arguments, classes=3)
    report = keras_mlp.load_checkpoint(model, case.state_dict(), new_head=True)
    assert set(report.fresh) == set(report.ignored) == {"head/kernel", "head/bias"}
    np.testing.assert_array_equal(model.get_layer("head_norm").gamma, case.state_dict()["norm.weight"])
    report = keras_mlp.load_checkpoint(builder(**arguments, include_top=False), case.state_dict())
    assert set(report.ignored) == {"head/kernel", "head/bias", "head_norm/gamma", "head_norm/beta"}


def test_the_default_weights_are_the_best_for_images_of_the_default_size():
    """Those fine-tuned at 384 pixels score higher, at 384 pixels."""
    weights = keras_mlp.model_card("convnext_base").weights
    assert weights["imagenet"] is weights["imagenet22k_1k"]
    assert weights["imagenet22k_1k_384"].top1 > weights["imagenet"].top1
