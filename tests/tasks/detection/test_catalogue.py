"""Data sets of tensorflow-datasets with boxes, prepared here as it prepares them."""

import numpy as np
import pytest

from keras_mlp import tasks
from keras_mlp.tasks.detection import voc

tfds = pytest.importorskip("tensorflow_datasets")
BOX = tfds.features.BBox
SIZE = (40, 60)


def box(left, top, right, bottom):
    return BOX(ymin=top / 40, xmin=left / 60, ymax=bottom / 40, xmax=right / 60)


def prepare(folder, plain, config, version, instances, **others):
    """Prepare a small data set that has the name, the version and the features of a published one."""
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), "uint8")
    published = tfds.builder(f"{plain}/{config}", data_dir=folder).info.features

    class Small(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # the published one is registered
        VERSION = tfds.core.Version(version)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)]
        name = plain

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=published)

        def _split_generators(self, manager):
            rows = [
                (
                    i,
                    {"image": pixels, "image/filename": f"{i}.jpg", "objects": found}
                    | {k: v(i) for k, v in others.items()},
                )
                for i, found in enumerate(instances)
            ]
            return {"train": rows, "validation": rows[:1]}

        def _generate_examples(self):
            raise NotImplementedError

    Small(data_dir=folder).download_and_prepare()


def test_voc_has_boxes_in_pixels_and_what_is_difficult_is_not_learnt(tmp_path):
    dog = dict(bbox=box(0, 0, 10, 20), label="dog", is_difficult=False, is_truncated=False, pose="left")
    cat = dog | dict(bbox=box(6, 8, 60, 40), label="cat", is_difficult=True)
    prepare(
        *(tmp_path, "voc", "2007", "5.0.0", [[dog, cat], []]),
        labels=lambda i: [],
        labels_no_difficult=lambda i: [],
    )
    options = dict(task="detection", image_size=(64, 96), batch_size=2, data_dir=tmp_path)
    data = tasks.load("tfds:voc/2007", "train", **options)
    ((images, targets),) = data.dataset
    assert images.shape == (2, 64, 96, 3) and data.classes == voc.CLASSES and data.examples == 2
    dogs = voc.CLASSES.index("dog")
    assert sorted(targets["labels"].numpy().tolist()) == [[-1], [dogs]]
    np.testing.assert_allclose(targets["boxes"].numpy().max(0), [[0, 0, 16, 32]], atol=1e-3)
    rows = data.truth()["annotations"]
    assert sorted(row["iscrowd"] for row in rows) == [0, 1] and rows[0]["bbox"] == [0, 0, 10, 20]
    ((_, targets),) = tasks.load(
        "tfds:voc/2007", "train", recipe=tasks.DetectionRecipe("a test"), **options
    ).dataset.take(1)
    assert sorted(targets["labels"].numpy().tolist()) == [[-1], [dogs]]
    folder = tmp_path / "voc" / "2007" / "5.0.0"
    assert tasks.load(folder, "validation", task="detection", image_size=64, batch_size=1).examples == 1
    with pytest.raises(ValueError, match="has boxes only: masks are read from COCO's JSON"):
        tasks.load("tfds:voc/2007", "train", masks=True, **options)


def test_coco_keeps_its_ids_areas_and_crowds_and_broken_boxes_are_named(tmp_path):
    instance = dict(area=77, bbox=box(3, 4, 9, 8), id=5, is_crowd=False, label=0)
    instances = [[instance, instance | {"is_crowd": True}], [instance | {"bbox": box(7, 4, 7, 8)}]]
    prepare(tmp_path, "coco", "2017", "1.1.0", instances, **{"image/id": lambda i: 100 + i})
    options = dict(task="detection", image_size=64, batch_size=1, data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"coco/2017 \(train\), image \d, object 1: the box .* is empty"):
        tasks.load("tfds:coco/2017", "train", **options)
    data = tasks.load("tfds:coco/2017", "train", skip_broken=True, **options)
    truth = data.truth()
    assert sorted(image["id"] for image in truth["images"]) == [100, 101] and "is empty" in data.left_out
    assert [(row["area"], row["iscrowd"]) for row in truth["annotations"]] == [(77, 0), (77, 1)]


def test_data_sets_without_boxes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'digits' cannot be used here: it has no boxes"):
        tasks.load("tfds:digits", task="detection", image_size=64, batch_size=2, data_dir=tmp_path)
