"""Mixtures of experts: the router against V-MoE's own answers, the layer against NumPy and against its promises."""

import json

import golden
import keras
import numpy as np
import pytest

from keras_mlp.layers import experts

ROUTERS = [json.loads(path.read_text()) for path in sorted(golden.ROOT.glob("sparse_mlp/router_*.json"))]
router = pytest.mark.parametrize("case", ROUTERS, ids=lambda case: case["variant"])


def logits_of(case):
    """The logits without and with noise, `(groups, items, experts)`, by the case's own rules."""
    config, rule, noise = case["config"], case["gate_logits"], case["noise"]
    shape = config["groups"], config["group_size"], config["num_experts"]
    logits = golden.image(shape, rule["seed"]).astype("float64") * rule["scale"]
    logits = (logits + np.linspace(1, 0, shape[-1])).astype("float32").astype("float64")
    np.testing.assert_allclose(logits.reshape(-1, shape[-1]), case["logits"], atol=1e-7)
    if noise is None:
        return logits, logits
    drawn = golden.image(shape, noise["seed"]).astype("float64") * config["noise_std"] / shape[-1]
    return logits, logits + drawn.astype("float32")


def routing_of(case):
    config, (_, noisy) = case["config"], logits_of(case)
    gates = keras.ops.softmax(noisy, axis=-1)
    if config["kind"] == "items_per_expert":
        return experts.top_items(gates, config["capacity"])
    k = config["num_selected_experts"]
    return experts.top_experts(gates, k, config["capacity"], config["batch_priority"])


@router
def test_items_are_routed_as_by_the_reference(case):
    routing = routing_of(case)
    chosen, slots, weights = map(np.asarray, routing[:3])
    rows = [
        [group, item, chosen[group, item, i], slots[group, item, i], weights[group, item, i]]
        for group, item, i in np.argwhere(slots < routing.capacity)
    ]
    np.testing.assert_allclose(sorted(rows), sorted(case["dispatch"]), atol=1e-7)
    np.testing.assert_array_equal((slots < routing.capacity).sum(axis=-1), case["experts_per_item"])
    assert (weights[slots >= routing.capacity] == 0).all()


@router
def test_dispatched_and_combined_items_are_those_of_the_reference(case):
    x = golden.image(case["input_shape"], case["input_seed"]).astype("float64")
    routing = routing_of(case)
    expert = np.arange(routing.num_experts).reshape(-1, 1, 1)
    answers = (expert + 1) * experts.dispatch(x, routing) + expert / 10
    assert answers.shape == (routing.num_experts, x.shape[0] * routing.capacity, x.shape[-1])
    np.testing.assert_allclose(experts.combine(answers, routing), case["output"], atol=1e-7)


@router
def test_losses_are_those_of_the_reference(case):
    (logits, noisy), config, expected = logits_of(case), case["config"], case["losses"]
    importance = experts.importance_loss(keras.ops.softmax(logits, axis=-1))
    np.testing.assert_allclose(importance, expected["importance_loss"], rtol=1e-6)
    np.testing.assert_allclose(
        experts.gshard_loss(keras.ops.softmax(noisy, axis=-1)), expected["gshard_loss"], rtol=1e-6
    )
    if "load_loss" in expected:
        std = config["noise_std"] / config["num_experts"]
        load = experts.load_loss(logits, noisy, config["num_selected_experts"], std)
        np.testing.assert_allclose(load, expected["load_loss"], rtol=1e-6)
        weights = expected["weights"]
        total = weights["importance"] * importance + weights["load"] * load
        np.testing.assert_allclose(total, expected["auxiliary_loss"], rtol=1e-6)


@pytest.mark.parametrize("case", [c for c in ROUTERS if c["config"]["capacity_factor"]], ids=lambda c: c["variant"])
def test_capacity_is_that_of_the_reference(case):
    config = case["config"]
    capacity = experts.expert_capacity(
        config["group_size"],
        config["num_experts"],
        config["num_selected_experts"],
        config["capacity_factor"],
        config["capacity_multiple_of"],
    )
    assert capacity == config["capacity"]
