"""COCO's numbers, from annotations and what was found."""

import numpy as np

from keras_mlp.extras import need

SCORES = (
    "AP",
    "AP50",
    "AP75",
    "AP small",
    "AP medium",
    "AP large",
    "AR 1",
    "AR 10",
    "AR 100",
    "AR small",
    "AR medium",
    "AR large",
)
"""COCO's 12 numbers: average precision over all thresholds of overlap, at 0.5, at 0.75, and of instances below 32 x 32
pixels, below 96 x 96 and larger; the recall of the best 1, 10 and 100 of an image, and by size."""
KINDS = {"boxes": "bbox", "masks": "segm"}


def coco_scores(truth: dict, found: list[dict], kind: str = "boxes", images=None) -> dict:
    """COCO's 12 numbers, computed by faster-coco-eval as pycocotools computes them.

    Args:
        truth: annotations as COCO's dictionary, "images", "annotations" and "categories".
        found: COCO's results: dictionaries of "image_id", "category_id", "score" and "bbox" (left, top, width, height)
            or "segmentation" (run lengths).
        kind: "boxes" or "masks".
        images: identifiers of the images to measure on; by default all.

    Returns:
        The numbers by their names in `SCORES`, shares of 1, and "by class", arrays `(classes,)` of AP. What no
        annotation is of is `nan`.

    Raises:
        ValueError: there is no such kind, or what was found is of images or categories that are not there.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` is one of {', '.join(KINDS)}. Received: {kind!r}")
    coco = need("faster_coco_eval", extra="train")
    known = [{image["id"] for image in truth["images"]}, {row["id"] for row in truth["categories"]}]
    for row in found:
        if row["image_id"] not in known[0] or row["category_id"] not in known[1]:
            raise ValueError(
                f"What was found is of image {row['image_id']} and category {row['category_id']}, which are not among "
                "the annotations."
            )
    annotated = coco.COCO(truth | {"annotations": [row | {"ignore": row["iscrowd"]} for row in truth["annotations"]]})
    measured = coco.COCOeval_faster(annotated, annotated.loadRes(found or _nothing(truth, kind)), KINDS[kind])
    if images is not None:
        measured.params.imgIds = sorted(images)
    measured.evaluate()
    measured.accumulate()
    measured.summarize()
    values = [np.nan if value < 0 else float(value) for value in measured.stats[: len(SCORES)]]
    precision = np.asarray(measured.eval["precision"])[:, :, :, 0, -1]  # thresholds, recalls, classes
    precision = np.where(precision < 0, np.nan, precision).mean((0, 1))
    return dict(zip(SCORES, values, strict=True)) | {"by class": precision}


def _nothing(truth, kind) -> list[dict]:
    """A result that finds nothing, since an empty list would hide which numbers no annotation is of."""
    image = truth["images"][0]
    row = {"image_id": image["id"], "category_id": truth["categories"][0]["id"], "score": 0.0}
    if kind == "boxes":
        return [row | {"bbox": [0.0, 0.0, 0.0, 0.0]}]
    return [row | {"segmentation": {"size": [image["height"], image["width"]], "counts": _empty(image)}}]


def _empty(image) -> bytes:
    mask = np.zeros((image["height"], image["width"]), "uint8", order="F")
    return need("faster_coco_eval", extra="train").mask.encode(mask)["counts"]
