"""How good a detector is, and what it found, as COCO writes it."""

import json

import keras
import numpy as np

from keras_mlp.files import atomic_path
from keras_mlp.tasks.detection.annotations import run_lengths
from keras_mlp.tasks.detection.detector import of_sizes
from keras_mlp.tasks.detection.masks import THRESHOLD, paste
from keras_mlp.tasks.detection.scores import coco_scores
from keras_mlp.training.data import Data
from keras_mlp.training.data.broken import in_plain_words

PASTED = 2**24
"""Pixels of masks that are pasted at a time, 64 MB."""


def evaluate(detector, data: Data, verbose="auto") -> dict:
    """Measure a detector.

    Args:
        detector: a `keras_mlp.tasks.Detector`, or anything else that makes of images `(batch, height, width, channels)`
            detections: "boxes" `(batch, k, 4)`, left, top, right and bottom in their pixels, "labels" `(batch, k)`, -1
            where there is none, "scores" `(batch, k)`, and perhaps "masks" `(batch, k, rows, columns)`, probabilities
            in a grid over each box or, of the images' size, in their pixels.
        data: evaluation data, as `keras_mlp.tasks.load(…, task="detection")` gives them without a recipe.
        verbose: 1 for a progress bar, 0 for silence; "auto" is 1.

    Returns:
        `{"boxes": …}`, and "masks" where detections and annotations have them; see `keras_mlp.tasks.coco_scores`.
        Images that cannot be read are left out.

    Raises:
        ValueError: the data have no annotations to compare with, or detections are of classes that they have not.
    """
    truth, found, seen = _annotated(data), [], []
    with in_plain_words():
        for image, results in detected(detector, data, verbose):
            seen.append(image["id"])
            found += results
    data.broken.check()
    masks = truth["annotations"] and all("segmentation" in row for row in (*truth["annotations"], *found))
    kinds = ("boxes", "masks") if masks else ("boxes",)
    return {kind: coco_scores(truth, found, kind, seen) for kind in kinds}


def detected(detector, data: Data, verbose=0):
    """What a detector finds in each image of evaluation data; the arguments are those of `evaluate`.

    Yields:
        Pairs of an image, a row of COCO's "images", and of a list of COCO's results.
    """
    truth, call = _annotated(data), _compiled(detector)
    bar = keras.utils.Progbar(data.steps, verbose=int(verbose in ("auto", 1)))
    for images, targets in data.dataset:
        found = _arrays(call(images, targets["image_size"]))
        for i, number in enumerate(np.asarray(targets["number"])):
            image = truth["images"][number]
            one = original({name: values[i] for name, values in found.items()}, images.shape[1:3], targets["scale"][i])
            yield image, coco_results(one, image, truth["categories"])
        bar.add(1)


def detect(detector, images, image_size) -> dict:
    """Detections as arrays, those that end where an image does for a detector that knows sizes."""
    return _arrays(_call(detector)(images, image_size))


def _call(detector):
    if hasattr(detector, "detect"):
        return detector.detect
    return of_sizes(detector) or (lambda images, image_size: detector(images))


def _compiled(detector):
    """The same for many batches: a graph where TensorFlow makes one of a model."""
    if keras.backend.backend() != "tensorflow" or not isinstance(detector, keras.Model):
        return _call(detector)
    import tensorflow as tf

    return tf.function(_call(detector), reduce_retracing=True)


def _arrays(found) -> dict:
    return {name: keras.ops.convert_to_numpy(values) for name, values in found.items()}


def original(found: dict, size, scale) -> dict:
    """The detections of one image in its own pixels.

    Args:
        found: "boxes" `(k, 4)` and so on, in pixels of the network's input.
        size: height and width of that input.
        scale: by which height and width of the image were multiplied.
    """
    height, width = (float(side) for side in scale)
    moved = found | {"boxes": found["boxes"] / np.array([width, height, width, height], found["boxes"].dtype)}
    if "masks" in found and found["masks"].shape[1:] == tuple(size):
        # In pixels of the input: seen as a grid over a box that is the whole input.
        whole = np.array([0, 0, size[1] / width, size[0] / height], "float32")
        moved["mask_boxes"] = np.broadcast_to(whole, (len(found["masks"]), 4))
    return moved


def coco_results(found: dict, image: dict, categories: list[dict]) -> list[dict]:
    """The detections of one image as COCO's results.

    Args:
        found: "boxes" `(k, 4)`, "labels" and "scores" `(k,)`, and perhaps "masks" `(k, rows, columns)` in a grid over
            each box or of the image's size, all in the image's own pixels.
        image: "id", "height" and "width" of it.
        categories: rows with the "id" of each class, in the order of the labels.

    Returns:
        A dictionary for each, best first: "image_id", "category_id", "bbox" (left, top, width, height), "score", and
        "segmentation" as compressed run lengths.

    Raises:
        ValueError: a label is of no category.
    """
    labels = np.asarray(found["labels"])
    if labels.size and labels.max() >= len(categories):
        raise ValueError(f"There are {len(categories)} classes, and a detection has the label {labels.max()}.")
    kept = np.flatnonzero(labels >= 0)
    boxes = np.asarray(found["boxes"], "float64")
    lengths = _lengths(found, kept, (image["height"], image["width"])) if "masks" in found else None
    rows = []
    for place, i in enumerate(kept):
        left, top, right, bottom = boxes[i]
        row = {
            "image_id": image["id"],
            "category_id": categories[labels[i]]["id"],
            "bbox": [left, top, right - left, bottom - top],
            "score": float(found["scores"][i]),
        }
        rows.append(row if lengths is None else row | {"segmentation": lengths[place]})
    return rows


def pasted(found: dict, kept, size) -> np.ndarray:
    """Masks of an image, booleans `(kept, height, width)`; see `coco_results`."""
    masks = np.asarray(found["masks"])[kept]
    if masks.shape[1:] == tuple(size) and "mask_boxes" not in found:
        return masks >= THRESHOLD
    boxes = np.asarray(found.get("mask_boxes", found["boxes"]))[kept]
    return keras.ops.convert_to_numpy(paste(keras.ops.convert_to_tensor(masks, "float32"), boxes, size))


def _lengths(found, kept, size) -> list[dict]:
    step, lengths = max(1, PASTED // (size[0] * size[1])), []
    for first in range(0, len(kept), step):
        lengths += [run_lengths(mask, size) for mask in pasted(found, kept[first : first + step], size)]
    return lengths


def write_results(path, rows: list[dict]):
    """Write COCO's results as JSON, as COCO's server and every evaluation tool take them.

    Args:
        path: of the file.
        rows: what `coco_results` gave, of all images.
    """

    def plain(row):
        if "segmentation" not in row:
            return row
        lengths = row["segmentation"]
        return row | {"segmentation": lengths | {"counts": lengths["counts"].decode("ascii")}}

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps([plain(row) for row in rows]), encoding="utf-8")


def _annotated(data) -> dict:
    if data.truth is None:
        raise ValueError(
            "These data have no annotations to compare with: load them with "
            'keras_mlp.tasks.load(…, task="detection") and without a recipe.'
        )
    return data.truth()
