"""Mixtures of experts: the router against V-MoE's own answers, the layer against NumPy and against its promises."""

import json
import os
import subprocess
import sys

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp.families.sparse_mlp import experts
from keras_mlp.families.sparse_mlp.experts import MixtureOfExperts
from keras_mlp.families.sparse_mlp.routing import (
    combine,
    dispatch,
    expert_capacity,
    gshard_loss,
    importance_loss,
    load_loss,
    top_experts,
    top_items,
)

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
        return top_items(gates, config["capacity"])
    k = config["num_selected_experts"]
    return top_experts(gates, k, config["capacity"], config["batch_priority"])


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
    answers = (expert + 1) * dispatch(x, routing) + expert / 10
    assert answers.shape == (routing.num_experts, x.shape[0] * routing.capacity, x.shape[-1])
    np.testing.assert_allclose(combine(answers, routing), case["output"], atol=1e-7)


@router
def test_losses_are_those_of_the_reference(case):
    (logits, noisy), config, expected = logits_of(case), case["config"], case["losses"]
    importance = importance_loss(keras.ops.softmax(logits, axis=-1))
    np.testing.assert_allclose(importance, expected["importance_loss"], rtol=1e-6)
    np.testing.assert_allclose(gshard_loss(keras.ops.softmax(noisy, axis=-1)), expected["gshard_loss"], rtol=1e-6)
    if "load_loss" in expected:
        std = config["noise_std"] / config["num_experts"]
        load = load_loss(logits, noisy, config["num_selected_experts"], std)
        np.testing.assert_allclose(load, expected["load_loss"], rtol=1e-6)
        weights = expected["weights"]
        total = weights["importance"] * importance + weights["load"] * load
        np.testing.assert_allclose(total, expected["auxiliary_loss"], rtol=1e-6)


@pytest.mark.parametrize("case", [c for c in ROUTERS if c["config"]["capacity_factor"]], ids=lambda c: c["variant"])
def test_capacity_is_that_of_the_reference(case):
    config = case["config"]
    capacity = expert_capacity(
        config["group_size"],
        config["num_experts"],
        config["num_selected_experts"],
        config["capacity_factor"],
        config["capacity_multiple_of"],
    )
    assert capacity == config["capacity"]


def mixture(x, **options):
    """A layer of four experts, built, with biases that tell the experts apart."""
    keras.utils.set_random_seed(0)
    layer = MixtureOfExperts(**dict(hidden_dim=8, num_experts=4, bias_initializer="random_normal") | options)
    layer.build(x.shape)
    return layer


@pytest.fixture
def x():
    return np.random.RandomState(0).standard_normal((6, 20, 5)).astype("float32")


def alike(x):
    """`x` with every second image of items that are nearly alike, and so all want the same experts."""
    return np.where(np.arange(len(x))[:, None, None] % 2, x[:, :1] + 0.01 * x, x)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("items", experts.ITEMS)
def test_without_a_limit_the_output_is_the_sum_over_the_chosen_experts(x, items, k):
    """Each item's `k` largest gates, not renormalised, times those experts' answers: all experts computed densely."""
    layer = mixture(x, items=items, k=k, capacity_factor=None, dtype="float64")
    answer = np.asarray(layer(x.astype("float64")))
    rows = x if items == "tokens" else x.swapaxes(1, 2)
    router, w1, b1, w2, b2 = layer.get_weights()
    gates = np.asarray(keras.ops.softmax(rows @ router, axis=-1))
    kept = np.where(gates >= np.sort(gates, axis=-1)[..., -k, None], gates, 0)
    hidden = np.asarray(layer.activation(np.einsum("bnd,edh->bneh", rows, w1) + b1))
    expected = np.einsum("bne,bnef->bnf", kept, np.einsum("bneh,ehf->bnef", hidden, w2) + b2)
    np.testing.assert_allclose(answer, expected if items == "tokens" else expected.swapaxes(1, 2), atol=1e-9)
    assert (kept > 0).any(axis=(0, 1)).all(), "an expert that nobody chose tells nothing"


def test_an_image_never_depends_on_its_neighbours_unless_asked_for(x):
    """Though experts have no room for all: half of the images fill theirs more than twice over."""
    x = alike(x)
    alone = mixture(x)
    one_by_one = np.concatenate([alone(image[None]) for image in x])
    np.testing.assert_allclose(alone(x), one_by_one, atol=1e-6)
    np.testing.assert_allclose(alone(x[::-1]), one_by_one[::-1], atol=1e-6)
    assert (np.asarray(alone.route(x).slots) >= alone.capacity).sum() > len(x)

    together = mixture(x, images_per_group=2, capacity_factor=0.5)
    mixed = np.asarray(together(x))
    moved = together(np.concatenate([x[2:], x[:2]]))
    np.testing.assert_allclose(moved, np.concatenate([mixed[2:], mixed[:2]]), atol=1e-6)
    others = np.concatenate([x[:1], x[2:3], x[1:2], x[3:]])
    assert np.abs(np.asarray(together(others))[0] - mixed[0]).max() > 1e-3


def test_items_without_room_become_zero_and_those_of_small_gates_are_the_first(x):
    x = x[:1] * np.linspace(0.1, 2, 20).astype("float32")[:, None]
    layer = mixture(x, capacity_factor=0.5)
    routing = layer.route(x)
    gates = np.asarray(keras.ops.softmax(x @ layer.get_weights()[0], axis=-1)).max(axis=-1)[0]
    expert, out = np.asarray(routing.experts)[0, :, 0], np.asarray(routing.slots)[0, :, 0] >= routing.capacity
    assert 0 < out.sum() < 20
    for i in range(routing.num_experts):
        refused, taken = gates[(expert == i) & out], gates[(expert == i) & ~out]
        assert not len(refused) or refused.max() <= taken.min()
    np.testing.assert_array_equal((np.asarray(layer(x))[0] == 0).all(axis=-1), out)


def test_noise_and_losses_are_of_training_only(x):
    layer = mixture(x)
    np.testing.assert_array_equal(layer(x), layer(x, training=False))
    assert layer.losses == []
    assert np.abs(np.asarray(layer(x, training=True)) - np.asarray(layer(x, training=True))).max() > 1e-3
    (loss,) = layer.losses[-1:]
    logits = (x @ layer.get_weights()[0]).reshape(1, -1, 4)
    importance = importance_loss(keras.ops.softmax(logits, axis=-1))[0]
    assert 0.005 * importance < float(loss) < 0.005 * (importance + 1)  # half of 0.01, and the load's share
    silent = mixture(x, auxiliary_loss=0.0, noise=0.0)
    np.testing.assert_allclose(silent(x, training=True), silent(x), atol=1e-6)
    assert silent.losses == []


def test_the_losses_even_out_the_use_of_the_experts(x):
    """By gradient descent on them alone, from a router that sends nearly all items to one expert."""
    layer = mixture(x + 1)
    layer.router_kernel.assign(np.ones((5, 1)) * [1.0, 0.0, 0.0, 0.0])

    def most():
        experts_of_items = np.asarray(layer.route(x + 1).experts)
        return np.bincount(experts_of_items.ravel(), minlength=4).max() / experts_of_items.size

    before = most()
    for _ in range(60):
        with tf.GradientTape() as tape:
            layer(x + 1, training=True)
            loss = layer.losses[-1]
        layer.router_kernel.assign_sub(100 * tape.gradient(loss, layer.router_kernel.value))
    assert before > 0.9 and most() < 0.5


def test_each_expert_draws_its_own_weights_of_the_size_of_one_network(x):
    layer = mixture(x, hidden_dim=400, kernel_initializer="lecun_normal")
    kernel = layer.get_weights()[1]
    assert np.abs(kernel[0] - kernel[1]).max() > 0.1
    assert kernel.std() == pytest.approx(1 / np.sqrt(5), rel=0.05)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"items": "images"}, "`items` must be 'tokens' or 'channels'. Received: items='images'"),
        ({"k": 5}, "`k` must be in 1 … `num_experts`. Received: k=5, num_experts=4"),
        ({"capacity_factor": 0.0}, "`capacity_factor` must be positive or None. Received: capacity_factor=0.0"),
        ({"images_per_group": 0}, "`images_per_group` must be at least 1. Received: images_per_group=0"),
    ],
)
def test_what_cannot_be_is_said(options, told):
    with pytest.raises(ValueError, match=told):
        MixtureOfExperts(**dict(hidden_dim=8, num_experts=4) | options)


def test_items_must_be_of_known_number():
    for shape in ((None, 5), (4, 5, 6)):
        with pytest.raises(ValueError, match="known tokens and channels. Received.*static `input_shape`"):
            MixtureOfExperts(8, 4)(keras.Input(shape))
    with pytest.raises(ValueError, match="a batch that is a multiple of `images_per_group`=4. Received: a batch of 6"):
        MixtureOfExperts(8, 4, images_per_group=4)(np.zeros((6, 20, 5), "float32"))


@pytest.mark.slow
def test_experts_shard_over_devices_with_the_same_outputs():
    """Two devices on JAX, half of the experts on each: prediction and a step of training as on one."""
    code = """
import keras, numpy as np, sys
import keras_mlp
from keras_mlp.families.sparse_mlp import experts

def run():
    keras.utils.set_random_seed(0)
    model = keras_mlp.SparseMLP(
        patch_size=4,
        dim=16,
        depths=(0, 1),
        experts=(4, 2),
        input_shape=(16, 16, 3),
        classes=3,
        include_preprocessing=False,
    )
    model.get_layer("head").kernel.assign(np.random.RandomState(1).standard_normal((16, 3)))
    images, labels = np.random.RandomState(0).standard_normal((4, 16, 16, 3)).astype("float32"), np.arange(4) % 3
    before = model.predict(images, verbose=0)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    loss = model.train_on_batch(images, labels)
    return model, [before, loss, model.predict(images, verbose=0)]

_, expected = run()
devices = keras.distribution.list_devices()
mesh = keras.distribution.DeviceMesh((1, 2), ("batch", "model"), devices)
layout = experts.layout_map(mesh)
keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch"))
model, answers = run()
for answer, wanted in zip(answers, expected):
    np.testing.assert_allclose(answer, wanted, atol=1e-5)
for variable in model.trainable_variables:
    parts = [shard.data.shape for shard in variable.value.addressable_shards]
    first, *others = variable.shape
    assert parts == [(first // 2 if "/experts_" in variable.path else first, *others)] * 2, variable.path
try:
    experts.layout_map(mesh, "expert")
except ValueError as error:
    print(error)
"""
    environment = dict(KERAS_BACKEND="jax", XLA_FLAGS="--xla_force_host_platform_device_count=2", JAX_PLATFORMS="cpu")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    assert "must be one of the mesh's" in done.stdout and "axis='expert'" in done.stdout
