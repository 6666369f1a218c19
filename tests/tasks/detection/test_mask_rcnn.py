"""Mask R-CNN and its cascade: exact to mmdetection, trained, saved and exported like any model of Keras."""

import os
import subprocess
import sys

import golden
import keras
import numpy as np
import pytest
from tasks.detection.reference import two_stage
from tasks.detection.test_parts import in_float64, load  # noqa: F401 (a fixture)

import keras_mlp
from keras_mlp import tasks
from keras_mlp.tasks.detection import evaluation, masks

TINY = ["mask_rcnn_tiny", "cascade_mask_rcnn_tiny", "mask_rcnn_as_mlp_tiny"]
FULL = ["mask_rcnn_as_mlp_t", pytest.param("cascade_mask_rcnn_as_mlp_t", marks=pytest.mark.huge)]
SMALL = dict(channels=8, box_width=16, candidates=50, proposals=20, count=10, threshold=0.0)
DETECTORS = {"mask_rcnn": tasks.MaskRCNN, "cascade_mask_rcnn": tasks.CascadeMaskRCNN}


def assert_fields(found, stored, limit, path=""):
    """All numbers of a field, to some share of the largest of its list; integers are equal."""
    if isinstance(stored, dict):
        for key, value in stored.items():
            assert_fields(found[key], value, limit, f"{path}/{key}")
    elif isinstance(stored, list) and any(isinstance(value, dict | list) for value in stored):
        assert len(found) == len(stored), path
        for i, value in enumerate(stored):
            assert_fields(found[i], value, limit, f"{path}/{i}")
    elif np.asarray(stored).dtype.kind == "f":
        np.testing.assert_allclose(found, stored, rtol=0, atol=limit * np.abs(stored).max(initial=1e-3), err_msg=path)
    else:
        assert found == stored, path


@pytest.mark.parametrize("name", TINY)
def test_they_compute_what_mmdetection_does(name, in_float64):  # noqa: F811
    case = load(name)
    found = golden.compute(case)
    assert case.error(found["logits"]) < 1e-6
    for field in {"proposals", "box_head", "stages", "detections", "rescaled", "mask_logits"} & set(vars(case)):
        assert_fields(found[field], getattr(case, field), 1e-7, field)
    if "losses" in vars(case):
        assert set(found["losses"]) == set(case.losses)
        assert_fields(found["losses"], case.losses, 1e-7, "losses")


@pytest.mark.parametrize("name", TINY[2:])
def test_they_detect_the_same_in_float32(name):
    assert_detects_the_same(load(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_full_size_detectors_take_every_tensor_and_detect_like_the_authors(name):
    case = load(name)
    assert_detects_the_same(case, 1e-3)
    detector, _ = two_stage.build(case, load=False)
    assert sum(np.prod(weight.shape) for weight in detector.trainable_weights) == case.num_params


def assert_detects_the_same(case, limit=1e-4):
    found = golden.compute(case)
    assert case.error(found["logits"]) < limit
    for mine, stored in zip(found["rescaled"], case.rescaled, strict=True):
        assert mine["labels"] == stored["labels"] and mine["masks"] == stored["masks"]
        np.testing.assert_allclose(mine["boxes"], stored["boxes"], atol=1e-3)
        np.testing.assert_allclose(mine["scores"], stored["scores"], atol=1e-5)


def backbone(name="as_mlp", **options):
    builder, config = golden.arguments(golden.small(name))
    return builder(**config | {"include_top": False, "input_shape": (64, 64, 3)} | options)


def detector(name="mask_rcnn", trunk=(), **options):
    return DETECTORS[name](backbone(**dict(trunk)), 2, **SMALL | options)


def images(count=2):
    return np.random.default_rng(0).normal(size=(count, 64, 64, 3)).astype("float32")


def targets():
    boxes = np.array([[[4, 6, 40, 50], [20, 10, 62, 60]], [[0, 0, 0, 0], [0, 0, 0, 0]]], "float32")
    drawn = np.stack([two_stage.ellipses(boxes[0], (64, 64)), np.zeros((2, 64, 64), "uint8")])
    labels = np.array([[1, 0], [-1, -1]], "int32")
    return {"boxes": boxes, "labels": labels, "masks": drawn, "image_size": np.array([[64, 64], [40, 64]], "float32")}


def assert_same(found, expected):
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize(
    "name, dtype, eager",
    [
        ("mask_rcnn", "mixed_bfloat16", True),
        pytest.param("mask_rcnn", "float32", False, marks=golden.HUGE),
        pytest.param("cascade_mask_rcnn", "float32", False, marks=golden.SLOW),
    ],
)
def test_they_are_trained_measured_and_saved_with_all_that_they_need(name, dtype, eager, tmp_path):
    model = detector(name, {"dtype": dtype})
    model.compile(keras.optimizers.Adam(5e-3), run_eagerly=eager)
    first = model.evaluate(images(), targets(), return_dict=True, verbose=0)
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    log = model.fit(images(), targets(), epochs=3, verbose=0).history
    assert set(log) == {"loss", *model.terms} and np.isfinite(list(log.values())).all()
    # What all anchors agree on, whichever are drawn: most are no object.
    assert log["loss_rpn_cls"][-1] < first["loss_rpn_cls"]
    still = {name for name, values in before.items() if (model.get_layer(name).get_weights()[0] == values[0]).all()}
    assert not still, "every layer learns"
    expected = model.predict(images(), verbose=0)
    shapes = {"boxes": (2, 10, 4), "labels": (2, 10), "scores": (2, 10), "masks": (2, 10, 28, 28)}
    assert {key: values.shape for key, values in expected.items()} == shapes
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is type(model) and again.terms == model.terms
    again.run_eagerly = eager
    assert_same(again.predict(images(), verbose=0), expected)
    again.fit(images(), targets(), verbose=0)


def test_without_masks_it_is_faster_rcnn():
    model = detector(masks=False)
    model.compile("sgd", run_eagerly=True)
    log = model.train_on_batch(images(), {key: targets()[key] for key in ("boxes", "labels")}, return_dict=True)
    assert set(log) == {"loss", "loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"}
    assert set(model(images())) == {"boxes", "labels", "scores"}


def test_a_batch_without_boxes_teaches_the_ground_alone():
    model, given = detector(), targets()
    given["labels"] = np.full_like(given["labels"], -1)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    log = model.train_on_batch(images(), given, return_dict=True)
    assert log["loss_mask"] == log["loss_bbox"] == log["loss_rpn_bbox"] == 0
    assert log["loss_cls"] > 0 and log["loss_rpn_cls"] > 0


def test_what_is_detected_lies_in_the_image_best_first():
    model = detector("cascade_mask_rcnn", masks=False)
    found = {name: np.asarray(x) for name, x in model.detect(images(), np.array([[40, 64], [64, 18]])).items()}
    assert (np.diff(found["scores"], axis=1) <= 0).all() and (found["labels"] >= 0).any()
    assert found["boxes"].min() >= 0
    assert (found["boxes"][0].max(0) <= [64, 40, 64, 40]).all() and (found["boxes"][1].max(0) <= [18, 64, 18, 64]).all()


def test_images_of_any_size_are_taken():
    any_size, fixed = detector(trunk={"input_shape": (None, None, 3)}), detector()
    any_size.set_weights(fixed.get_weights())
    expected = fixed(images())
    for found in (any_size(images()), any_size.predict_on_batch(images())):
        np.testing.assert_array_equal(found["labels"], expected["labels"])
        np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)
    assert any_size(images()[:, :32])["masks"].shape == (2, 10, 28, 28)


def test_a_checkpoint_of_other_classes_needs_a_new_head(tmp_path):
    path, model = tmp_path / "two.safetensors", detector()
    keras_mlp.save_checkpoint(model, path)
    with pytest.raises(ValueError, match="new_head=True"):
        tasks.MaskRCNN(backbone(), 3, weights=path, **SMALL)
    again = tasks.MaskRCNN(backbone(), 3, weights=path, new_head=True, **SMALL)
    np.testing.assert_array_equal(again.get_layer("masks_0_up").kernel, model.get_layer("masks_0_up").kernel)


def test_masks_that_are_missing_are_asked_for():
    model = detector()
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match="the targets have none.*masks=False"):
        model.train_on_batch(images(), {key: targets()[key] for key in ("boxes", "labels")})


def test_masks_of_detections_are_pasted_into_the_image():
    found = detector()(images())
    pasted = np.asarray(masks.paste(found["masks"], found["boxes"], (64, 64), threshold=0.4))
    assert pasted.shape == (2, 10, 64, 64) and pasted.any()
    for mask, (left, top, right, bottom) in zip(pasted[0], np.asarray(found["boxes"][0]), strict=True):
        rows, columns = np.nonzero(mask)
        assert ((rows + 1 >= top) & (rows <= bottom) & (columns + 1 >= left) & (columns <= right)).all()


IN_ANOTHER_PROCESS = """
import sys, keras, numpy as np, keras_mlp
folder, learners = sys.argv[1], sys.argv[2].split(",")
for name in sys.argv[3:]:
    model = keras.saving.load_model(f"{folder}/{name}.keras")
    found = {key: keras.ops.convert_to_numpy(x) for key, x in model(np.load(f"{folder}/images.npy")).items()}
    np.savez(f"{folder}/{name}.npz", **found)
    if name not in learners:
        continue
    targets = dict(np.load(f"{folder}/targets.npz"))
    # JAX without a step of its own compiles a program for each of a thousand operations.
    model.compile("sgd", run_eagerly=keras.backend.backend() != "jax")
    log = model.train_on_batch(np.load(f"{folder}/images.npy"), targets, return_dict=True)
    assert np.isfinite(list(log.values())).all() and set(log) == {"loss", *model.terms}
print(keras.backend.backend())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "learners"),
    [
        ("tensorflow", DETECTORS),
        ("torch", DETECTORS),
        ("jax", ["mask_rcnn"]),
        pytest.param("jax", ["cascade_mask_rcnn"], marks=golden.HUGE),
    ],
)
def test_saved_detectors_detect_the_same_and_learn_in_other_processes_and_backends(backend, learners, tmp_path):
    pytest.importorskip(backend)
    expected = {}
    for name in DETECTORS:
        model = detector(name)
        expected[name] = model(images())
        model.save(tmp_path / f"{name}.keras")
    np.save(tmp_path / "images.npy", images())
    np.savez(tmp_path / "targets.npz", **targets())
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(tmp_path), ",".join(learners), *DETECTORS]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": backend})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == backend
    for name, values in expected.items():
        found = np.load(tmp_path / f"{name}.npz")
        np.testing.assert_array_equal(found["labels"], values["labels"])
        for key, limit in (("boxes", 1e-3), ("scores", 1e-5), ("masks", 1e-5)):
            np.testing.assert_allclose(found[key], values[key], atol=limit, err_msg=key)


@pytest.mark.parametrize(
    "name", [pytest.param("mask_rcnn", marks=golden.SLOW), pytest.param("cascade_mask_rcnn", marks=golden.HUGE)]
)
def test_compiled_by_xla_they_detect_the_same(name):
    import tensorflow as tf

    model, image = detector(name), tf.constant(images(1))
    expected, found = model(image), tf.function(lambda x: model(x), jit_compile=True)(image)
    np.testing.assert_array_equal(found["labels"], expected["labels"])
    for key, limit in (("boxes", 1e-2), ("scores", 1e-4), ("masks", 1e-4)):
        np.testing.assert_allclose(found[key], expected[key], atol=limit, err_msg=key)


def test_fused_it_detects_the_same_in_padded_images():
    model = detector("mask_rcnn")
    for name in ("rpn_conv", "masks_0_conv_0"):
        layer = model.get_layer(name)
        layer.bias.assign(np.linspace(-0.1, 0.1, layer.bias.shape[0]))
    fused, merges = keras_mlp.fuse(model, report=True)
    assert merges.merges
    sizes = np.array([[40, 64], [64, 48]])
    expected, found = (evaluation.detect(one, images(2), sizes) for one in (model, fused))
    np.testing.assert_array_equal(found["labels"], expected["labels"])
    for key, limit in (("boxes", 1e-2), ("scores", 1e-4), ("masks", 1e-4)):
        np.testing.assert_allclose(found[key], expected[key], atol=limit, err_msg=key)
    assert found["boxes"][0][:, 3].max() <= 40 and found["boxes"][1][:, 2].max() <= 48


@pytest.mark.slow
def test_exported_it_detects_the_same_by_built_in_operators(tmp_path):
    from keras_mlp import export

    model, image = detector(), images(1)
    expected = model(image)
    done = export.to_tflite(model, tmp_path / "model.tflite")
    assert not any(operator.lower().startswith("flex") for operator in done.operators)
    found = export.Runner(tmp_path / "model.tflite")(image)
    np.testing.assert_array_equal(found["labels"], expected["labels"])
    for key, limit in (("boxes", 1e-2), ("scores", 1e-4), ("masks", 1e-4)):
        np.testing.assert_allclose(found[key], expected[key], atol=limit, err_msg=key)
