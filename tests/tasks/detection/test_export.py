"""Detectors as .tflite files: with eight bits, raw maps or LiteRT's own operator, and in place of a model."""

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp import export, tasks
from keras_mlp.classifiers import BoxOutput
from keras_mlp.export import detections

SIDE, COUNT = 64, 48
NAMES = ["red", "green"]
SMALL = dict(channels=16, candidates=60, count=8)


@pytest.fixture(scope="module")
def squares():
    """Squares of pure colours on grey ground, their boxes and labels."""
    random = np.random.default_rng(0)
    pixels = random.integers(70, 110, (COUNT, SIDE, SIDE, 3))
    boxes, labels = np.zeros((COUNT, 2, 4), "float32"), np.full((COUNT, 2), -1, "int32")
    for i in range(len(pixels)):
        for j in range(random.integers(1, 3)):
            (top, left), side = random.integers(0, SIDE - 24, 2), random.integers(14, 24)
            labels[i, j], boxes[i, j] = random.integers(0, 2), (left, top, left + side, top + side)
            pixels[i, top : top + side, left : left + side] = 220 * np.eye(3)[labels[i, j]] + 15
    return pixels.astype("float32"), {"boxes": boxes, "labels": labels}


def backbone():
    shape = (SIDE, SIDE, 3)
    return keras_mlp.ASMLP(patch_size=4, dim=12, depths=(1, 1), shift_size=3, input_shape=shape, include_top=False)


@pytest.fixture(scope="module")
def model(squares):
    """A small RetinaNet that has learnt them."""
    keras.utils.set_random_seed(0)
    model = tasks.RetinaNet(backbone(), 2, **SMALL, convolutions=1, levels=1, scales=(2.0, 2.6), ratios=(1.0,))
    model.compile(keras.optimizers.AdamW(5e-3), jit_compile=False)
    model.fit(*squares, batch_size=8, epochs=20, verbose=0)
    return model


def average_precision(detector, squares):
    pixels, targets = squares
    rows, annotations = [], []
    for i in range(len(pixels)):
        found = {name: np.asarray(values)[0] for name, values in detector(pixels[i : i + 1]).items()}
        image = {"id": i, "height": SIDE, "width": SIDE}
        rows += tasks.coco_results(found, image, [{"id": 0}, {"id": 1}])
        for (left, top, right, bottom), label in zip(targets["boxes"][i], targets["labels"][i], strict=True):
            if label >= 0:
                sides = [float(right - left), float(bottom - top)]
                told = dict(image_id=i, category_id=int(label), iscrowd=0, area=sides[0] * sides[1])
                annotations.append(dict(id=len(annotations) + 1, bbox=[float(left), float(top), *sides], **told))
    images = [{"id": i, "height": SIDE, "width": SIDE} for i in range(len(pixels))]
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 0}, {"id": 1}]}
    return tasks.coco_scores(truth, rows)["AP"]


@pytest.mark.slow
def test_eight_bits_leave_decoding_and_choice_in_float(model, squares, tmp_path):
    pixels, _ = squares
    path = tmp_path / "model.tflite"
    done = export.to_tflite(model, path, "int8", pixels[:24], verify_with=pixels, classes=NAMES, input_dtype="uint8")
    assert not {"CONV_2D", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D"} & set(done.float_operators)
    assert {"EXP", "LOGISTIC", "NON_MAX_SUPPRESSION_V4"} <= set(done.float_operators) | set(done.operators)
    assert done.verification.agreement > 0.9 and done.verification.max_difference is None
    file = tasks.ExportedDetector(path)
    assert file.names == NAMES and file.classes == 2
    expected = average_precision(model, squares)
    assert expected > 0.5 and average_precision(file, squares) > expected - 0.03
    with pytest.raises(ValueError, match="A detector's boxes and scores stay in float"):
        export.to_tflite(model, path, "int8", pixels, input_dtype="int8")
    with pytest.raises(ValueError, match="Detections are not right or wrong by image"):
        export.to_tflite(model, path, "int8", pixels, verify_with=(pixels, np.zeros(COUNT, int)), max_accuracy_drop=0.1)


def test_a_file_takes_the_place_of_the_model(model, squares, tmp_path):
    path = tmp_path / "model.tflite"
    export.to_tflite(model, path, verify_with=squares[0][:8], classes=NAMES)
    photo = np.concatenate(squares[0][:2])[:100].astype("uint8")
    found, expected = (tasks.detect(one, photo) for one in (tasks.ExportedDetector(path), model))
    assert len(expected["labels"]) > 1
    # What reaches over the padding is cut off there by the model alone.
    sure = expected["scores"] > 0.3
    np.testing.assert_array_equal(found["labels"][: sure.sum()], expected["labels"][sure])
    np.testing.assert_allclose(found["boxes"][: sure.sum()], expected["boxes"][sure], atol=0.5)
    with pytest.raises(ValueError, match="cannot be trained"):
        tasks.ExportedDetector(path)(squares[0][:1], training=True)
    with pytest.raises(ValueError, match="is no segmenter"):
        tasks.ExportedSegmenter(path)


def test_raw_maps_decode_to_the_models_detections(model, squares, tmp_path):
    path = tmp_path / "maps.tflite"
    export.to_tflite(model, path, verify_with=squares[0][:8], classes=NAMES, decoding="maps")
    told, names = export.read_metadata(path)
    assert names == NAMES and told["anchors"]["scales"] == [2.0, 2.6] and told["decoding"] == "maps"
    image = squares[0][:1]
    found, expected = export.Runner(path)(image), {name: np.asarray(x)[0] for name, x in model(image).items()}
    assert found["logits"].shape == (1, 2 * 8 * 8, 2) and found["deltas"].shape == (1, 2 * 8 * 8, 4)
    best = np.unravel_index(found["logits"][0].argmax(), (128, 2))
    anchors = detections.anchors_of(model.get_layer("detections"))
    (left, top, right, bottom), (x, y, width, height) = anchors[best[0]], found["deltas"][0, best[0]]
    middle = np.array([(left + right) / 2 + x * (right - left), (top + bottom) / 2 + y * (bottom - top)])
    sides = np.array([right - left, bottom - top]) * np.exp([width, height])
    box = np.clip(np.concatenate([middle - sides / 2, middle + sides / 2]), 0, SIDE)
    np.testing.assert_allclose(box, expected["boxes"][0], atol=1e-2)
    assert best[1] == expected["labels"][0]


def test_the_operator_of_mobile_task_libraries_finds_the_same(model, squares, tmp_path):
    path = tmp_path / "post.tflite"
    done = export.to_tflite(model, path, verify_with=squares[0][:16], classes=NAMES, decoding="post_process")
    assert detections.POST_PROCESS in done.operators and done.verification.agreement == 1
    raw = export.Runner(path)(squares[0][:1])
    assert {name: x.shape for name, x in raw.items()} == {
        "boxes": (1, 8, 4), "classes": (1, 8), "scores": (1, 8), "valid": (1,)
    }  # fmt: skip
    file = tasks.ExportedDetector(path)
    for image in squares[0][:8]:
        found, expected = file(image[None]), {name: np.asarray(x) for name, x in model(image[None]).items()}
        sure = expected["scores"][0] > 0.3
        assert sure.any()
        np.testing.assert_array_equal(found["labels"][0][sure], expected["labels"][0][sure])
        np.testing.assert_allclose(found["boxes"][0][sure], expected["boxes"][0][sure], atol=0.5)
        np.testing.assert_allclose(found["scores"][0][sure], expected["scores"][0][sure], atol=1e-3)


def test_other_ends_need_a_detector_that_looks_at_anchors(tmp_path):
    detector = tasks.MaskRCNN(backbone(), 2, **SMALL, box_width=16, proposals=10)
    assert BoxOutput.perhaps(detector) == BoxOutput(2)
    for decoding, message in (("maps", "such as keras_mlp.tasks.RetinaNet"), ("raw", "must be one of inside, maps")):
        with pytest.raises(ValueError, match=message):
            export.to_tflite(detector, tmp_path / "model.tflite", decoding=decoding)
