"""What is told of images with masks before anything is trained on them."""

import numpy as np
import pytest
from PIL import Image

from keras_mlp.tasks.segmentation import check


@pytest.fixture
def photos(tmp_path):
    """Two classes in images of several sizes; the first image to measure on is one to learn from, too."""
    for split, count in (("train", 5), ("test", 2)):
        for kind in ("images", "masks"):
            (tmp_path / kind / split).mkdir(parents=True)
        for i in range(count):
            mask = np.zeros((10 + i, 20), "uint8")
            mask[:, :5], mask[:, 15:] = 1, 255
            Image.fromarray(mask).save(tmp_path / "masks" / split / f"{i}.png")
            pixels = np.random.default_rng(i if split == "train" else 9 * i).integers(0, 255, (10 + i, 20, 3), "uint8")
            Image.fromarray(pixels).save(tmp_path / "images" / split / f"{i}.png")
    (tmp_path / "classes.txt").write_text("ground\nthing\nnothing\n")
    return tmp_path


def test_shares_of_classes_sizes_and_empty_masks_are_told(photos):
    masks = photos / "masks" / "train"
    Image.fromarray(np.full((10, 20), 255, "uint8")).save(masks / "0.png")
    Image.fromarray(np.ones((11, 20), "uint8")).save(masks / "1.png")
    (photos / "images" / "train" / "2.png").write_bytes(b"no image")
    train, test = check.check(photos, ["train", "test"])
    check.refuse([train, test])
    assert (train.masks, test.masks) == (5, 2) and train.sizes == {(10 + i, 20) for i in range(5)}
    assert train.shown[[0, 1, 2, 255]].tolist() == [3, 4, 0, 4]
    named = {kind: [name.split("/")[-1] for name in names] for kind, names in train.found.items() if names}
    assert named == {"empty": ["0.png"], "of one class": ["1.png"], "unreadable": ["2.png"]}
    assert [name.split("/")[-2:] for name in test.found["in both"]] == [["test", "0.png"]]
    text = str(train)
    assert "5 masks of 10–14 × 20–20 pixels" in text and "| nothing | 0.00% | 0 | in no mask" in text
    things, known = 11 * 20 + 5 * (12 + 13 + 14), 11 * 20 + 15 * (12 + 13 + 14)
    assert f"| thing | {things / known:.2%} | 4 |" in text
    assert "1 empty (no pixel of the mask is of a class: nothing is learnt of it): " in text


def test_wrong_masks_are_named_with_what_is_wrong_and_refused(photos):
    masks = photos / "masks" / "train"
    Image.fromarray(np.full((10, 20), 3, "uint8")).save(masks / "0.png")
    Image.fromarray(np.zeros((3, 4), "uint8")).save(masks / "1.png")
    (masks / "2.png").write_bytes(b"no mask")
    (report,) = check.check(photos, ["train"])
    assert report.masks == 2 and len(report.found["wrong"]) == 3
    for text in (
        "0.png has the label 3. There are 3 classes, 0–2, and 255 for void",
        "1.png has 3 × 4 pixels, the image 11 × 20",
    ):
        assert text in str(report)
        with pytest.raises(ValueError, match=text.replace(".", r"\.")):
            check.refuse([report])
