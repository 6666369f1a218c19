"""SWAT: what the golden cases do not tell."""

import golden
import keras
import numpy as np
import pytest

import keras_mlp

SMALL = {
    "deit": dict(kind="deit", segments=2, sub_grid=4, stem_dim=8, depths=(1,), heads=(2,)),
    "swin": dict(
        kind="swin", segments=4, sub_grid=2, stem_dim=8, depths=(2,), heads=(2,), window=2, token_kernels=(1,)
    ),
}


@pytest.mark.parametrize("kind", SMALL)
def test_attention_without_a_bias_of_qkv_is_that_with_a_bias_of_zero(kind):
    """In the reference the bias of the last convolution goes with it, and that of the last linear layer stays."""
    keras.config.set_dtype_policy("float64")
    options = SMALL[kind] | dict(input_shape=(16, 16, 3), classes=5, classifier_activation=None)
    without, with_bias = (keras_mlp.SWAT(**options, qkv_bias=bias) for bias in (False, True))
    ours, theirs = ({v.path: v for v in model.weights} for model in (without, with_bias))
    gone = {path.partition("token_mixing/")[2] for path in set(theirs) - set(ours)}
    assert gone == {"qkv/bias", "qkv_linear/bias", "proj/bias"}
    for path, variable in theirs.items():
        value = golden.tensor(path, variable.shape) if path in ours else np.zeros(variable.shape)
        for one in (variable, *([ours[path]] if path in ours else ())):
            one.assign(value)
    images = golden.image((2, 16, 16, 3))
    expected = with_bias(images)
    np.testing.assert_allclose(without(images), expected, atol=1e-9)
    np.testing.assert_allclose(keras_mlp.fuse(without)(images), expected, atol=1e-9)
    again = keras.models.clone_model(without)
    again.set_weights(without.get_weights())
    np.testing.assert_array_equal(again(images), without(images))


def test_blocks_of_gmlp_halve_their_width_and_are_plain_already():
    arguments = dict(kind="gmlp", segments=1, sub_grid=1, depths=(1,), input_shape=(4, 4, 3))
    with pytest.raises(ValueError, match="must be even to be halved. Received: mlp_ratio=3 for tokens of width 1"):
        keras_mlp.SWAT(**arguments, mlp_ratio=3)
    with pytest.raises(ValueError, match='Received: plain_blocks=True, kind="gmlp"'):
        keras_mlp.SWAT(**arguments, plain_blocks=True)


def test_a_representation_is_of_the_head():
    options = SMALL["deit"] | dict(input_shape=(16, 16, 3), classes=5)
    with_top = {variable.path for variable in keras_mlp.SWAT(**options, representation_size=7).weights}
    names = {path.split("/")[-2] for path in with_top}
    assert {"head_pre_logits", "head"} <= names
    plain = keras_mlp.SWAT(**options, include_top=False, representation_size=7)
    assert not any("head" in layer.name for layer in plain.layers)
