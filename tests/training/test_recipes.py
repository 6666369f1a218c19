"""From a recipe to what `compile` takes."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from keras_mlp.cards import Recipe
from keras_mlp.classifiers import Output
from keras_mlp.training import metrics, precision, recipes
from keras_mlp.training.adamw import AdamW

RECIPE = Recipe(
    source="test",
    learning_rate=0.1,
    final_learning_rate=0.01,
    batch_size=100,
    epochs=10,
    warmup_epochs=2,
    precision=None,
)


def change(**values):
    return dataclasses.replace(RECIPE, **values)


# Rates


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_rate_rises_to_its_peak_and_falls_to_its_floor(schedule):
    rate = recipes.learning_rate(change(schedule=schedule), steps_per_epoch=10)
    found = [float(rate(step)) for step in (0, 10, 20, 60, 100, 200)]
    np.testing.assert_allclose(found, [0, 0.05, 0.1, 0.055, 0.01, 0.01], rtol=1e-5)


def test_cosine_and_linear_differ_between():
    cosine, linear = (float(recipes.learning_rate(change(schedule=s), 10)(40)) for s in ("cosine", "linear"))
    assert cosine == pytest.approx(0.01 + 0.09 * (1 + math.cos(math.pi / 4)) / 2, rel=1e-5)
    assert linear == pytest.approx(0.01 + 0.09 * 0.75, rel=1e-5)


def test_a_constant_rate_and_no_warmup():
    rate = recipes.learning_rate(change(schedule="constant", warmup_epochs=0), steps_per_epoch=10)
    np.testing.assert_allclose([float(rate(step)) for step in (0, 50, 100)], 0.1, rtol=1e-6)


def test_warmup_in_steps_overrides_epochs():
    rate = recipes.learning_rate(change(warmup_steps=50), steps_per_epoch=10)
    assert float(rate(25)) == pytest.approx(0.05)


def test_a_recipe_in_steps_ends_at_its_steps_and_sees_as_many_images_in_other_batches():
    recipe = change(steps=95, schedule="linear", warmup_steps=5, final_learning_rate=0.0)
    rate = recipes.learning_rate(recipe, steps_per_epoch=10)
    np.testing.assert_allclose([float(rate(step)) for step in (5, 50, 95, 100)], [0.1, 0.05, 0, 0], atol=1e-7)
    assert recipes.in_epochs(recipe, 10).epochs == 10 and recipes.in_epochs(recipe, 1000).epochs == 1
    assert recipes.in_epochs(change(), 7) == change()
    assert recipes.at_batch_size(recipe, 25).steps == 380


def test_a_warmup_as_long_as_the_training_is_refused():
    with pytest.raises(ValueError, match=r"warm-up of 500 steps does not fit into 100 steps, in epochs of 10\."):
        recipes.learning_rate(change(warmup_steps=500), steps_per_epoch=10)


@pytest.mark.parametrize(("rule", "factor"), [("linear", 4), ("sqrt", 2), ("constant", 1)])
def test_rates_follow_the_batch_size_by_the_recipes_rule(rule, factor):
    scaled = recipes.at_batch_size(change(learning_rate_rule=rule), 400)
    assert scaled.batch_size == 400
    assert scaled.learning_rate == pytest.approx(0.1 * factor)
    assert scaled.final_learning_rate == pytest.approx(0.01 * factor)


def test_the_schedule_survives_saving():
    rate = recipes.learning_rate(RECIPE, 10)
    config = keras.optimizers.schedules.serialize(rate)
    again = keras.optimizers.schedules.deserialize(config)
    assert [float(again(step)) for step in (3, 30, 90)] == [float(rate(step)) for step in (3, 30, 90)]


# Optimisers


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adamw", AdamW),
        ("adam", keras.optimizers.Adam),
        ("lamb", keras.optimizers.Lamb),
        ("sgd", keras.optimizers.SGD),
    ],
)
def test_optimisers_have_the_recipes_values(name, kind, small_model):
    recipe = change(optimizer=name, weight_decay=0.3, gradient_clip_norm=2.0, ema_decay=0.9)
    found = recipes.optimizer(recipe, small_model(), steps_per_epoch=10, batch_size=200)
    assert type(found) is kind
    assert (found.weight_decay, found.global_clipnorm, found.use_ema, found.ema_momentum) == (0.3, 2.0, True, 0.9)
    assert float(found._learning_rate(20)) == pytest.approx(0.2)


def test_the_papers_sgd_has_momentum(small_model):
    assert recipes.optimizer(change(optimizer="sgd"), small_model(), 10).momentum == 0.9


def test_weight_decay_spares_the_variables_whose_paths_hold_the_recipes_words(small_model):
    """With gradients of zero only decay moves a weight, by rate times decay."""
    model = small_model()
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    recipe = change(
        optimizer="sgd",
        warmup_epochs=0,
        schedule="constant",
        weight_decay=0.5,
        no_weight_decay=("bias", "beta", "gamma", "head"),
    )
    optimizer = recipes.optimizer(recipe, model, steps_per_epoch=10)
    optimizer.apply([np.zeros(v.shape, "float32") for v in model.trainable_variables], model.trainable_variables)
    moved = {v.path for v in model.trainable_variables if np.any(v.numpy() != 1)}
    assert {path.partition("/")[2] for path in moved} == {"hidden/kernel"} or moved == {"hidden/kernel"}
    kernel = model.get_layer("hidden").kernel.numpy()
    np.testing.assert_allclose(kernel, 1 - 0.1 * 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    "policy", [*(pytest.param(p, marks=pytest.mark.slow) for p in ("float32", "mixed_bfloat16")), "mixed_float16"]
)
def test_the_loss_is_scaled_where_the_model_computes_in_float16(policy, small_model):
    keras.config.set_dtype_policy(policy)
    model = small_model()
    keras.config.set_dtype_policy("float32")  # the model keeps its own
    assert precision.of(model) == policy
    found = recipes.optimizer(RECIPE, model, 10)
    assert isinstance(found, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    model.compile(**recipes.compile_arguments(RECIPE, model, 10))
    model.fit(np.zeros((4, 8, 8, 1)), np.eye(10)[:4], verbose=0)


def test_the_default_precision_is_one_that_keras_knows():
    assert precision.default() in ("float32", "mixed_bfloat16", "mixed_float16")


# Losses and metrics

LOGITS = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3]])
LABELS = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def test_label_smoothing_spreads_its_share_over_all_classes(small_model):
    loss = recipes.loss(change(label_smoothing=0.3), small_model(activation="softmax"))
    smoothed = 0.7 * LABELS + 0.1
    expected = -(smoothed * np.log(softmax(LOGITS))).sum(-1).mean()
    assert float(loss(LABELS, softmax(LOGITS))) == pytest.approx(expected, rel=1e-5)


def test_the_sigmoid_loss_is_the_sum_over_the_classes(small_model):
    recipe = change(loss="sigmoid", label_smoothing=0.3)
    smoothed = 0.7 * LABELS + 0.1
    probabilities = 1 / (1 + np.exp(-LOGITS))
    expected = -(smoothed * np.log(probabilities) + (1 - smoothed) * np.log(1 - probabilities)).sum(-1).mean()
    for activation, output in ((None, LOGITS), ("sigmoid", probabilities)):
        loss = recipes.loss(recipe, small_model(activation=activation))
        assert float(loss(LABELS, output)) == pytest.approx(expected, rel=1e-5)


def test_logits_and_probabilities_have_the_same_loss(small_model):
    logits = recipes.loss(RECIPE, small_model(activation=None))(LABELS, LOGITS)
    probabilities = recipes.loss(RECIPE, small_model(activation="softmax"))(LABELS, softmax(LOGITS))
    assert float(logits) == pytest.approx(float(probabilities), rel=1e-5)


def test_a_loss_that_does_not_suit_the_output_is_refused(small_model):
    with pytest.raises(ValueError, match=r"loss is the sigmoid.*activation softmax.*classifier_activation='sigmoid'"):
        recipes.loss(change(loss="sigmoid"), small_model(activation="softmax"))


def test_top5_is_left_out_where_it_says_nothing():
    for units, names in ((10, ["top1", "top5"]), (5, ["top1"])):
        assert [metric.name for metric in metrics.of(Output("exclusive", "softmax", units))] == names


# Recipes of our own


@pytest.mark.parametrize("recipe", [recipes.digits(), recipes.finetune(), recipes.finetune("paper")])
def test_our_own_recipes_compile(recipe, small_model):
    model = small_model()
    model.compile(**recipes.compile_arguments(recipe, model, steps_per_epoch=100))


def test_mistakes_are_named(small_model):
    with pytest.raises(ValueError, match=r'"adamw" or "paper".*\'sgd\''):
        recipes.finetune("sgd")
