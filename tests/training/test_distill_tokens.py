"""A DynamicViT learns from its backbone: the losses of the authors' code, their gradients, and whole runs."""

import dataclasses
import json
import os
import subprocess
import sys

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mlp
from keras_mlp.checkpoints import layouts, naming
from keras_mlp.families.dynamic_vit.choices import Choice
from keras_mlp.training import train
from keras_mlp.training.distill_tokens import TokenDistiller, begin_as

REFERENCE = json.loads((golden.ROOT / "dynamic_vit" / "_losses.json").read_text())
LAYOUTS = {"deit": "vit", "lvvit": "vit"}
KINDS = ("deit", "lvvit", "convnext", "swin")
SMALL = dict(kind="deit", patch_size=2, dims=(8,), depths=(2,), heads=(2,), pruning=(1,))


def quiet(model):
    """The model with decisions of the larger score, and batch norms at rest."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
        if isinstance(layer, Choice):
            layer.noise = False
    return model


def reference(kind):
    """A training case, the student with its tensors, and a teacher with others."""
    case = golden.load(f"dynamic_vit/_train_tiny_{kind}.json")
    builder, arguments = golden.arguments(case)
    teacher = builder(**arguments | {"pruning": (), "keep_rate": 0.7}, classes=10, classifier_activation=None)
    new = ("score_predictor", "fast_path", "fastmlp")
    kept = {name: shape for name, shape in case.tensors.items() if not any(part in name for part in new)}
    keras_mlp.load_checkpoint(teacher, {name: golden.tensor(f"teacher.{name}", kept[name]) for name in kept})
    return case, quiet(golden.build(case)), teacher


def small(seed=0, shape=(8, 8, 1), **changes):
    """A DynamicViT of 8 x 8 grey pixels."""
    keras.utils.set_random_seed(seed)
    model = keras_mlp.DynamicViT(**SMALL | changes, input_shape=shape, classes=10)
    for layer in model.layers:
        if layer.name in ("head", "head_auxiliary"):  # which start from zero
            layer.kernel.assign(golden.tensor(layer.name, layer.kernel.shape))
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_the_references(kind):
    keras.config.set_dtype_policy("float64")
    case, student, teacher = reference(kind)
    wanted = REFERENCE["losses"][kind]
    distiller = TokenDistiller(student, teacher)
    labels = np.array(REFERENCE["labels"])
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def loss(share):
        distiller.share = share
        return distiller.compute_loss(case.images(), labels, distiller(case.images(), training=True))

    weight = (2 if kind in ("deit", "lvvit") else 10) / len(case.keep)
    plain = wanted["cross_entropy"] + weight * wanted["ratios"]
    assert float(loss(0.0)) == pytest.approx(plain, rel=1e-5)
    assert float(loss(1.0)) == pytest.approx(plain + wanted["answers"] + wanted["tokens"], rel=1e-5)
    with tf.GradientTape() as tape:
        total = loss(0.5)
    assert float(total) == pytest.approx(wanted["loss"], rel=1e-5)
    places, _ = layouts.REGISTRY["dynamic_vit"][LAYOUTS.get(kind, kind)].places(case.state_dict())
    named = naming.named_variables(student)
    variables = {name: named[places[name][0]][1].value for name in wanted["gradients"]}
    found = {name: float(tf.norm(gradient)) for name, gradient in tape.gradient(total, variables).items()}
    assert found == pytest.approx(wanted["gradients"], rel=1e-4)


def test_a_student_trains_beside_its_backbone_and_is_a_plain_model_afterwards(tmp_path):
    """With the draws of training, in graphs; its file has no trace of the teacher."""
    teacher, student = small(1, pruning=()), small(2)
    begin_as(student, teacher)
    images = np.random.default_rng(0).uniform(0, 255, (32, 8, 8, 1)).astype("float32")
    labels, before = np.arange(32) % 10, teacher.get_weights()
    distiller = TokenDistiller(student, teacher)
    distiller.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = distiller.fit(images, labels, batch_size=8, epochs=8, verbose=0).history
    assert history["loss"][-1] < 0.9 * history["loss"][0] and 0 <= history["accuracy"][-1] <= 1
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    distiller.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    assert type(loaded) is type(student) and len(loaded.weights) == len(student.weights)
    np.testing.assert_allclose(loaded(images), student(images), atol=1e-5)
    again = TokenDistiller(loaded, teacher)
    again.compile(loss="sparse_categorical_crossentropy", run_eagerly=True)
    losses = [one.compute_loss(images, labels, one(images, training=True)) for one in (quiet(again), quiet(distiller))]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-4)


@pytest.mark.parametrize("kind", ["deit", "lvvit"])
def test_a_student_that_keeps_all_that_it_has_of_the_teacher_has_nothing_to_learn_from_it(kind):
    """With the teacher's weights and decisions that keep every token."""
    options = dict(kind=kind, patch_size=4, stem_dim=4, shape=(16, 16, 3), classifier_activation=None)
    teacher, student = small(1, **options | {"pruning": ()}), quiet(small(2, **options))
    begin_as(student, teacher)
    student.get_layer("predictors_0_fc4").bias.assign([100.0, -100.0])
    distiller = TokenDistiller(student, teacher, share=1.0)
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = 100 * golden.image((4, 16, 16, 3)), np.arange(4)
    weights = np.array([1.0, 0.0, 3.0, 0.0], "float32")
    answer = distiller(images, training=True)
    own = distiller.loss(labels, answer.get("head", answer["output"]), weights)
    found = distiller.compute_loss(images, labels, answer, weights)
    assert float(found) == pytest.approx(float(own + sum(student.losses)), abs=1e-5)
    teacher.get_layer("norm").beta.assign(np.linspace(-1, 1, 8))
    assert float(distiller.compute_loss(images, labels, answer, weights)) > float(found) + 1e-3


def test_an_image_without_weight_teaches_nothing():
    teacher, student = small(1, pruning=()), quiet(small(2))
    distiller = TokenDistiller(student, teacher, share=1.0)
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy())
    images, labels = 100 * golden.image((2, 8, 8, 1)), np.arange(2)

    def loss(images):
        answer = distiller(images, training=True)
        found = distiller.compute_loss(images, labels, answer, np.array([1.0, 0.0], "float32"))
        return float(found) - float(sum(student.losses))

    changed = images * np.array([1, -3], "float32").reshape(2, 1, 1, 1)
    assert loss(changed) == pytest.approx(loss(images), rel=1e-5)
    assert loss(changed[::-1]) != pytest.approx(loss(images), rel=1e-3)


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ((dict(pruning=()), dict(pruning=())), "`student` should be a DynamicViT that chooses among tokens"),
        ((dict(), dict()), r"`teacher` should have all tokens.*build it with pruning=\(\)"),
        ((dict(), dict(dims=(12,), pruning=())), r"are \(4, 4, 8\), the teacher's \(4, 4, 12\)"),
    ],
)
def test_models_without_the_same_tokens_are_refused(models, told):
    with pytest.raises(ValueError, match=told):
        TokenDistiller(*(small(**changes) for changes in models))


def test_a_model_around_a_network_and_a_start_from_another_one_are_refused():
    student = small()
    wrapped = keras.Sequential([keras.Input((8, 8, 1)), small(pruning=())])
    with pytest.raises(ValueError, match="ends in its own layer 'head'.*with nothing around it"):
        TokenDistiller(student, wrapped)
    before = student.get_weights()
    with pytest.raises(ValueError, match="They differ in .*blocks_2_.*such as the student's builder with pruning"):
        begin_as(student, small(depths=(3,), pruning=()))
    for old, new in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("kind", ["lvvit", "convnext"])
def test_other_backends_train_with_the_same_loss(backend, kind):
    """One step of `fit`, of a kind that drops tokens and of one that does not."""
    pytest.importorskip(backend)
    code = """
import sys, keras, numpy as np
from training import test_distill_tokens as here
case, student, teacher = here.reference(sys.argv[1])
distiller = here.TokenDistiller(student, teacher)
distiller.compile(keras.optimizers.SGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
labels = np.array(here.REFERENCE["labels"])
print(*distiller.fit(case.images(), labels, batch_size=2, epochs=2, verbose=0).history["loss"])
"""
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(golden.ROOT.parent)}
    done = subprocess.run([sys.executable, "-c", code, kind], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    first, second = map(float, done.stdout.split())
    assert first == pytest.approx(REFERENCE["losses"][kind]["loss"], rel=1e-4) and second < first


@pytest.mark.slow
def test_a_run_beside_the_backbone_goes_on_where_it_ended(digits, tmp_path, plain):
    """The recipe's augmentation and averaged weights, and a run that is extended."""
    recipe = dataclasses.replace(plain, learning_rate=2e-3, ema_decay=0.9, epochs=1)
    teacher = small(1, pruning=())

    def run(epochs, **options):
        student = small(2)
        begin_as(student, teacher)
        chosen = dataclasses.replace(recipe, epochs=epochs)
        data = digits(mixup=0.2), digits("test")
        return train.fit(TokenDistiller(student, teacher), *data, chosen, tmp_path, verbose=0, **options).history

    first, both = run(1), run(2, extend=True)
    assert both["loss"][:1] == pytest.approx(first["loss"]) and both["loss"][1] < both["loss"][0]
    assert not isinstance(keras.models.load_model(tmp_path / "last.keras"), TokenDistiller)
