"""CCS-MLP against NumPy, for want of a reference: what its docstring says, written down a second time."""

import golden
import keras
import numpy as np
import pytest
from in_numpy import Network

import keras_mlp
from keras_mlp.analysis import cost

CASE = golden.load("ccs_mlp/tiny.json")


class Reference(Network):
    """The network, image by image and group by group, with whole matrices, in float64."""

    def classify(self, image):
        x = self.patches(image)
        for i in range(self.config["depth"]):
            x = x + self.mix(self.norm(x, f"blocks_{i}_norm1"), self.state[f"blocks_{i}_token_mixing/kernel"])
            x = x + self.mlp(self.norm(x, f"blocks_{i}_norm2"), f"blocks_{i}_channel_mixing_fc{{}}")
        return self.linear(self.norm(x, "norm").mean(axis=0), "head")

    def mix(self, x, kernel):
        tokens, groups = kernel.shape
        distance = (np.arange(tokens)[:, None] - np.arange(tokens)) % tokens
        parts = np.split(x, groups, axis=1)
        return np.concatenate([w[distance] @ part for w, part in zip(kernel.T, parts, strict=True)], axis=1)


def test_the_network_is_the_one_that_is_written_down_here():
    keras.config.set_dtype_policy("float64")
    expected = Reference(CASE.state_dict(), CASE.config)(CASE.images())
    output = np.asarray(golden.build(CASE)(CASE.images()))
    assert np.abs(output - expected).max() < 1e-9 * expected.std()
    assert CASE.error(expected) < 1e-7


def test_tokens_that_are_shifted_around_the_end_give_an_output_that_is_shifted():
    layer = golden.build(CASE).get_layer("blocks_0_token_mixing")
    x = golden.image((2, *layer.input.shape[1:]))

    def moved(x):
        return np.roll(np.reshape(x, (len(x), -1, x.shape[-1])), 5, axis=1).reshape(x.shape)

    np.testing.assert_allclose(layer(moved(x)), moved(np.asarray(layer(x))), atol=1e-5)


def test_a_token_mixing_has_as_many_weights_as_tokens_for_each_group():
    """Fewer than Mixer's, as the paper's abstract says."""
    measured = cost(keras_mlp.CCSMLPS16(weights=None))
    card, mixer = keras_mlp.model_card("ccs_mlp_s16"), keras_mlp.model_card("mlp_mixer_s16")
    assert (card.parameters, card.macs) == (measured.parameters, measured.macs)
    assert "inferred" in card.note and not card.weights
    mlp = 2 * 196 * 256 + 256 + 196
    assert mixer.parameters - card.parameters == 8 * (mlp - 8 * 196)
    with pytest.raises(ValueError, match="no weights are published"):
        keras_mlp.create_model("ccs_mlp_s16", weights="imagenet")


def test_groups_that_do_not_divide_the_channels_are_named():
    with pytest.raises(ValueError, match="groups=5, 512 channels"):
        keras_mlp.CCSMLP(groups=5)


def test_a_constant_map_gives_the_same_at_another_size():
    """Weights are spread over the distances of the new grid; their sum stays."""
    layer = golden.build(CASE).get_layer("blocks_0_token_mixing")
    resized = keras_mlp.resize(golden.build(CASE), (32, 72)).get_layer("blocks_0_token_mixing")
    assert resized.kernel.shape[0] > layer.kernel.shape[0]
    same, same_there = (np.ones((1, *one.input.shape[1:]), "float32") for one in (layer, resized))
    np.testing.assert_allclose(resized(same_there)[0, 0, 0], layer(same)[0, 0, 0], atol=1e-5)
