"""COCO's numbers are COCO's."""

import json
import pathlib

import golden
import numpy as np
import pytest
from tasks import reference

from keras_mlp import tasks
from keras_mlp.tasks.detection.annotations import run_lengths

FILE = pathlib.Path(__file__).parent / "cases" / "coco_metrics.json"
CASE = json.loads(FILE.read_text())


def as_masks(rows, sizes):
    """Rows whose masks are their boxes, as polygons."""
    for row in rows:
        left, top, width, height = row["bbox"]
        right, bottom = left + width, top + height
        polygon = [left, top, right, top, right, bottom, left, bottom]
        yield row | {"segmentation": run_lengths([polygon], sizes[row["image_id"]])}


def test_the_twelve_numbers_are_pycocotools():
    computed = reference.compute(golden.load(FILE))
    assert computed["names"] == CASE["names"]
    np.testing.assert_allclose(computed["values"], CASE["values"], atol=1e-9)
    found = tasks.coco_scores(CASE["ground_truth"], CASE["detections"])
    assert np.nanmean(found["by class"]) == pytest.approx(found["AP"]) and np.isnan(found["by class"][3])


def test_masks_that_are_boxes_score_as_boxes_do_but_for_rounded_pixels():
    truth = CASE["ground_truth"]
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    with_masks = truth | {"annotations": list(as_masks(truth["annotations"], sizes))}
    rows = [{k: v for k, v in row.items() if k != "bbox"} for row in as_masks(CASE["detections"], sizes)]
    found = tasks.coco_scores(with_masks, rows, "masks")
    assert found["AP50"] == pytest.approx(CASE["values"][1], abs=0.05)
    perfect = [row | {"score": 1.0} for row in with_masks["annotations"] if not row["iscrowd"]]
    assert tasks.coco_scores(with_masks, perfect, "masks")["AP"] == pytest.approx(1.0)


def test_nothing_found_scores_zero_and_what_is_nowhere_has_no_number():
    truth = CASE["ground_truth"]
    small = truth | {"annotations": [row for row in truth["annotations"] if row["area"] < 32**2]}
    for found in ([], [CASE["detections"][-1]]):
        scores = tasks.coco_scores(small, found)
        assert scores["AP"] == scores["AP small"] == scores["AR 100"] == 0
        assert np.isnan(scores["AP large"]) and np.isnan(scores["AR medium"])


def test_images_can_be_chosen_and_unknown_ones_are_refused():
    truth, found = CASE["ground_truth"], CASE["detections"]
    first = tasks.coco_scores(truth, found, images=[0])
    kept = truth | {"images": truth["images"][:1]}
    kept |= {"annotations": [row for row in truth["annotations"] if row["image_id"] == 0]}
    alone = tasks.coco_scores(kept, [row for row in found if row["image_id"] == 0])
    np.testing.assert_equal(first, alone)
    with pytest.raises(ValueError, match="image 77 and category 0, which are not among the annotations"):
        tasks.coco_scores(truth, [found[0] | {"image_id": 77, "category_id": 0}])
    with pytest.raises(ValueError, match="`kind` is one of boxes, masks"):
        tasks.coco_scores(truth, found, "points")
