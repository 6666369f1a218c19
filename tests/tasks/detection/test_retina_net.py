"""RetinaNet: exact to mmdetection, on any backbone in stages, trained and saved like any model of Keras."""

import golden
import keras
import numpy as np
import processes
import pytest
from tasks.detection.test_parts import in_float64, load  # noqa: F401 (a fixture)

import keras_mlp
from keras_mlp import tasks
from keras_mlp.tasks.detection import sources
from keras_mlp.training import train
from keras_mlp.training.data.images import resize
from keras_mlp.training.plain import uncompiled

CASE = load("retina_net_tiny")
FAMILIES = {golden.family(case): case for case in reversed(golden.tiny()) if len(case.input_shape) == 4}
SMALL = dict(channels=8, convolutions=1, candidates=50, count=10, threshold=0.0)
TARGETS = {
    "boxes": np.array([[[2, 3, 20, 25], [10, 5, 31, 30]], [[0, 0, 0, 0], [0, 0, 0, 0]]], "float32"),
    "labels": np.array([[1, 0], [-1, -1]], "int32"),
}


def assert_same_detections(found, expected, pixels, scores):
    for mine, stored in zip(found, expected, strict=True):
        assert mine["labels"] == stored["labels"]
        np.testing.assert_allclose(mine["boxes"], stored["boxes"], atol=pixels)
        np.testing.assert_allclose(mine["scores"], stored["scores"], atol=scores)


def test_it_computes_what_mmdetection_does(in_float64):  # noqa: F811
    found = golden.compute(CASE)
    assert CASE.error(found["logits"]) < 1e-6
    for field in ("detections", "rescaled"):
        assert_same_detections(found[field], getattr(CASE, field), 1e-6 * max(CASE.pad_shape), 1e-8)
    for field in ("losses", "losses_second_image_empty"):
        for name, values in getattr(CASE, field).items():
            np.testing.assert_allclose(found[field][name], values, rtol=1e-7, atol=1e-9)


def test_it_detects_the_same_in_float32():
    found = golden.compute(CASE)
    assert_same_detections(found["detections"], CASE.detections, 1e-3, 1e-5)


def backbone(name="as_mlp", **options):
    builder, config = golden.arguments(golden.small(name))
    return builder(**config | {"include_top": False, "input_shape": (32, 32, 3)} | options)


def detector(name="as_mlp", **options):
    return tasks.RetinaNet(backbone(name, **options), 2, **SMALL)


def images(count=2):
    return np.random.default_rng(0).normal(size=(count, 32, 32, 3)).astype("float32")


def assert_same(found, expected):
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize(
    ("dtype", "eager"),
    [
        ("float32", True),
        pytest.param("float32", False, marks=pytest.mark.slow),
        pytest.param("mixed_bfloat16", True, marks=golden.HUGE),
    ],
)
def test_it_is_trained_measured_and_saved_with_all_that_it_needs(dtype, eager, tmp_path):
    model = detector(dtype=dtype)
    model.compile(keras.optimizers.Adam(1e-3), run_eagerly=eager)
    first = model.evaluate(images(), TARGETS, return_dict=True, verbose=0)
    assert first["loss"] == pytest.approx(first["loss_cls"] + first["loss_bbox"], rel=1e-3)
    log = model.fit(images(), TARGETS, epochs=3, verbose=0, validation_data=(images(), TARGETS)).history
    assert set(log) == {f"{prefix}{name}" for prefix in ("", "val_") for name in ("loss", "loss_cls", "loss_bbox")}
    assert log["val_loss"][-1] < first["loss"]
    expected = model(images())
    assert {name: values.shape for name, values in expected.items()} == {
        "boxes": (2, 10, 4),
        "labels": (2, 10),
        "scores": (2, 10),
    }
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert_same(again(images()), expected)
    measured = again.evaluate(images(), TARGETS, return_dict=True, verbose=0)
    assert measured["loss"] == pytest.approx(log["val_loss"][-1], rel=1e-3)
    assert len(again.weights) == len(model.weights)


def test_it_is_measured_by_one_run_of_its_network_and_stays_a_detector():
    model, runs = detector(), []
    head = model.get_layer("head")
    call = head.call
    head.call = lambda x: runs.append(x) or call(x)
    model.compile("sgd", run_eagerly=True)
    model.evaluate(images(), TARGETS, verbose=0)
    assert len(runs) == 5, "once for each level"
    again = uncompiled(model, "again")
    assert type(again) is type(model) and again.name == "again" and not again.compiled
    data = tasks.load(sources.digits("test", 4), "test", task="detection", image_size=32, batch_size=2)
    found = train.evaluate(model, data, verbose=0, objective=tasks.Detection())
    assert found["loss"] == pytest.approx(found["loss_cls"] + found["loss_bbox"]) and {"ap", "ap50"} < set(found)


FEW = ("as_mlp", "mlp_mixer")


@pytest.mark.parametrize("case", golden.chosen(FAMILIES.values(), FEW, *golden.HUGE))
def test_every_backbone_becomes_a_detector_that_learns_and_reloads(case, tmp_path):
    builder, config = golden.arguments(case)
    model = tasks.RetinaNet(builder(**config, include_top=False), 2, **SMALL)
    model.compile("sgd", run_eagerly=True)
    before, given = model.get_layer("head").get_weights()[0], case.images()[:2]
    done = model.train_on_batch(given, TARGETS, return_dict=True)
    assert np.isfinite(done["loss"]) and np.abs(model.get_layer("head").get_weights()[0] - before).max() > 0
    model.save(tmp_path / "model.keras")
    assert_same(keras.models.load_model(tmp_path / "model.keras")(given), model(given))


def test_what_is_detected_lies_in_the_image_best_first():
    model = detector()
    sizes = np.array([[20, 32], [32, 9]])
    found = {name: np.asarray(values) for name, values in model.detect(images(), sizes).items()}
    assert (np.diff(found["scores"], axis=1) <= 0).all() and (found["labels"][:, 0] >= 0).all()
    assert (found["boxes"] >= 0).all() and (found["boxes"] <= np.tile(sizes[:, None, ::-1], 2)).all()
    nothing = found["labels"] < 0
    assert not found["scores"][nothing].any() and not found["boxes"][nothing].any()


def test_images_of_any_size_are_taken_and_small_ones_have_fewer_anchors_than_candidates():
    any_size, fixed = detector(input_shape=(None, None, 3)), detector()
    any_size.set_weights(fixed.get_weights())
    assert_same(any_size(images()), fixed(images()))
    found = any_size(images()[:, :8, :16])
    assert found["boxes"].shape == (2, 10, 4)


def test_an_image_of_any_size_is_seen_whole_and_boxes_are_in_its_own_pixels():
    photo = np.random.default_rng(1).integers(0, 256, (50, 80, 3), "uint8")
    for model, seen in ((detector(), (20, 32)), (detector(input_shape=(None, None, 3)), (60, 96))):
        found = tasks.detect(model, photo, image_size=(96, 96), short_side=60)
        assert found["boxes"].min() >= 0 and (found["boxes"] <= [80, 50, 80, 50]).all()
        padded = np.full((1, -(-seen[0] // 32) * 32, seen[1], 3), 128, "float32")
        padded[0, : seen[0]] = resize(photo.astype("float32"), seen, "bilinear")
        expected = {name: np.asarray(values)[0] for name, values in model.detect(padded, np.array([seen])).items()}
        there = expected["labels"] >= 0
        np.testing.assert_array_equal(found["labels"], expected["labels"][there])
        np.testing.assert_allclose(found["boxes"] * seen[1] / 80, expected["boxes"][there], atol=1e-2)
    with pytest.raises(ValueError, match="must be one or two positive numbers of pixels"):
        tasks.detect(model, photo, image_size=0)


def test_a_tflite_file_detects_the_same_with_operators_that_LiteRT_has(tmp_path):
    from keras_mlp import export

    model, rng = detector(), np.random.default_rng(0)
    for name, scale in (("head", 0.3), ("decoder_box", 0.1)):  # answers that differ, as those of a trained one do
        kernel = model.get_layer(name).kernel
        kernel.assign(rng.normal(size=kernel.shape) * scale)
    done = export.to_tflite(model, tmp_path / "model.tflite")
    assert "NON_MAX_SUPPRESSION_V4" in done.operators
    runner = export.Runner(tmp_path / "model.tflite")
    for image in images(4):
        found, expected = runner(image[None]), model(image[None])
        np.testing.assert_array_equal(found["labels"], expected["labels"])
        np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=0.5)
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4)


def test_a_checkpoint_of_other_classes_needs_a_new_head(tmp_path):
    path = tmp_path / "two.safetensors"
    model = detector()
    keras_mlp.save_checkpoint(model, path)
    with pytest.raises(ValueError, match="new_head=True"):
        tasks.RetinaNet(backbone(), 3, weights=path, **SMALL)
    again = tasks.RetinaNet(backbone(), 3, weights=path, new_head=True, **SMALL)
    np.testing.assert_array_equal(again.get_layer("decoder_box").kernel, model.get_layer("decoder_box").kernel)


def test_a_fused_detector_detects_the_same():
    model = detector("hire_mlp")
    fused = keras_mlp.fuse(model)
    found, expected = fused(images()), model(images())
    assert np.asarray(found["labels"]).tolist() == np.asarray(expected["labels"]).tolist()
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-2)


def test_what_cannot_work_is_refused_by_name():
    model = detector()
    model.compile("sgd")
    refused = [
        (lambda: tasks.RetinaNet(backbone(), 0), "`classes` must be an integer of at least 1"),
        (lambda: model.train_on_batch(images(), TARGETS["boxes"]), "learns from batches"),
    ]
    for make, message in refused:
        with pytest.raises(ValueError, match=message):
            make()


ON_TWO = """
import sys, numpy as np, tensorflow as tf, keras, keras_mlp
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
given = dict(np.load(sys.argv[2]))
data = tf.data.Dataset.from_tensor_slices((given.pop("images"), given)).batch(2)

def step():
    model = keras.saving.load_model(sys.argv[1])
    model.compile("sgd", jit_compile=False)
    log = model.fit(data, verbose=0).history
    return [log["loss"][0], log["loss_cls"][0], log["loss_bbox"][0]], model.get_layer("head").get_weights()[0]

alone = step()
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    together = step()
np.testing.assert_allclose(together[0], alone[0], rtol=1e-4)
np.testing.assert_allclose(together[1], alone[1], atol=1e-6)
"""


@pytest.mark.slow
def test_two_devices_learn_in_another_process_as_one_does_though_one_has_no_boxes(tmp_path):
    detector().save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", images=images(), **TARGETS)
    done = processes.run(["-c", ON_TWO, tmp_path / "model.keras", tmp_path / "data.npz"])
    assert done.returncode == 0, done.stderr
