"""Rates that fall with depth, layers that begin to train later, classes that weigh the same."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.training import data, depth, recipes, train


def layered():
    """A model whose layers are named as those of the families, with statistics in each block."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(16, name="stem")]
    for i in range(2):
        layers.append(keras.layers.BatchNormalization(name=f"blocks_{i}_norm"))
        layers.append(keras.layers.Dense(16, "relu", name=f"blocks_{i}_mixing"))
    layers.append(keras.layers.LayerNormalization(name="norm"))
    layers.append(keras.layers.Dense(10, "softmax", dtype="float32", name="head"))
    inputs = x = keras.Input((8, 8, 1))
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def test_layers_are_grouped_by_block():
    names = [[layer.name for layer in group] for group in depth.groups(layered())]
    assert names == [
        ["stem"],
        ["blocks_0_norm", "blocks_0_mixing"],
        ["blocks_1_norm", "blocks_1_mixing"],
        ["norm", "head"],
    ]
    tree = keras_mlp.ASMLP(patch_size=2, dim=8, depths=(1, 2), shift_size=3, input_shape=(16, 16, 3), classes=10)
    assert [group[0].name for group in depth.groups(tree)] == [
        *("stem", "stages_0_0_norm1", "down_0_norm", "stages_1_0_norm1", "stages_1_1_norm1", "norm"),
    ]


def test_a_model_without_blocks_is_grouped_by_layer(small_model):
    assert [[layer.name for layer in group] for group in depth.groups(small_model())] == [
        ["hidden"],
        ["norm"],
        ["head"],
    ]


@pytest.mark.parametrize("name", ["adam", "adamw", "lamb", "sgd"])
def test_a_step_is_shorter_by_the_factor_the_deeper_a_variable_is(name, plain):
    """Weight decay, too. The first step has the same direction with every factor."""
    moved = []
    for decay in (1.0, 0.5):
        model = layered()
        recipe = dataclasses.replace(plain, optimizer=name, weight_decay=0.1, layer_decay=decay, schedule="constant")
        optimizer = recipes.optimizer(recipe, model, steps_per_epoch=10)
        before = [variable.numpy() for variable in model.trainable_variables]
        gradients = [np.cos(np.arange(v.size)).reshape(v.shape).astype("float32") for v in before]
        optimizer.apply(gradients, model.trainable_variables)
        moved.append([v.numpy() - old for v, old in zip(model.trainable_variables, before, strict=True)])
    factors = {"stem": 1 / 8, "blocks_0": 1 / 4, "blocks_1": 1 / 2, "norm": 1, "head": 1}
    for variable, whole, part in zip(model.trainable_variables, *moved, strict=True):
        (factor,) = (factor for start, factor in factors.items() if variable.path.startswith(start))
        np.testing.assert_allclose(part, factor * whole, rtol=1e-3, atol=1e-7, err_msg=variable.path)


def test_a_variable_is_as_fast_as_the_first_word_in_its_path_says(plain):
    words = (("blocks_1*mixing", 3.0), ("blocks", 2.0), ("head/b", 10.0))
    factors = depth.rate_factors(layered(), 0.5, words)
    expected = {"stem/kernel": 1 / 8, "blocks_0_mixing/kernel": 2 / 4, "blocks_1_norm/gamma": 2 / 2}
    expected |= {"blocks_1_mixing/bias": 3 / 2, "norm/beta": 1, "head/kernel": 1, "head/bias": 10}
    assert {path: factors[path] for path in expected} == expected
    optimizer = recipes.optimizer(dataclasses.replace(plain, rate_factors=words), layered(), steps_per_epoch=10)
    assert optimizer.rate_factors["head/bias"] == 10 and optimizer.rate_factors["blocks_0_mixing/bias"] == 2


def steps(model, recipe, count, gradient=1.0):
    """What each of so many steps, two of which are an epoch, moves of each variable, by its path."""
    optimizer, moved = recipes.optimizer(recipe, model, steps_per_epoch=2), []
    for _ in range(count):
        before = [variable.numpy() for variable in model.trainable_variables]
        optimizer.apply([gradient * np.ones_like(value) for value in before], model.trainable_variables)
        after = zip(model.trainable_variables, before, strict=True)
        moved.append({variable.path: variable.numpy() - value for variable, value in after})
    return moved


def test_a_rate_is_0_in_as_many_epochs_as_the_first_word_says(plain):
    """For weight decay, too."""
    delays = (("blocks_1", 0), ("blocks", 1), ("norm", 2))
    recipe = dataclasses.replace(plain, rate_delays=delays, weight_decay=0.1, schedule="constant")
    begun = {"blocks_1": 0, "blocks_0": 2, "norm": 4, "stem": 0, "head": 0}
    for step, moved in enumerate(steps(layered(), recipe, 5)):
        for path, change in moved.items():
            (first,) = (first for start, first in begun.items() if path.startswith(start))
            assert np.any(change) == (step >= first), (step, path)


def test_a_factor_of_0_leaves_a_variable_as_it_is(plain):
    recipe = dataclasses.replace(plain, rate_factors=(("stem", 0.0),), weight_decay=0.1)
    moved = steps(layered(), recipe, 1)[0]
    assert {path for path, change in moved.items() if not np.any(change)} == {"stem/kernel", "stem/bias"}


def test_the_optimiser_survives_saving(digits, plain, tmp_path):
    recipe = dataclasses.replace(plain, layer_decay=0.5, epochs=1)
    train.fit(layered(), digits(), None, recipe, tmp_path, verbose=0)
    model = keras.models.load_model(tmp_path / "last.keras")
    assert type(model.optimizer).__name__ == "AdamWByDepth"
    assert model.optimizer.rate_factors == depth.rate_factors(model, 0.5)
    assert int(model.optimizer.iterations) == 11


class Watch(keras.callbacks.Callback):
    """Keeps every layer's weights at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append({layer.name: layer.get_weights() for layer in self.model.layers if layer.weights})

    def changed(self, epoch):
        """Names of the layers of which anything changed in an epoch."""
        before, after = self.seen[epoch - 1], self.seen[epoch]
        return {name for name in after if not all(map(np.array_equal, before[name], after[name]))}


@pytest.mark.parametrize("policy", [pytest.param("float32", marks=pytest.mark.slow), "mixed_float16"])
def test_blocks_begin_to_train_one_after_the_other(digits, plain, tmp_path, policy):
    keras.config.set_dtype_policy(policy)
    model, watch = layered(), Watch()
    recipe = dataclasses.replace(plain, epochs=5, unfreeze_epochs=(2, 4), layer_decay=0.7, ema_decay=0.9)
    train.fit(model, digits(), digits("test"), recipe, tmp_path, callbacks=[watch], verbose=0)
    top, all_ = {"norm", "head"}, {layer.name for layer in model.layers if layer.weights}
    assert [watch.changed(epoch) for epoch in (1, 2, 3, 4)] == [
        top,
        *[top | {"blocks_1_norm", "blocks_1_mixing"}] * 2,
        all_,
    ]
    for found in (model, *(keras.models.load_model(tmp_path / f"{name}.keras") for name in ("best", "last"))):
        assert all(layer.trainable for layer in found.layers)


def test_what_the_user_froze_stays_frozen(digits, plain, tmp_path):
    model, watch = layered(), Watch()
    model.get_layer("stem").trainable = False
    recipe = dataclasses.replace(plain, unfreeze_epochs=(1,))
    train.fit(model, digits(), None, recipe, tmp_path, callbacks=[watch], verbose=0)
    assert "stem" not in watch.changed(1) | watch.changed(2) and "blocks_0_norm" in watch.changed(1)
    assert not model.get_layer("stem").trainable


@pytest.mark.slow
def test_a_run_that_is_broken_off_goes_on_in_its_stage(digits, plain, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) in (8, 15, 25):
                raise RuntimeError("stopped")

    recipe = dataclasses.replace(plain, unfreeze_epochs=(1, 2), layer_decay=0.7, ema_decay=0.9)
    whole, resumed = layered(), None
    train.fit(whole, digits(), None, recipe, tmp_path / "whole", verbose=0)
    for stops in ([Stop()], [Stop()], [Stop()], []):
        resumed = layered()
        try:
            train.fit(
                resumed, digits(), None, recipe, tmp_path / "run", callbacks=stops, verbose=0, checkpoint_seconds=0
            )
        except RuntimeError:
            assert all(layer.trainable for layer in resumed.layers)
    assert all(map(np.array_equal, whole.get_weights(), resumed.get_weights()))


# Class weights


def test_rare_classes_weigh_more(tmp_path, plain):
    for name, count in (("many", 12), ("few", 4)):
        (tmp_path / name).mkdir()
        for i in range(count):
            keras.utils.save_img(tmp_path / name / f"{i}.png", np.full((4, 4, 3), i), scale=False)
    recipe = dataclasses.replace(plain, balance_classes=True)
    loaded = data.load(tmp_path, "all", image_size=4, batch_size=16, recipe=recipe)
    ((_, labels, weights),) = loaded.dataset.take(1)
    np.testing.assert_allclose(weights, np.where(labels[:, 0] > 0, 2.0, 2 / 3), rtol=1e-6)  # "few" comes first
    assert np.sum(weights) == pytest.approx(16)
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    history = train.fit(model, loaded, None, dataclasses.replace(recipe, epochs=1), tmp_path / "run", verbose=0)
    assert np.isfinite(history.history["loss"]).all()
