"""Images and masks in folders: as people put them, and as ADE20K and Cityscapes are published."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_mlp import labels, tasks
from keras_mlp.tasks.segmentation import folders, inference, masks
from keras_mlp.tasks.segmentation.metrics import confusion, segmentation_scores
from keras_mlp.training.data.broken import in_plain_words

PLAIN = tasks.SegmentationRecipe("a test", random_scale=None, photometric_distortion=False, horizontal_flip=False)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, "uint8")).save(path)


def ade20k(root):
    """The folder of ADE20K, with three images to learn from and two to measure on; returns the numbers in the masks."""
    random, numbers = np.random.default_rng(0), {}
    for part, short, count in (("training", "train", 3), ("validation", "val", 2)):
        for i in range(count):
            name = f"ADE_{short}_{i + 1:08d}"
            numbers[name] = random.integers(0, 151, (20 + i, 30))
            save(root / "annotations" / part / f"{name}.png", numbers[name])
            save(root / "images" / part / f"{name}.jpg", random.integers(0, 255, (20 + i, 30, 3)))
    (root / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tStuff\tName\n")
    return numbers


def cityscapes(root, suffix="labelIds", high=34):
    random, numbers = np.random.default_rng(0), {}
    for part, city, count in (("train", "aachen", 3), ("train", "bochum", 1), ("val", "frankfurt", 2)):
        for i in range(count):
            name = f"{city}_{i:06d}_000019"
            numbers[name] = random.integers(0, high, (16, 32))
            save(root / "gtFine" / part / city / f"{name}_gtFine_{suffix}.png", numbers[name])
            save(root / "gtFine" / part / city / f"{name}_gtFine_color.png", np.zeros((16, 32, 3)))
            save(root / "leftImg8bit" / part / city / f"{name}_leftImg8bit.png", np.zeros((16, 32, 3)))
    return numbers


def read(source):
    """The masks of a source by the names of the images."""
    return {
        source.name(number).split("/")[-1].split(".")[0].removesuffix("_leftImg8bit"): np.asarray(
            source.targets(label, encoded)["masks"]
        )[..., 0]
        for number, (encoded, label) in enumerate(source.dataset)
    }


@pytest.mark.parametrize("inside", ["ADEChallengeData2016", "data/ADEChallengeData2016", "renamed"])
def test_ade20k_is_known_by_its_names_and_its_masks_begin_with_void(tmp_path, inside):
    numbers = ade20k(tmp_path / inside)
    given = tmp_path / inside.removesuffix("/ADEChallengeData2016")
    train, test = (folders.folder(given, split) for split in ("train", "evaluation"))
    assert (train.examples, train.split, test.examples, test.split) == (3, "training", 2, "validation")
    assert len(train.classes) == 150 and train.classes[:3] == ["wall", "building", "sky"]
    found = read(train)
    assert sorted(found) == ["ADE_train_00000001", "ADE_train_00000002", "ADE_train_00000003"]
    for name, mask in found.items():  # 0 is void and becomes 255; the others lose one
        np.testing.assert_array_equal(mask, (numbers[name] - 1).astype("uint8"))
    assert train.identity() != test.identity()


def test_a_folder_says_what_it_holds_by_a_word_or_by_names_of_classes(tmp_path):
    ade20k(tmp_path)
    (tmp_path / "objectInfo150.txt").unlink()
    with pytest.raises(ValueError, match=r"needs a file classes\.txt"):
        folders.folder(tmp_path, "train")
    assert folders.folder(f"ade20k:{tmp_path}", "train").classes[-1] == "flag"
    (tmp_path / "objectInfo150.txt").write_text("")
    (tmp_path / "classes.txt").write_text("".join(f"thing {i}\n" for i in range(151)))
    assert folders.folder(tmp_path, "train").classes[-1] == "thing 150"
    with pytest.raises(ValueError, match="does not hold what cityscapes has: a folder with leftImg8bit/ and gtFine/"):
        folders.folder(f"cityscapes:{tmp_path}", "train")
    with pytest.raises(ValueError, match=r"There is no folder .*nowhere\. Data with masks are a folder, scenes, or"):
        folders.folder(tmp_path / "nowhere", "train")


def test_ids_of_cityscapes_become_the_19_classes_that_are_learnt(tmp_path):
    numbers = cityscapes(tmp_path)
    train, test = (folders.folder(tmp_path, split) for split in ("train", "evaluation"))
    assert (train.examples, test.examples, test.split) == (4, 2, "val")
    assert train.classes[0] == "road" and train.classes[18] == "bicycle" and len(train.classes) == 19
    # As cityscapesScripts/labels.py has them.
    learnt = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    learnt |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    for name, mask in read(train).items():
        expected = np.vectorize(lambda number: learnt.get(number, 255))(numbers[name])
        np.testing.assert_array_equal(mask, expected)
    made = cityscapes(tmp_path / "made", "labelTrainIds", 19)
    assert all(
        np.array_equal(mask, made[name]) for name, mask in read(folders.folder(tmp_path / "made", "train")).items()
    )
    cityscapes(tmp_path / "made")
    next((tmp_path / "made" / "gtFine" / "train").rglob("*labelTrainIds.png")).unlink()  # a script was broken off
    again, ids = (read(folders.folder(root, "train")) for root in (tmp_path / "made", tmp_path))
    assert len(again) == 4 and all(np.array_equal(mask, ids[name]) for name, mask in again.items())


def test_lists_of_classes_of_pixels_agree():
    names = labels.class_names("ade20k")
    assert len(names) == len(set(names)) == 150 and names[12] == ("12", "person")
    things = labels.class_names("ade20k-100")
    assert len(things) == 100 and set(things) < set(names) and things[0][1] == "bed"
    assert masks.cityscapes().classes == masks.cityscapes_to_learn().classes


def test_what_is_wrong_with_a_mask_is_said_by_file_and_value(tmp_path):
    ade20k(tmp_path)

    def refused(match, recipe=None):
        loaded = tasks.load(tmp_path, "training", image_size=8, batch_size=3, recipe=recipe)
        with pytest.raises(ValueError, match=match), in_plain_words():
            list(loaded.dataset.take(1))

    save(tmp_path / "annotations" / "training" / "ADE_train_00000002.png", np.full((21, 30), 151))
    refused(r"^\S*ADE_train_00000002\.png has the label 151\. There are 150 classes, 1–150, and 0 for void\.$")
    save(tmp_path / "annotations" / "training" / "ADE_train_00000002.png", np.zeros((5, 6)))
    refused(
        r"^A mask .* as the image\. The one of \S*ADE_train_00000002\.jpg has 5 × 6 pixels, the image 21 × 30\.$", PLAIN
    )
    (tmp_path / "annotations" / "training" / "ADE_train_00000002.png").write_bytes(b"no image")
    refused(r"The mask \S*ADE_train_00000002\.png cannot be read")


def test_an_image_that_cannot_be_read_takes_no_mask_with_it(tmp_path):
    ade20k(tmp_path)
    (tmp_path / "images" / "training" / "ADE_train_00000002.jpg").write_bytes(b"no image")
    loaded = tasks.load(tmp_path, "training", image_size=(20, 30), batch_size=3)
    ((images, targets),) = loaded.dataset
    assert images.shape[0] == 2 and len(loaded.broken) == 1
    ((images, targets),) = tasks.load(tmp_path, "training", image_size=8, batch_size=3, recipe=PLAIN).dataset.take(1)
    assert images.shape == (3, 8, 8, 3) and targets["masks"].shape == (3, 8, 8, 1)


def test_segmenters_are_measured_at_the_own_sizes_of_images(tmp_path, monkeypatch):
    ade20k(tmp_path)
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(150, 3, padding="same")(inputs))
    data = tasks.load(tmp_path, "validation", image_size=None, batch_size=1)
    views = dict(window=16, stride=12, flip=True, scales=(0.5, 1.0), resize=(60, 24))
    for options in ({}, views):
        counts = 0
        for images, targets in data.dataset:
            assert images.shape[1:3] == targets["masks"].shape[1:3] and images.shape[1] in (20, 21)
            found = tasks.segment(model, images[0].numpy(), **options)
            counts = counts + confusion(np.asarray(targets["masks"])[0, ..., 0], found, 150)
        expected, measured = segmentation_scores(counts), tasks.evaluate(model, data, verbose=0, **options)
        np.testing.assert_array_equal(measured["IoU"], expected["IoU"])
    seen = []
    monkeypatch.setattr(inference, "run", lambda model, images: seen.append(images.shape[1:3]) or images)
    inference.probabilities(model, np.zeros((1, 100, 150, 3)), resize=(60, 24), scales=(1.0, 2.0))
    inference.probabilities(model, np.zeros((1, 400, 100, 3)), resize=(60, 24))
    assert seen == [(24, 36), (48, 72), (60, 15)]  # as mmsegmentation resizes into (60, 24), times 1 and 2
    with pytest.raises(ValueError, match="Images of their own sizes are for evaluation, one a batch"):
        tasks.load(tmp_path, "validation", image_size=None, batch_size=2)
