"""Detectors are measured in the images' own pixels, whatever gives the detections; and what they find is drawn."""

import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tasks.detection.test_data import SOURCE

from keras_mlp import tasks
from keras_mlp.tasks.detection import evaluation, masks
from keras_mlp.tasks.detection.annotations import mask_of
from keras_mlp.tasks.segmentation import drawing as of_labels


def loaded(source=SOURCE, **options):
    options = dict(task="detection", image_size=(64, 96), batch_size=5, masks=True) | options
    return tasks.load(source, "all", **options)


@functools.cache
def whole():
    """All of the data, loaded by the first test that asks: not while tests are collected."""
    return loaded()


def oracle(data, change=lambda found: found):
    """A detector that knows the targets of the data, batch by batch."""
    batches = data.dataset.as_numpy_iterator()

    def detector(images):
        expected, targets = next(batches)
        np.testing.assert_array_equal(images, expected)
        there = targets["labels"] >= 0
        scores = np.where(there, 0.9, 0).astype("float32")
        return change({name: targets[name] for name in ("boxes", "labels", "masks")} | {"scores": scores})

    return detector


def in_grids(found):
    """Masks as a mask head gives them, in a grid over each box."""
    numbers = np.broadcast_to(np.arange(found["labels"].shape[1]), found["labels"].shape)
    return found | {"masks": masks.targets(found["masks"], numbers, keras.ops.convert_to_tensor(found["boxes"]))}


@pytest.mark.parametrize("change", [lambda found: found, in_grids], ids=["pixels", "grids"])
def test_who_knows_the_truth_scores_one_and_masks_as_well_as_their_pixels_allow(change):
    scores = tasks.evaluate(oracle(whole(), change), whole(), verbose=0)
    assert scores["boxes"]["AP"] == pytest.approx(1) and scores["boxes"]["AR 100"] == pytest.approx(1)
    assert scores["masks"]["AP50"] == pytest.approx(1) and scores["masks"]["AP"] > 0.6


def test_wrong_classes_missed_things_and_shifted_boxes_cost_what_they_should():
    def measured(change):
        def changed(found):
            return change({name: np.array(value) for name, value in found.items() if name != "masks"})

        return tasks.evaluate(oracle(whole(), changed), whole(), verbose=0)

    def shifted(found):
        widths = found["boxes"][..., 2] - found["boxes"][..., 0]
        found["boxes"][..., ::2] += 0.2 * widths[..., None]  # overlap 0.8 / 1.2 = 0.67
        return found

    scores = measured(shifted)["boxes"]
    assert scores["AP50"] == pytest.approx(1) and scores["AP75"] == 0 and scores["AP"] == pytest.approx(0.4, abs=0.05)
    relabelled = measured(lambda found: found | {"labels": np.where(found["labels"] >= 0, 2 - found["labels"], -1)})
    assert relabelled["boxes"]["by class"][0] == 0 and relabelled["boxes"]["by class"][1] == pytest.approx(1)
    assert measured(lambda found: found | {"labels": np.full_like(found["labels"], -1)})["boxes"]["AP"] == 0
    with pytest.raises(ValueError, match="There are 3 classes, and a detection has the label 7"):
        measured(lambda found: found | {"labels": np.full_like(found["labels"], 7)})


def test_images_that_cannot_be_read_are_left_out():
    images = [b"no image" if i == 3 else image for i, (image, _) in enumerate(SOURCE.dataset.as_numpy_iterator())]
    dataset = tf.data.Dataset.from_tensor_slices((images, np.arange(16)))
    data = loaded(dataclasses.replace(SOURCE, dataset=dataset))
    assert len(SOURCE.truth()["annotations"]) > 3
    scores = tasks.evaluate(oracle(data), data, verbose=0)
    assert scores["boxes"]["AP"] == pytest.approx(1) and data.broken.numbers == {3}


def test_results_are_written_as_coco_reads_them_in_the_images_own_pixels(tmp_path):
    rows = [row for _, found in evaluation.detected(oracle(whole()), whole()) for row in found]
    truth = whole().truth()
    tasks.write_results(tmp_path / "results.json", rows)
    again = json.loads((tmp_path / "results.json").read_text())
    assert len(again) == len(truth["annotations"])
    for row, expected in zip(again, truth["annotations"], strict=True):
        assert row["image_id"] == expected["image_id"] and row["category_id"] == expected["category_id"]
        np.testing.assert_allclose(row["bbox"], expected["bbox"], atol=1e-3)
        found, mask = mask_of(row["segmentation"]), mask_of(expected["segmentation"])
        assert found.shape == mask.shape and (found & mask).sum() > 0.7 * (found | mask).sum()
    np.testing.assert_equal(tasks.coco_scores(truth, again, "masks"), tasks.coco_scores(truth, rows, "masks"))


def test_only_data_with_annotations_can_be_measured_on():
    with pytest.raises(ValueError, match="have no annotations to compare with"):
        tasks.evaluate(oracle(whole()), dataclasses.replace(whole(), truth=None))


def test_boxes_masks_names_and_scores_are_drawn_from_their_threshold_on():
    image = np.full((120, 160, 3), 200, "uint8")
    mask = np.zeros((3, 120, 160))
    mask[0, 60:80, 40:60] = 1
    found = {
        "boxes": np.array([[30, 50, 70, 90], [100, 20, 140, 60], [0, 0, 0, 0]], "float32"),
        "labels": np.array([0, 1, -1]),
        "scores": np.array([0.9, 0.2, 0.8]),
    }
    plain = np.asarray(tasks.draw(image, found, ["cat", "dog"]))
    assert plain.shape == image.shape and (plain[50:90, 30] != 200).any(1).all() and (plain[52:88, 32:68] == 200).all()
    assert (plain[20:60, 100:140] == 200).all() and (plain[:30, :20] == 200).all()
    assert (plain[30:50, 30:60] != 200).any()  # the name
    both = np.asarray(tasks.draw(image, found, ["cat", "dog"], threshold=0.1))
    assert (both[20:60, 100] != 200).any(1).all() and not np.array_equal(both[50, 30], both[25, 100])
    masked = np.asarray(tasks.draw(image, found | {"masks": mask}))
    assert (masked[60:80, 40:60] != 200).any(-1).all() and (masked[81:88, 41:60] == 200).all()
    grid = np.asarray(tasks.draw(image, found | {"masks": np.ones((3, 28, 28))}))
    assert (grid[52:88, 32:68] != 200).any(-1).all()
    with pytest.raises(ValueError, match=r"boxes are \(k, 4\)"):
        tasks.draw(image, found | {"boxes": np.zeros((3, 5))})


def test_label_maps_are_drawn_as_before():
    image, labels = np.zeros((20, 30, 3)), np.arange(600).reshape(20, 30) % 3
    assert tasks.draw(image, labels, ["a", "b", "c"]) == of_labels.draw(image, labels, ["a", "b", "c"])
