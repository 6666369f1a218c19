"""Data sets of tensorflow-datasets that have boxes, as sources."""

import io
import os

import numpy as np

from keras_mlp.extras import need
from keras_mlp.tasks.detection import sources
from keras_mlp.tasks.detection.annotations import Instance, Picture, gathered
from keras_mlp.training.data import catalogue
from keras_mlp.training.data.source import Source

CROWDS = ("is_crowd", "is_difficult", "difficult")
"""Features that take an instance out of evaluation."""


def dataset(name: str, split: str, *, masks: bool = False, skip_broken: bool = False, data_dir=None) -> Source:
    """Find one split of a data set with boxes; the first time, download and prepare it.

    All its examples are read once at the beginning, for their annotations.

    Args:
        name: as tensorflow-datasets has it: "voc/2007", "coco/2017", or another one with a feature "image" and a
            sequence "objects" of "bbox" and "label". Or a folder in which tensorflow-datasets has prepared one.
        split: one of its splits, a part of one ("train[:90%]", "train+validation"), or "evaluation".
        masks: must be False: none of them has masks by instance.
        skip_broken: whether broken boxes are left out and counted.
        data_dir: where prepared data sets are kept; by default tensorflow-datasets' own folder.

    Returns:
        The source. Crowds, and what VOC calls difficult, count as crowds.

    Raises:
        ValueError: no such name, configuration, version or split, it has no boxes, or a box is broken.
        ConnectionError: it has to be downloaded and cannot be.
    """
    tfds = need("tensorflow_datasets", extra="train")

    builder = catalogue.prepared_builder(name) if os.path.isdir(name) else catalogue.builder(name, data_dir)
    features = builder.info.features
    instances = dict(features).get("objects")
    objects = instances.feature if isinstance(instances, tfds.features.Sequence) else {}
    if "image" not in features or not {"bbox", "label"} <= set(objects):
        raise ValueError(
            f"The data set {name!r} cannot be used here: it has no boxes, which are a sequence 'objects' of 'bbox' and "
            "'label' beside 'image'."
        )
    if masks:
        raise ValueError(f"{name} has boxes only: masks are read from COCO's JSON.")
    part = catalogue.part(builder, name, split)
    found = part.examples({"image": tfds.decode.SkipDecoding()})
    pictures = [_picture(row, part.called(number)) for number, row in enumerate(found.as_numpy_iterator())]
    return sources.of(
        gathered(pictures, objects["label"].names, None, skip_broken),
        found.map(lambda example: example["image"]).enumerate().map(lambda number, image: (image, number)),
        part.split,
        size=part.size,
        contents=part.contents,
    )


def _picture(example, name):
    from PIL import Image

    with Image.open(io.BytesIO(example["image"])) as opened:
        width, height = opened.size
    objects = example["objects"]
    crowds = np.zeros(len(objects["label"]), bool)
    for key in CROWDS:
        crowds |= np.asarray(objects.get(key, crowds), bool)
    # They are shares of the sides, in float32, which rounds away from whole pixels.
    boxes = np.round(np.asarray(objects["bbox"], "float64") * (height, width, height, width), 3)
    areas = objects.get("area", [None] * len(boxes))
    instances = [
        Instance(
            f"object {i + 1}",
            (left, top, right, bottom),
            int(label),
            bool(crowd),
            None if area is None else float(area),
        )
        for i, ((top, left, bottom, right), label, crowd, area) in enumerate(
            zip(boxes, objects["label"], crowds, areas, strict=True)
        )
    ]
    identifier = int(example["image/id"]) if "image/id" in example else None
    return Picture(name, (height, width), instances, identifier)
