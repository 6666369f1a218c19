"""MoCo v3 is what its reference is, on one device and on two."""

import dataclasses
import pathlib
import re

import golden
import keras
import numpy as np
import processes
import pytest
from keras import ops

import keras_mlp
from keras_mlp.cards import Recipe
from keras_mlp.training import data, moco_v3, recipes, train
from keras_mlp.training.data.views import two_views
from keras_mlp.training.lars import Lars
from keras_mlp.training.moco_v3 import ContrastiveLoss, MoCoV3

CASES = pathlib.Path(__file__).parent / "moco_v3"


@pytest.fixture
def float64():
    keras.config.set_dtype_policy("float64")


@pytest.mark.parametrize("name", ["loss_t02", "loss_t1"])
def test_the_loss_and_its_gradients_are_the_references(name):
    tf = pytest.importorskip("tensorflow")
    case = golden.load(CASES / f"{name}.json")
    (n, d), seed = case.input_shape, case.input_seed
    q1, q2, n1, n2 = (tf.constant(golden.image((n, d), seed + i), tf.float64) for i in range(4))
    k1, k2 = (tf.cast(tf.cast(noise + query, tf.float32), tf.float64) for noise, query in ((n1, q1), (n2, q2)))
    loss = ContrastiveLoss(case.config["temperature"], dtype="float64")
    with tf.GradientTape() as tape:
        tape.watch([q1, q2, k1, k2])
        halves = loss(k2, q1), loss(k1, q2)
        total = sum(halves)
    first, second, *keys = tape.gradient(total, [q1, q2, k1, k2])
    assert keys == [None, None]
    np.testing.assert_allclose([*halves, total], [case.loss_q1_k2, case.loss_q2_k1, case.loss], rtol=1e-9)
    np.testing.assert_allclose(first[0], case.grad_q1_first_row, atol=1e-10)
    np.testing.assert_allclose(second[-1], case.grad_q2_last_row, atol=1e-10)


WORDS = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
WORDS |= {"moving_mean": "running_mean", "moving_variance": "running_var"}


def by_reference_name(part, prefix):
    """The variables of a head, by the names that they have in the reference: numbers count the ReLUs, too."""
    found = {}
    for layer in part.layers:
        for variable in layer.weights:
            number = 3 * int(layer.name.split("_")[1]) + layer.name.endswith("norm")
            found[f"{prefix}.{number}.{WORDS[variable.name]}"] = variable
    return found


@pytest.mark.parametrize("heads", ["vit", "resnet"])
def test_projector_and_predictor_are_the_references(heads, float64):
    case = golden.load(CASES / f"heads_{heads}.json")
    config, state, features = case.config, case.state_dict(), case.images().astype("float64")
    encoder = keras.Sequential([keras.Input((config["width"],)), keras.layers.Identity()])
    model = MoCoV3(encoder, config["dim"], config["mlp_dim"], heads=heads)
    leader, predictor = model.get_layer("leader"), model.get_layer("predictor")
    attribute = {"vit": "head", "resnet": "fc"}[heads]
    variables = by_reference_name(leader, f"base_encoder.{attribute}") | by_reference_name(predictor, "predictor")
    assert set(variables) == set(state)
    for name, variable in variables.items():
        variable.assign(state[name].T)
    assert sum(np.size(variable) for variable in model.trainable_variables) == case.num_params

    np.testing.assert_allclose(predictor(leader(features)), case.predictor_eval, atol=1e-8)
    projected = leader(features, training=True)
    np.testing.assert_allclose(projected, case.projector_train, atol=1e-8)
    assert case.error(predictor(projected, training=True)) < 1e-6
    for name, expected in case.running_after_one_step_first4.items():
        before, after = state[name][:4], np.array(variables[name])[:4]
        if name.endswith("running_var"):  # PyTorch's is the unbiased one, Keras' the biased one
            n = len(features)
            after = 0.9 * before + (after - 0.9 * before) * n / (n - 1)
        np.testing.assert_allclose(after, expected, atol=1e-8)


STEPS = 1000  # of an epoch


@pytest.mark.parametrize("number", range(3))
def test_rate_and_momentum_follow_the_references_schedules(number):
    case = golden.load(CASES / "schedules.json").schedules[number]
    recipe = Recipe(
        source="test",
        learning_rate=case["lr_after_scaling"],
        epochs=case["epochs"],
        warmup_epochs=case["warmup_epochs"],
        final_learning_rate=0.0,
    )
    schedule = recipes.learning_rate(recipe, STEPS)
    found = [float(schedule(epoch * STEPS)) for epoch in case["epoch"]]
    np.testing.assert_allclose(found, case["lr"], atol=1e-6 * recipe.learning_rate)
    total = case["epochs"] * STEPS
    found = [float(moco_v3.momentum_at(epoch * STEPS, total, case["moco_m"])) for epoch in case["epoch"]]
    np.testing.assert_allclose(found, case["momentum"], atol=1e-7)


def test_lars_takes_the_references_steps(float64):
    case = golden.load(CASES / "schedules.json").lars
    weight = keras.Variable(golden.tensor("lars.weight", (4, 5)), dtype="float64")
    bias = keras.Variable(golden.tensor("lars.bias", (4,)), dtype="float64")
    lars = Lars(case["lr"], case["momentum"], case["trust_coefficient"], case["weight_decay"])
    lars.build([weight, bias])
    for step, after in enumerate(case["after_each_step"]):
        gradients = [golden.image(shape, first + step) for shape, first in (((4, 5), 60), ((4,), 70))]
        lars.apply([ops.convert_to_tensor(gradient, "float64") for gradient in gradients])
        np.testing.assert_allclose(weight, after["weight"], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(bias, after["bias"], rtol=1e-6, atol=1e-7)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(lars))
    assert (again.momentum, again.trust, again.weight_decay) == (0.9, 0.001, 0.01)


def encoder(norm=False, side=4):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(4, 2, 2, name="stem"), keras.layers.Conv2D(6, 2, activation="gelu")]
    return keras.Sequential(
        [keras.Input((side, side, 1)), *layers, *([keras.layers.BatchNormalization()] if norm else [])]
    )


def views(batch=8):
    return tuple(np.random.default_rng(i).normal(size=(batch, 4, 4, 1)).astype("float32") for i in range(2))


def weights(model):
    return [np.array(variable) for variable in model.weights]


def test_a_step_moves_the_follower_first_and_then_asks_it_for_the_keys():
    model = MoCoV3(encoder(norm=True), 5, 7, temperature=0.5, momentum=0.9)
    model.compile(keras.optimizers.SGD(0.1))
    leader, follower, predictor = model.get_layer("leader"), model.follower, model.get_layer("predictor")
    for variable in follower.trainable_variables:
        variable.assign(variable + 0.1)
    before = weights(follower), weights(leader)
    expected = keras.models.clone_model(leader)
    for variable, old, new in zip(expected.weights, *before, strict=True):
        running = variable.name.startswith("moving")
        variable.assign(old if running else 0.9 * old + 0.1 * new)
    keys = [expected(view, training=True) for view in views()]
    queries = [predictor(leader(view, training=True), training=True) for view in views()]
    loss = ContrastiveLoss(0.5)(keys[1], queries[0]) + ContrastiveLoss(0.5)(keys[0], queries[1])
    for variable, value in zip(leader.weights, before[1], strict=True):  # statistics have moved
        variable.assign(value)

    history = model.fit(views(), batch_size=8, verbose=0).history
    assert history["loss"] == [pytest.approx(float(loss), rel=1e-4)]
    for variable, value in zip(follower.weights, expected.get_weights(), strict=True):
        np.testing.assert_allclose(variable, value, atol=1e-5, err_msg=variable.path)
    moved = [np.abs(old - new).max() for old, new in zip(before[1], weights(leader), strict=True)]
    assert min(moved) > 0


def test_the_momentum_rises_with_the_steps():
    model = MoCoV3(encoder(), 5, 7, momentum=0.0, steps=2)
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(views(), batch_size=8, epochs=2, verbose=0)
    assert int(model.steps_done) == 2
    parameters = model.follower.trainable_variables
    before = [np.array(variable) for variable in parameters]
    model.fit(views(), batch_size=8, verbose=0)  # the momentum is 1
    for variable, old in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(variable, old)


def test_what_routers_add_is_part_of_the_loss_and_of_its_gradient():
    """Of Sparse-MLP, from the same weights and noise without their losses and with them."""
    tf = pytest.importorskip("tensorflow")

    def step(weight):
        keras.utils.set_random_seed(0)
        small = dict(patch_size=2, dim=8, depths=(0, 1), experts=(2, 2), input_shape=(4, 4, 1))
        features = dict(include_top=False, include_preprocessing=False, pooling="avg")
        model = MoCoV3(keras_mlp.SparseMLP(**small, **features, auxiliary_loss=weight), 5, 7)
        routers = [variable for variable in model.trainable_variables if variable.name == "router_kernel"]
        with tf.GradientTape() as tape:
            queries = model(views(), training=True)
            added = [float(loss) for loss in model.losses]
            total = model.compute_loss(views(), y_pred=queries)
        return float(total), added, tape.gradient(total, [router.value for router in routers])

    alone, none, before = step(0.0)
    total, added, after = step(1.0)
    assert not none and len(added) == 4  # of two routers for two views
    assert total - alone == pytest.approx(sum(added), rel=1e-4)
    assert min(float(ops.max(ops.abs(new - old))) for old, new in zip(before, after, strict=True)) > 1e-3


@pytest.mark.slow
def test_a_stem_that_is_not_trained_keeps_its_weights_without_being_frozen_for_later():
    found = encoder()
    model = MoCoV3(found, 5, 7, train_stem=False)
    model.compile(keras.optimizers.AdamW(0.1, weight_decay=0.1))
    stem, rest = found.layers
    before = stem.get_weights(), rest.get_weights()
    model.fit(views(), batch_size=8, epochs=3, verbose=0)
    np.testing.assert_array_equal(stem.kernel, before[0][0])
    assert np.abs(rest.kernel - before[1][0]).max() > 0.01
    assert len(found.trainable_variables) == 4 and all(variable.trainable for variable in found.variables)
    ids = [id(variable) for variable in (*model.trainable_variables, *model.non_trainable_variables)]
    assert sorted(ids) == sorted(map(id, model.variables))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict(encoder=keras.Sequential([keras.layers.Dense(10)])), "built functional or sequential"),
        (dict(heads="mlp"), "one of vit, resnet. Received: 'mlp'"),
        (dict(momentum=1.5), "in 0–1. Received: 1.5"),
        (dict(temperature=0), "above 0. Received: 0"),
    ],
)
def test_what_cannot_be_is_refused(change, told):
    with pytest.raises(ValueError, match=told):
        MoCoV3(**dict(encoder=encoder()) | change)


class Crash(keras.callbacks.Callback):
    """Ends a run in the middle of its second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1):
            raise KeyError("crash")


@pytest.mark.slow
def test_a_run_goes_on_exactly_and_leaves_plain_encoders(prepared, tmp_path):
    recipe = dataclasses.replace(recipes.pretrain(), epochs=2, warmup_epochs=0, batch_size=256, horizontal_flip=False)
    options = dict(image_size=8, channels=1, batch_size=256, recipe=recipe, data_dir=prepared)
    pairs = data.load("digits", augmentation=two_views, **options)

    def run(name, *callbacks):
        model = MoCoV3(encoder(norm=True, side=8), 5, 7, steps=2 * pairs.steps)
        fit = dict(callbacks=callbacks, verbose=0, checkpoint_seconds=0)
        train.fit(model, pairs, None, recipe, tmp_path / name, **fit)
        return model

    whole = run("whole")
    with pytest.raises(KeyError):
        run("broken", Crash())
    model = run("broken")
    for old, new in zip(whole.variables, model.variables, strict=True):
        np.testing.assert_allclose(old, new, atol=1e-6, err_msg=old.path)
    last = keras.models.load_model(tmp_path / "broken" / "last.keras")
    assert [layer.name for layer in last.layers] == [layer.name for layer in model.plain.layers]
    for old, new in zip(model.plain.get_weights(), last.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ValueError, match="for a keras_mlp.training.moco_v3.MoCoV3 and for data of pairs"):
        train.fit(encoder(side=8), data.load("digits", **options), None, recipe, tmp_path / "other")


TWO_REPLICAS = """
import keras, numpy as np, sys, tensorflow as tf
from keras_mlp.training.lars import Lars
from keras_mlp.training.moco_v3 import MoCoV3

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
views = tuple(np.random.default_rng(i).normal(size=(16, 4, 4, 1)) for i in range(2))
keras.config.set_floatx("float64")

def train(strategy, **added):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Conv2D(4, 2, 2), keras.layers.Conv2D(6, 2, activation="gelu", **added)]
        encoder = keras.Sequential([keras.Input((4, 4, 1)), *layers])
        model = MoCoV3(encoder, 5, 7, momentum=0.9, steps=10)
        model.compile(Lars(1.0, trust=0.1, weight_decay=1e-3))
    data = tf.data.Dataset.from_tensor_slices((views,)).batch(8, drop_remainder=True)
    losses = model.fit(data, epochs=2, verbose=0).history["loss"]
    return losses, [np.array(variable) for variable in model.variables]

one = train(tf.distribute.get_strategy())
two = train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
np.testing.assert_allclose(one[0], two[0], rtol=1e-9)
for single, mirrored in zip(one[1], two[1], strict=True):
    np.testing.assert_allclose(single, mirrored, atol=1e-9)
assert one[0][0] != one[0][1]
print("equal", *one[0], *two[0])
try:
    train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), activity_regularizer="l2")
except ValueError as error:
    print("refused:", error)
"""


@pytest.mark.slow
def test_two_replicas_train_as_one_device_with_the_whole_batch():
    """In a process of its own, since devices are made when TensorFlow starts."""
    found = processes.run(["-c", TWO_REPLICAS])
    assert found.stdout.startswith("equal"), found.stderr
    assert re.search("refused: .*sequential.* adds losses of its own.*KERAS_BACKEND=jax", found.stdout), found
