"""A student learns from a teacher, and is a plain model afterwards."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_mlp import heads
from keras_mlp.classifiers import Output
from keras_mlp.training import distill, train
from keras_mlp.training.distill import Distiller, TeacherLoss


def classifier(shape=(8, 8, 1), classes=10, activation=None, seed=0, **head):
    """A linear one, in which every class comes up."""
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(classes, activation, **head)]
    return keras.Sequential([keras.Input(shape), *layers])


def images(count=256, shape=(8, 8, 1)):
    return np.random.default_rng(0).uniform(0, 255, (count, *shape)).astype("float32")


def distributions(seed, activation=None):
    """Logits, and them or what an activation makes of them."""
    found = np.random.default_rng(seed).normal(0, 2, (5, 4)).astype("float32")
    return found, {None: found, "softmax": ops.softmax(found), "sigmoid": ops.sigmoid(found)}[activation]


def test_soft_targets_are_the_divergence_of_softened_probabilities():
    teacher, student = distributions(1)[0], distributions(2)[0]
    p, q = (np.exp(x / 4) / np.exp(x / 4).sum(-1, keepdims=True) for x in (teacher, student))
    expected = 16 * np.mean(np.sum(p * np.log(p / q), -1))
    assert float(TeacherLoss("soft", 4.0)(teacher, student)) == pytest.approx(expected, rel=1e-5)
    assert float(TeacherLoss("soft", 4.0)(teacher, teacher + 3)) == pytest.approx(0, abs=1e-5)


def test_hard_targets_are_the_teachers_decisions():
    teacher, student = distributions(1)[0], distributions(2)[0]
    labels = np.eye(4)[teacher.argmax(-1)]
    expected = keras.losses.CategoricalCrossentropy(from_logits=True)(labels, student)
    assert float(TeacherLoss("hard")(teacher, student)) == pytest.approx(float(expected), rel=1e-6)
    assert float(TeacherLoss("hard")(10 * teacher, student)) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_logits_are_had_from_every_kind_of_output(activation):
    wanted, answers = distributions(3, activation)
    found = np.asarray(Output("exclusive", activation or "linear", 4).logits(answers))
    difference = found - wanted
    np.testing.assert_allclose(difference, np.broadcast_to(difference[:, :1], wanted.shape), atol=1e-4)


@pytest.mark.parametrize("size", [(5, 12), (16, 3), (9, 9), (None, 4)])
def test_images_are_resized_as_tensorflow_does_with_antialiasing(size):
    found = distill.resize(ops.convert_to_tensor(images(2, (9, 9, 3))), size)
    wanted = [side or 9 for side in size]
    expected = tf.image.resize(images(2, (9, 9, 3)), wanted, antialias=True)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(("student_ends", "teacher_ends"), [(None, "softmax"), ("softmax", None)])
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_a_student_learns_from_the_teacher_alone(kind, student_ends, teacher_ends):
    """The labels say something else, and count for nothing."""
    student, teacher = classifier(activation=student_ends, seed=1), classifier(activation=teacher_ends, seed=2)
    wrong = np.eye(10)[(teacher.predict(images(), verbose=0).argmax(-1) + 1) % 10]

    def agreement():
        answers = (model.predict(images(), verbose=0).argmax(-1) for model in (student, teacher))
        return np.mean(np.equal(*answers))

    assert agreement() < 0.3
    distiller = Distiller(student, teacher, kind, share=1.0)
    distiller.compile(keras.optimizers.Adam(0.03), keras.losses.CategoricalCrossentropy(from_logits=not student_ends))
    distiller.fit(np.tile(images(), (30, 1, 1, 1)), np.tile(wrong, (30, 1)), batch_size=64, shuffle=False, verbose=0)
    assert agreement() > 0.85


def test_the_share_mixes_the_two_losses_and_weights_hold_for_both():
    student, teacher = classifier(seed=1), classifier(seed=2)
    labels, weights = np.eye(10)[np.arange(256) % 10], np.arange(256) % 3.0
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    distiller = Distiller(student, teacher, "soft", temperature=2.0, share=0.3)
    distiller.compile("sgd", loss)
    own = loss(labels, student(images()), weights)
    taught = TeacherLoss("soft", 2.0)(teacher(images()), student(images()), weights)
    found = distiller.compute_loss(images(), labels, student(images()), weights)
    assert float(found) == pytest.approx(0.7 * float(own) + 0.3 * float(taught), rel=1e-5)
    assert distiller.evaluate(images(), labels, 256, sample_weight=weights, verbose=0) == pytest.approx(float(own))


def test_the_teacher_takes_another_size_and_other_values_and_stays_as_it_is():
    teacher = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.9),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    before = teacher.get_weights()

    def preprocess(grey):
        assert grey.shape[1:] == (6, 6, 1)
        return ops.repeat(grey / 127.5 - 1, 3, axis=-1)

    distiller = Distiller(classifier(), teacher, preprocess=preprocess)
    distiller.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=True)
    distiller.fit(images(), np.eye(10)[np.zeros(256, int)], verbose=0)
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert teacher.trainable and not [layer for layer in distiller.layers if layer in teacher.layers]
    resized = tf.image.resize(images(), (6, 6), antialias=True)
    np.testing.assert_allclose(distiller.lesson.logits(images()), teacher(preprocess(resized)), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict(teacher=classifier(classes=7)), "the student has 10, the teacher 7"),
        (dict(teacher=classifier(shape=(8, 8, 3))), "of 1 channels, the teacher of 3. Give `preprocess`"),
        (dict(teacher=classifier(activation="tanh")), "`teacher`.*softmax, sigmoid or logits.*last activation is tanh"),
        (dict(teacher=keras.Sequential([keras.layers.Dense(10)])), "`teacher` should be a built functional"),
        (
            dict(teacher=keras.Sequential([keras.Input((8, 8, 1)), keras.layers.ReLU()])),
            r"\(None, 8, 8, 1\) to \(None, 8, 8, 1\)",
        ),
        (dict(kind="warm"), '"hard" or "soft". Received: \'warm\''),
        (dict(temperature=0.0), "above 0. Received: 0.0"),
        (dict(share=1.5), "in 0–1. Received: 1.5"),
    ],
)
def test_what_does_not_go_together_is_refused(change, told):
    with pytest.raises(ValueError, match=told):
        Distiller(**dict(student=classifier(), teacher=classifier()) | change)


class Crash(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 7:
            raise KeyError("crash")


@pytest.mark.slow
def test_a_run_with_a_teacher_goes_on_exactly_and_leaves_plain_students(digits, small_model, tmp_path, plain):
    recipe = dataclasses.replace(plain, epochs=2, ema_decay=0.9)

    def run(name, *callbacks):
        distiller = Distiller(small_model(), classifier(seed=5), "soft")
        train.fit(distiller, digits(mixup=0.2), digits("test"), recipe, tmp_path / name, callbacks=callbacks, verbose=0)
        return distiller.get_weights()

    whole = run("whole")
    with pytest.raises(KeyError):
        train.fit(
            Distiller(small_model(), classifier(seed=5), "soft"),
            *(digits(mixup=0.2), digits("test"), recipe, tmp_path / "broken"),
            callbacks=[Crash()],
            verbose=0,
            checkpoint_seconds=0,
        )
    for old, new in zip(whole, run("broken"), strict=True):
        np.testing.assert_allclose(old, new, atol=1e-6)
    for name in ("best", "last"):
        student = keras.models.load_model(tmp_path / "broken" / f"{name}.keras")
        assert not isinstance(student, Distiller)
        assert [w.shape for w in student.weights] == [w.shape for w in small_model().weights]
    for old, new in zip(whole, student.get_weights(), strict=True):
        np.testing.assert_allclose(old, new, atol=1e-6)
    assert int(student.optimizer.iterations) == 2 * digits().steps


def two_headed(activation=None, shape=(8, 8, 1), classes=10, seed=0):
    """A linear student with a head for the labels and one for the teacher."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(shape)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, heads.classify_twice(x, x, classes, activation))


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_of_two_heads_one_learns_from_the_labels_and_the_other_from_the_teacher(activation):
    student, teacher = two_headed(activation), classifier(seed=2)
    taught = teacher.predict(images(), verbose=0).argmax(-1)
    labels = (taught + 1) % 10
    distiller = Distiller(student, teacher)
    loss = keras.losses.CategoricalCrossentropy(from_logits=not activation)
    distiller.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"])
    given = np.tile(images(), (30, 1, 1, 1)), np.eye(10)[np.tile(labels, 30)]
    history = distiller.fit(*given, batch_size=64, shuffle=False, verbose=0).history
    found = {name: np.argmax(logits, -1) for name, logits in heads.apart(student)(images()).items()}
    assert np.mean(found["head"] == labels) > 0.7 and np.mean(found["head_dist"] == taught) > 0.7
    assert 0 < history["accuracy"][0] < 1
    assert distiller.predict(images(2), verbose=0).shape == (2, 10)
    expected = loss(np.eye(10)[labels], student(images()))
    evaluated = distiller.evaluate(images(), np.eye(10)[labels], 256, verbose=0)
    assert evaluated[0] == pytest.approx(float(expected), rel=1e-4)


def test_the_losses_of_two_heads_are_mixed_by_the_share():
    student, teacher = two_headed("softmax"), classifier(seed=2)
    for layer in (student.get_layer("head"), student.get_layer("head_dist")):
        layer.kernel.assign(np.random.default_rng(len(layer.name)).normal(size=layer.kernel.shape))
    labels, weights = np.eye(10)[np.arange(256) % 10], np.arange(256) % 3.0
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    distiller = Distiller(student, teacher, "soft", temperature=2.0, share=0.3)
    distiller.compile("sgd", loss)
    both = distiller(images(), training=True)
    own = loss(labels, ops.softmax(both["head"]), weights)
    taught = TeacherLoss("soft", 2.0)(teacher(images()), both["head_dist"], weights)
    found = distiller.compute_loss(images(), labels, both, weights)
    assert float(found) == pytest.approx(0.7 * float(own) + 0.3 * float(taught), rel=1e-5)


def test_a_model_of_one_head_or_with_both_apart_is_left_as_it_is():
    assert heads.apart(classifier()) is None
    inputs = keras.Input((4,))
    assert heads.apart(keras.Model(inputs, heads.classify_twice(inputs, inputs, 3, None, heads_apart=True))) is None
