"""What the output of a classifier means: all kinds of classes, however a model ends, for all that ask."""

import keras
import numpy as np
import pytest
from endings import ACTIVATIONS, CASES, LOSSES, SHAPE, UNITS, data_of, images, model_of, nested_twice, truth
from keras import layers
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from keras_mlp import classifiers
from keras_mlp.classifiers import BINARY, EXCLUSIVE, KINDS, MULTI_LABEL, Output, evidence
from keras_mlp.training import recipes, train
from keras_mlp.training.distill import Distiller, TeacherLoss


@pytest.mark.parametrize(("kind", "ending"), CASES)
def test_every_ending_means_the_same(kind, ending):
    """To prediction, distillation and losses, also where the model is within others."""
    given = images()
    logits, probabilities = truth(kind, given)
    labels = data_of(kind, given)[1]
    labels = labels[:, 1:] if kind == BINARY else labels
    expected = float(LOSSES[kind](from_logits=True)(labels, logits))
    model = model_of(kind, ending)
    for network in (model, nested_twice(model)):
        output = Output.of(network)
        assert (output.kind, output.activation) == (kind, "linear" if "logits" in ending else ACTIVATIONS[kind])
        answers = np.asarray(network(given))
        np.testing.assert_allclose(output.probabilities(answers), probabilities, atol=1e-5)
        lesson = np.asarray(output.logits(answers)) - logits  # of a softmax they are known up to a constant
        np.testing.assert_allclose(lesson, (lesson[:, :1] if kind == EXCLUSIVE else 0) + 0 * lesson, atol=1e-3)
        assert float(recipes.cross_entropy(output)(labels, answers)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["half of a sum of two", "a reshape behind", "logits"])
def test_evaluation_has_the_loss_of_keras_and_the_metrics_of_the_kind(kind, ending):
    given = images()
    logits, probabilities = truth(kind, given)
    data, labels = data_of(kind, given)
    labels = labels[:, 1:] if kind == BINARY else labels
    found = train.evaluate(model_of(kind, ending), data, verbose=0)
    expected = float(LOSSES[kind](from_logits=True)(labels, logits))
    assert found.pop("loss") == pytest.approx(expected, rel=1e-4)
    if kind == MULTI_LABEL:
        precision = [average_precision_score(*pair) for pair in zip(labels.T, probabilities.T, strict=True)]
        auc = [roc_auc_score(*pair) for pair in zip(labels.T, probabilities.T, strict=True)]
        wanted = {"average_precision": np.mean(precision), "auc": np.mean(auc)}
        wanted["f1"] = f1_score(labels, probabilities > 0.5, average="macro")
    elif kind == BINARY:
        wanted = {"accuracy": np.mean((logits > 0) == labels), "auc": roc_auc_score(labels, probabilities[:, 1])}
    else:
        wanted = {"top1": np.mean(probabilities.argmax(-1) == labels.argmax(-1))}
    assert found == pytest.approx(wanted, abs=0.03)  # Keras counts at 200 thresholds


def test_a_softmax_over_something_else_than_the_classes_is_none():
    """Three choices between two are six scores that sum to 3."""
    inputs = keras.Input(SHAPE)
    x = layers.Reshape((3, 2))(layers.Dense(6)(layers.Flatten()(layers.Rescaling(1 / 255)(inputs))))
    assert Output.of(keras.Model(inputs, layers.Flatten()(layers.Softmax()(x)))) == Output(MULTI_LABEL, "sigmoid", 6)


def test_arguments_and_the_loss_decide_where_layers_do_not():
    model = model_of(EXCLUSIVE, "logits")
    assert Output.of(model, MULTI_LABEL) == Output(MULTI_LABEL, "linear", 3)
    assert Output.of(model, loss="binary_crossentropy") == Output(MULTI_LABEL, "linear", 3)
    model = model_of(MULTI_LABEL, "an unknown function")
    assert Output.of(model, from_logits=True) == Output(EXCLUSIVE, "linear", 3)
    assert Output.of(model, EXCLUSIVE) == Output(EXCLUSIVE, "sigmoid", 3)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    assert Output.of(model) == Output(EXCLUSIVE, "linear", 3)
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert Output.of(model).activation == "softmax"
    for loss, told in (
        (keras.losses.BinaryFocalCrossentropy(from_logits=True), (MULTI_LABEL, True)),
        (keras.losses.sparse_categorical_crossentropy, (EXCLUSIVE, False)),
        ({"head": "kl_divergence"}, (EXCLUSIVE, False)),
        (recipes.SigmoidCrossentropy(from_logits=True), (EXCLUSIVE, True)),
        ("mse", (None, None)),
        (None, (None, None)),
    ):
        assert evidence.told_by_loss(loss) == told


LOSSES_AS_GIVEN = (
    "binary_crossentropy",
    "BinaryCrossentropy",
    keras.losses.binary_crossentropy,
    keras.losses.BinaryCrossentropy(from_logits=True),
    [keras.losses.BinaryFocalCrossentropy()],
    {"dense": "binary_crossentropy"},
)


def test_the_loss_in_a_file_is_the_one_that_the_model_was_compiled_with(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense")])
    model.save(tmp_path / "model.keras")
    assert classifiers.saved_loss(tmp_path / "model.keras") is None
    for loss in LOSSES_AS_GIVEN:
        model.compile("sgd", loss)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
        saved = classifiers.saved_loss(tmp_path / "model.keras")
        assert evidence.told_by_loss(saved) == evidence.told_by_loss(loss) != (None, None)
        assert Output.of(loaded, loss=saved) == Output(MULTI_LABEL, "linear", 3)


def test_what_is_no_classifier_is_refused():
    inputs = keras.Input(SHAPE)
    features = layers.Flatten()(inputs)
    with pytest.raises(ValueError, match=r"softmax over one unit is 1 whatever the image.*classes=2"):
        Output.of(keras.Model(inputs, layers.Dense(1, "softmax")(features)))
    with pytest.raises(ValueError, match="no multi-label"):
        Output.of(model_of(EXCLUSIVE, "an operation"), MULTI_LABEL)
    with pytest.raises(ValueError, match=r"\(batch, classes\). given gives \(None, 4, 4, 3\)"):
        Output.of(keras.Model(inputs, layers.Identity()(inputs), name="given"))
    with pytest.raises(ValueError, match="`kind` should be one of exclusive, binary, multi_label"):
        Output.of(model_of(EXCLUSIVE, "logits"), "fuzzy")
    regression = keras.Model(inputs, layers.Dense(1)(features))
    assert Output.perhaps(regression) is None and Output.of(regression).kind == BINARY
    regression.compile("sgd", "mse")
    with pytest.raises(ValueError, match="nothing tells that it is a classifier"):
        Output.of(regression)


def test_labels_and_decisions_have_one_form():
    exclusive, binary, many = (Output(kind, "linear", UNITS[kind]) for kind in KINDS)
    np.testing.assert_array_equal(exclusive.labels(np.eye(3)[[2, 0]], 2), exclusive.labels([2, 0], 2))
    for labels in ([0, 1], [[0], [1]], [[1, 0], [0, 1]]):
        np.testing.assert_array_equal(binary.labels(labels, 2), binary.decisions(np.array([[-1.0], [1.0]])))
    np.testing.assert_array_equal(many.labels([[0, 1, 1]], 1), many.decisions(np.array([[-1, 1, 2.0]])))
    np.testing.assert_array_equal(many.decisions(np.array([[-1, 1, 2.0]]), threshold=0.8), [[0, 0, 1]])
    for output, labels, told in (
        (exclusive, [3, 0], "integers 0–2 .*with 3 among them"),
        (exclusive, [1, 0.5], "with 0.5 among them"),
        (exclusive, [[1, 1, 0]] * 2, "zeros and one 1"),
        (exclusive, ["cat", "dog"], "Received: labels=.*cat"),
        (exclusive, [[1], [1, 0]], "Received: labels="),
        (exclusive, [float("nan"), 1], "with nan"),
        (binary, [2, 0], "integers 0–1 .*with 2"),
        (many, [0, 1], r"0 or 1 of the shape \(2, 3\).*shape=\(2,\)"),
        (many, [[0, 1, 2]] * 2, "with 2 among them"),
    ):
        with pytest.raises(ValueError, match=told):
            output.labels(labels, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_views_of_one_image_are_joined_as_if_logits_were_averaged(kind):
    logits = np.random.default_rng(0).normal(size=(5, UNITS[kind]))
    output = Output(kind, "linear", UNITS[kind])
    expected = output.probabilities(logits.mean(0, keepdims=True))[0]
    np.testing.assert_allclose(output.joint(output.probabilities(logits)), expected, atol=1e-6)


# Distillation


@pytest.mark.parametrize("kind", [BINARY, MULTI_LABEL])
def test_the_divergence_is_that_of_choices_between_true_and_false(kind):
    random = np.random.default_rng(0)
    teacher, student = (random.normal(0, 2, (6, UNITS[kind])).astype("float32") for _ in range(2))
    p, q = (1 / (1 + np.exp(-logits / 4)) for logits in (teacher, student))
    expected = 16 * np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    assert float(TeacherLoss("soft", 4.0, exclusive=False)(teacher, student)) == pytest.approx(expected, rel=1e-4)
    assert float(TeacherLoss("soft", exclusive=False)(teacher, teacher)) == pytest.approx(0, abs=1e-6)
    wanted = keras.losses.BinaryCrossentropy(from_logits=True)(teacher > 0, student)
    assert float(TeacherLoss("hard", exclusive=False)(teacher, student)) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("teaching", ["hard", "soft"])
def test_a_student_of_any_kind_learns_from_a_teacher_of_any_ending(kind, teaching):
    """From it alone: the labels say the opposite, and count for nothing."""
    given, teacher = images(256), model_of(kind, "half of a sum of two")
    wanted = Output.of(teacher).decisions(teacher(given))
    keras.utils.set_random_seed(3)
    student = keras.Sequential([keras.Input(SHAPE), layers.Rescaling(1 / 255), layers.Flatten()])
    student.add(layers.Dense(UNITS[kind]))
    distiller = Distiller(student, teacher, teaching, share=1.0)
    distiller.compile(keras.optimizers.Adam(0.03), LOSSES[kind](from_logits=True))
    wrong = np.eye(3)[(wanted + 1) % 3] if kind == EXCLUSIVE else 1 - wanted.reshape(256, -1)
    distiller.fit(given, wrong, batch_size=32, epochs=15, verbose=0)
    decided = Output.of(student).decisions(student(given))
    assert (decided == wanted).mean() > 0.85


def test_a_teacher_whose_classes_exclude_each_other_teaches_no_multi_label_student():
    student = model_of(MULTI_LABEL, "an operation")
    distiller = Distiller(student, model_of(EXCLUSIVE, "an operation"))
    with pytest.raises(ValueError, match="the student's are multi_label"):
        distiller.compile("sgd", "binary_crossentropy")
