"""Images with boxes: COCO's JSON, Pascal VOC's XML, scenes; and what is wrong with an annotation is said by name."""

import json
import zlib

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask
from PIL import Image

from keras_mlp import tasks
from keras_mlp.tasks import scenes
from keras_mlp.tasks.detection import annotations, coco, sources, voc
from keras_mlp.tasks.detection.data import bounds


def picture(path, size=(40, 60), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), "uint8")).save(path)


@pytest.fixture
def data(tmp_path):
    """COCO's layout: gaps in the categories, a crowd, run lengths of both kinds, an image without boxes."""
    square = np.zeros((40, 60), "uint8")
    square[10:20, 5:25] = 1
    compressed = coco_mask.encode(np.asfortranarray(square))
    plain = {"size": [40, 60], "counts": [0, 1, 2399]}
    rows = [
        dict(id=11, image_id=7, category_id=18, bbox=[5, 10, 20, 10], area=150.5, iscrowd=0),
        dict(id=12, image_id=7, category_id=90, bbox=[0, 0, 1, 1], area=1, iscrowd=1, segmentation=plain),
        dict(id=13, image_id=9, category_id=3, bbox=[1, 2, 30, 20.5], area=600, iscrowd=0),
    ]
    rows[0]["segmentation"] = compressed | {"counts": compressed["counts"].decode()}
    rows[2]["segmentation"] = [[1, 2, 31, 2, 31, 22.5], [1, 2, 1, 22.5, 31, 22.5]]
    content = {
        "images": [dict(id=i, file_name=f"{i}.jpg", height=40, width=60) for i in (7, 8, 9)],
        "annotations": rows,
        "categories": [dict(id=90, name="cup"), dict(id=3, name="car"), dict(id=18, name="dog")],
    }
    for split in ("train2017", "val2017"):
        for i in (7, 8, 9):
            picture(tmp_path / split / f"{i}.jpg", seed=i)
        write(tmp_path, content, split)
    return tmp_path, content


def write(folder, content, split="train2017"):
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def test_coco_is_read_with_gaps_crowds_masks_and_images_without_boxes(data):
    folder, content = data
    found, split = coco.read(folder, "train", masks=True)
    assert split == "train2017" and coco.read(folder, "evaluation")[1] == "val2017"
    assert found.classes == ["car", "dog", "cup"] and found.categories == [3, 18, 90]
    assert [len(one.instances) for one in found.pictures] == [2, 0, 1] and found.counts() == [1, 1, 1]
    dog, cup = found.pictures[0].instances
    assert dog.box == (5, 10, 25, 20) and dog.label == 1 and dog.area == 150.5 and not dog.crowd and cup.crowd
    shown = annotations.mask_of(dog.mask)
    assert shown.sum() == 200 and shown[10:20, 5:25].all() and annotations.mask_of(cup.mask).sum() == 1
    assert annotations.mask_of(found.pictures[2].instances[0].mask).sum() == pytest.approx(30 * 20.5, rel=0.05)
    truth = found.truth()
    keys = ("image_id", "category_id", "bbox", "area", "iscrowd")
    assert [[row[k] for k in keys] for row in truth["annotations"]] == [
        [row[k] for k in keys] for row in content["annotations"]
    ]
    assert coco.read(folder / "annotations" / "instances_val2017.json", "any")[0].counts() == [1, 1, 1]


def test_targets_of_coco_are_padded_and_their_masks_lie_in_their_boxes(data):
    folder, _ = data
    loaded = tasks.load(folder, "val", task="detection", image_size=(64, 96), batch_size=3, masks=True)
    ((images, targets),) = loaded.dataset
    assert images.shape == (3, 64, 96, 3) and loaded.classes == ["car", "dog", "cup"]
    np.testing.assert_array_equal(targets["labels"], [[1], [-1], [0]])  # the crowd is not learnt
    np.testing.assert_allclose(targets["boxes"][0], [[8, 16, 40, 32]], atol=1e-4)
    np.testing.assert_array_equal(targets["boxes"][1], np.zeros((1, 4)))
    np.testing.assert_array_equal(bounds(targets["masks"][0]), [[8, 16, 40, 32]])
    np.testing.assert_array_equal(targets["image_size"], [[64, 96]] * 3)
    np.testing.assert_array_equal(targets["number"], [0, 1, 2])
    np.testing.assert_allclose(targets["original_size"] * targets["scale"], targets["image_size"])


BROKEN = {
    "reversed": [20, 10, -5, 10],
    "empty": [20, 10, 0, 10],
    "not finite": [20, float("nan"), 5, 10],
    "outside": [70, 10, 5, 10],
    "not four numbers": [1, 2, 3],
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_box_is_an_error_that_names_it_or_is_left_out_and_counted(data, what):
    folder, content = data
    content["annotations"][2]["bbox"] = BROKEN[what]
    write(folder, content)
    with pytest.raises(ValueError, match=rf"9\.jpg, annotation 13: .*{what}.*--skip_broken"):
        sources.folder(folder, "train")
    found = sources.folder(folder, "train", skip_broken=True)
    assert len(found.left_out) == 1 and found.counts() == [0, 1, 1] and found.examples == 3
    loaded = tasks.load(folder, "train", task="detection", image_size=64, batch_size=1, skip_broken=True)
    assert what in loaded.left_out and "annotation 13" in loaded.left_out


def test_masks_that_cannot_be_read_are_broken_annotations(data):
    folder, content = data
    for wrong, told in (
        ({"size": [40, 61], "counts": [2440]}, "is of \\[40, 61\\], its image"),
        ({"size": [40, 60], "counts": [5, 7]}, "Invalid RLE"),
        ([[1, 2, 3, 4]], "three corners"),
        (None, "neither polygons nor run lengths"),
    ):
        content["annotations"][2]["segmentation"] = wrong
        write(folder, content)
        with pytest.raises(ValueError, match=f"annotation 13: .*{told}"):
            coco.read(folder, "train", masks=True)
        assert coco.read(folder, "train")[0].counts() == [1, 1, 1]


def test_what_is_wrong_with_a_file_of_coco_is_said(data):
    folder, content = data

    def refused(match, split="train", **changes):
        write(folder, content | changes)
        with pytest.raises(ValueError, match=match):
            sources.folder(folder, split)

    refused("has no split 'nothing'. It has: train2017, val2017", "nothing")
    refused("no file of COCO's", categories=None)
    refused("two of images have the same id", images=content["images"][:1] * 2)
    refused("one of images has no height, width", images=[dict(id=1, file_name="7.jpg")])
    refused("annotation 11 is of the image 7, which is not there", images=content["images"][1:])
    refused("annotation 11 is of the category 18", categories=content["categories"][:2])
    (folder / "train2017" / "9.jpg").unlink()
    refused(r"names images that are not there: .*9\.jpg")
    with pytest.raises(ValueError, match="has no boxes: expected annotations/"):
        sources.folder(folder / "train2017", "train")


def test_annotations_of_another_size_than_their_image_are_an_error(data):
    folder, content = data
    content["images"][1] |= dict(height=60, width=40)
    write(folder, content)
    loaded = tasks.load(folder, "train", task="detection", image_size=32, batch_size=3)
    with pytest.raises(Exception, match="The image of annotations should be as high and wide"):
        list(loaded.dataset)


XML = """<annotation><filename>{stem}.jpg</filename><size><width>60</width><height>40</height><depth>3</depth></size>
{instances}</annotation>"""
INSTANCE = """<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>
<ymax>{}</ymax></bndbox></object>"""


@pytest.fixture
def pascal(tmp_path):
    instances = {"1": [("dog", 0, 1, 1, 10, 20), ("cat", 1, 5, 5, 60, 40)], "2": [], "3": [("cat", 0, 2.5, 3, 4, 5)]}
    (tmp_path / "Annotations").mkdir()
    for stem, inside in instances.items():
        picture(tmp_path / "JPEGImages" / f"{stem}.jpg")
        text = XML.format(stem=stem, instances="".join(INSTANCE.format(*instance) for instance in inside))
        (tmp_path / "Annotations" / f"{stem}.xml").write_text(text)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    for name, stems in (("train", "1\n2\n"), ("val", "3\n"), ("trainval", "1\n2\n3\n"), ("dog_train", "1 1\n")):
        (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text(stems)
    return tmp_path


def test_pascal_voc_is_read_by_its_splits_and_its_pixels_count_from_one(pascal):
    found, split = voc.read(pascal, "train")
    assert split == "train" and found.classes == voc.CLASSES and len(voc.CLASSES) == 20
    dog, cat = found.pictures[0].instances
    assert dog.box == (0, 0, 10, 20) and found.classes[dog.label] == "dog" and not dog.crowd
    assert cat.box == (4, 4, 60, 40) and cat.crowd and found.pictures[1].instances == []
    assert voc.read(pascal, "evaluation")[1] == "val" and len(voc.read(pascal, "trainval")[0].pictures) == 3
    loaded = tasks.load(pascal, "val", task="detection", image_size=64, batch_size=1)
    ((_, targets),) = loaded.dataset
    np.testing.assert_allclose(targets["boxes"][0, 0], np.array([1.5, 2, 4, 5]) * 64 / 60, rtol=0.02)


def test_pascal_voc_of_other_classes_and_without_lists_is_read_and_errors_name_the_object(pascal):
    (pascal / "Annotations" / "3.xml").write_text(XML.format(stem=3, instances=INSTANCE.format("nut", 0, 9, 3, 4, 5)))
    with pytest.raises(ValueError, match=r"3\.jpg, object 1: .*reversed"):
        voc.read(pascal, "val")
    found, _ = voc.read(pascal, "val", skip_broken=True)
    assert found.classes == ["cat", "dog", "nut"] and len(found.left_out) == 1
    (pascal / "classes.txt").write_text("dog\ncat\n")
    with pytest.raises(ValueError, match="object 1 is a 'nut', which classes.txt does not name"):
        voc.read(pascal, "val")
    with pytest.raises(ValueError, match="masks are read from COCO's JSON"):
        sources.folder(pascal, "val", masks=True)


def test_scenes_have_a_box_and_a_mask_of_what_is_seen_of_each_digit():
    crowded = 40  # pixels a side, so that digits cover each other
    drawn = scenes.draw("test", 40, crowded)
    found = sources.digits("test", 40, crowded, masks=True)
    truth, covered = found.truth(), 0
    assert found.classes == list(map(str, range(10)))
    for row in truth["annotations"]:
        owner, semantic = drawn.owners[row["image_id"]], drawn.masks[row["image_id"]]
        shown = annotations.mask_of(row["segmentation"]).astype(bool)
        left, top, width, height = map(int, row["bbox"])
        assert shown.sum() == row["area"] == shown[top : top + height, left : left + width].sum()
        assert shown.any(0).sum() == width or not shown.any(0)[left + 1 : left + width - 1].all()
        assert len(np.unique(owner[shown])) == 1 and (semantic[shown] == row["category_id"]).all()
        covered += row["iscrowd"]
    assert 0 < covered < len(truth["annotations"]) / 3
    np.testing.assert_array_equal(drawn.owners > 0, drawn.masks > 0)
    drawn = scenes.draw("test", 40)  # the same everywhere: what was trained on them stays comparable
    assert (zlib.crc32(drawn.images.tobytes()), zlib.crc32(drawn.masks.tobytes())) == (1918056875, 3012348931)
