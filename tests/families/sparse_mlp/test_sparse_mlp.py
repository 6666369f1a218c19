"""Sparse-MLP against NumPy, for want of a reference: what its docstring says, written down a second time."""

import math

import golden
import keras
import numpy as np
import pytest
from in_numpy import Network, gelu

import keras_mlp
from keras_mlp.analysis import cost
from keras_mlp.zoo import FAMILIES

CASE = golden.load("sparse_mlp/tiny.json")


class Reference(Network):
    """The network, image by image and item by item, in float64."""

    def classify(self, image):
        dense, sparse = self.config["depths"]
        x = self.patches(image)
        for i in range(dense):
            x = x + self.mlp(self.norm(x, f"blocks_{i}_norm1").T, f"blocks_{i}_token_mixing/fc{{}}").T
            x = x + self.mlp(self.norm(x, f"blocks_{i}_norm2"), f"blocks_{i}_channel_mixing_fc{{}}")
        for i in range(dense, dense + sparse):
            x = self.sparse_block(x, f"blocks_{i}")
        return self.linear(self.norm(x, "norm").mean(axis=0), "head")

    def sparse_block(self, x, name):
        y = self.linear(self.linear(x, f"{name}_represent/along_channels").T, f"{name}_represent/along_tokens").T
        k_token, k_channel = self.config["k"]
        y = y + self.experts(self.norm(y, f"{name}_norm1").T, k_token, f"{name}_token_mixing").T
        y = y + self.experts(self.norm(y, f"{name}_norm2"), k_channel, f"{name}_channel_mixing")
        y = self.linear(y.T, f"{name}_represent_back/along_tokens").T
        return self.linear(y, f"{name}_represent_back/along_channels")

    def experts(self, items, k, name):
        weights = [self.state[f"{name}/experts_fc{i}_{part}"] for i in (1, 2) for part in ("kernel", "bias")]
        gates = np.exp(items @ self.state[f"{name}/router_kernel"])
        gates /= gates.sum(axis=1, keepdims=True)
        room = math.ceil(1.05 * len(items) * k / gates.shape[1])
        taken, y = np.zeros(gates.shape[1], int), np.zeros_like(items)
        for choice in range(k):
            for item in np.argsort(-gates.max(axis=1), kind="stable"):
                expert = np.argsort(-gates[item], kind="stable")[choice]
                if taken[expert] < room:
                    w1, b1, w2, b2 = (weight[expert] for weight in weights)
                    y[item] += gates[item, expert] * (gelu(items[item] @ w1 + b1) @ w2 + b2)
                taken[expert] += 1
        return y


def test_the_network_is_the_one_that_is_written_down_here():
    keras.config.set_dtype_policy("float64")
    expected = Reference(CASE.state_dict(), CASE.config)(CASE.images())
    answer = np.asarray(golden.build(CASE)(CASE.images()))
    assert np.abs(answer - expected).max() < 1e-9 * expected.std()
    assert CASE.error(expected) < 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAMILIES["sparse_mlp"].variants))
def test_cards_tell_what_is_built_and_it_is_near_the_published_size(name):
    card, published = keras_mlp.model_card(name), {"s": 22e6, "b": 69e6, "l": 130e6}[name[-1]]
    measured = cost(keras_mlp.create_model(name, weights=None))
    assert (card.parameters, card.macs) == (measured.parameters, measured.macs)
    assert measured.parameters == pytest.approx(published, rel=0.03)
    assert "recalled" in card.note and "inferred" in card.note and not card.weights
    with pytest.raises(ValueError, match="no weights are published"):
        keras_mlp.create_model(name, weights="imagenet")


def test_more_experts_cost_parameters_and_hardly_any_work():
    few, many = (
        cost(keras_mlp.SparseMLP(patch_size=4, dim=128, depths=(0, 1), experts=experts, input_shape=(32, 32, 3)))
        for experts in ((2, 2), (8, 8))
    )
    assert many.parameters > 2 * few.parameters
    assert many.macs < 1.1 * few.macs


def test_at_another_input_size_only_the_ways_to_the_table_and_back_change():
    resized = keras_mlp.resize(golden.build(CASE), (32, 24))
    shapes = {
        f"{layer.name}/{variable.path.split('/')[-2]}": tuple(variable.shape)
        for layer in resized.layers
        if "represent" in layer.name
        for variable in layer.weights
        if "along_tokens/kernel" in variable.path
    }
    assert shapes == {"blocks_1_represent/along_tokens": (48, 40), "blocks_1_represent_back/along_tokens": (40, 48)}
    old = golden.build(CASE).get_layer("blocks_1_token_mixing").get_weights()
    for new, same in zip(resized.get_layer("blocks_1_token_mixing").get_weights(), old, strict=True):
        np.testing.assert_array_equal(new, same)


@pytest.mark.parametrize("wrong", [dict(depths=3), dict(experts=(4,)), dict(k=(1, 2, 3)), dict(table=(8,))])
def test_arguments_that_are_pairs_are_checked(wrong):
    with pytest.raises(ValueError, match="are pairs, such as"):
        keras_mlp.SparseMLP(**CASE.config | wrong, input_shape=(16, 24, 3))


def test_sizes_must_be_known():
    with pytest.raises(ValueError, match="static `input_shape`"):
        keras_mlp.SparseMLP(depths=(0, 1), input_shape=(None, None, 3), include_top=False)
