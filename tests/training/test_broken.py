"""Images that cannot be read, and TFRecords."""

import io
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mlp.cards import Recipe
from keras_mlp.training import data
from keras_mlp.training.data import check, records

PLAIN = Recipe(source="test", horizontal_flip=False, random_resized_crop=None)


BROKEN = ((1, 7), (0, 20))  # class and number of what `folder` has of them


def encoded(level, form="png", mode="RGB", size=(9, 6)):
    """A picture of one brightness in a file's bytes."""
    file = io.BytesIO()
    Image.new("RGB", size, (level,) * 3).convert(mode).save(file, form)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two classes of thirty pictures, brightness 4 i and 4 i + 2; two of the sixty are broken."""
    for name, first in (("even", 0), ("odd", 2)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(30):
            content = encoded(4 * i + first, "jpeg" if i % 2 else "png")
            if (name, i) == ("odd", 7):
                content = content[:-20]
            if (name, i) == ("even", 20):
                content = b"this is no picture"
            (tmp_path / "pictures" / name / f"{i:02}.{'jpg' if i % 2 else 'png'}").write_bytes(content)
    return tmp_path / "pictures"


def seen(dataset):
    """Brightness and label of each image."""
    batches = [(x.numpy(), y.numpy()) for x, y in dataset]
    images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    return [(round(float(image.mean())), int(label.argmax())) for image, label in zip(images, labels, strict=True)]


def test_in_training_the_image_before_takes_the_place_of_a_broken_one(folder):
    train = data.load(folder, "all", image_size=4, batch_size=20, recipe=PLAIN, broken_share=0.1)
    for epoch in range(2):
        found = seen(train.after(epoch * train.steps).dataset.take(train.steps))
        assert len(found) == 60 and len(set(found)) == 58
        assert all(label == level % 4 // 2 for level, label in found)
    assert sorted(map(train.broken.name, train.broken.numbers)) == [
        str(folder / "even" / "20.png"),
        str(folder / "odd" / "07.jpg"),
    ]
    assert str(train.broken).startswith("2 of 60 images cannot be read: ")
    train.broken.check()
    assert seen(train.after(1).dataset.take(4)) == seen(train.dataset.take(5))[20:]


def test_in_evaluation_broken_images_are_left_out(folder):
    test = data.load(folder, "all", image_size=4, batch_size=20, broken_share=0.1)
    for _ in range(2):
        assert seen(test.dataset) == [(4 * i + 2 * c, c) for c in (0, 1) for i in range(30) if (c, i) not in BROKEN]
        assert len(test.broken) == 2


def test_too_many_broken_images_are_refused_by_name(folder):
    test = data.load(folder, "all", image_size=4, batch_size=20, broken_share=0.01)
    seen(test.dataset)
    with pytest.raises(ValueError, match=r"2 of 60 images cannot be read: .*20.png, .*07.jpg. At most 1 may be broken"):
        test.broken.check()


def test_where_nothing_can_be_read_nothing_is_learnt(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(4):
        (tmp_path / "a" / f"{i}.png").write_bytes(b"rubbish")
    train = data.load(tmp_path, "all", image_size=4, batch_size=4, recipe=PLAIN)
    ((x, y),) = train.dataset.take(1)
    assert not np.any(x) and not np.any(y) and len(train.broken) == 4


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGB"])
@pytest.mark.parametrize("form", ["jpeg", "gif", "bmp", "png"])
def test_all_that_can_be_read_is_read_as_colour(tmp_path, mode, form):
    if (mode, form) in (("CMYK", "gif"), ("CMYK", "png"), ("CMYK", "bmp")):
        mode = "P" if form == "gif" else "RGB"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"picture.{form}").write_bytes(encoded(100, form, mode))
    test = data.load(tmp_path, "all", image_size=4, batch_size=1)
    ((x, _),) = test.dataset
    np.testing.assert_allclose(x, 100, atol=3)
    assert not test.broken


# The look before training


def test_the_check_names_all_that_is_wrong(folder):
    (folder / "odd" / "same.png").write_bytes((folder / "even" / "04.png").read_bytes())
    (folder / "odd" / "false.png").write_bytes(encoded(200, "gif"))
    (folder / "odd" / "print.jpg").write_bytes(encoded(201, "jpeg", "CMYK"))
    (folder / "odd" / "grey.png").write_bytes(encoded(202, "png", "L"))
    (folder / "odd" / "huge.png").write_bytes(encoded(203, "png", size=(10_000, 5_001)))
    frames = [Image.new("L", (4, 4), level) for level in (0, 99)]
    frames[0].save(folder / "odd" / "film.gif", save_all=True, append_images=frames[1:])
    (report,) = check.check(folder, ["all"])
    assert report.counts == {"even": 30, "odd": 36} and report.broken == 2
    assert {kind: [pathlib.Path(name).name for name in names] for kind, names in report.found.items()} == {
        "unreadable": ["20.png"],
        "truncated": ["07.jpg"],
        "mislabelled": ["04.png", "same.png"],
        "in both": [],
        "misnamed": ["false.png"],
        "CMYK": ["print.jpg"],
        "grey": ["grey.png"],
        "animated": ["film.gif"],
        "huge": ["huge.png"],
    }
    assert str(report).startswith(f"{folder} (all): 66 images of 2 classes, 30 to 36 each\n  even 30, odd 36\n")
    assert "1 truncated (an image whose end is missing or damaged: will be left out): " in str(report)


def test_the_check_finds_what_is_in_both_splits(tmp_path):
    for split, levels in (("train", (1, 2, 3)), ("val", (3, 4))):
        (tmp_path / split / "a").mkdir(parents=True)
        for level in levels:
            (tmp_path / split / "a" / f"{level}.png").write_bytes(encoded(level))
    train, validation = check.check(tmp_path, ["train", "evaluation"])
    assert str(train).endswith("nothing else to tell")
    assert validation.found["in both"] == [str(tmp_path / "val" / "a" / "3.png")]


def test_the_check_reads_what_tensorflow_datasets_has(digits, prepared):
    digits()
    reports = check.check("digits", ["train", "test"], prepared)
    assert [sum(report.counts.values()) for report in reports] == [1438, 359]
    assert all(len(report.found["grey"]) == sum(report.counts.values()) for report in reports)


# TFRecords


def write(path, examples, image="image/encoded", label="image/class/label"):
    """Write `(content, number)` pairs."""
    with tf.io.TFRecordWriter(str(path)) as file:
        for content, number in examples:
            features = {
                image: tf.train.Feature(bytes_list=tf.train.BytesList(value=[content])),
                label: tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
            }
            file.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


@pytest.fixture
def shards(tmp_path):
    """TFRecords as ImageNet's: labels from 1, splits "train" (two files) and "validation"."""
    for shard in range(2):
        pairs = [(encoded(10 * i), 1 + i % 3) for i in range(10 * shard, 10 * shard + 10)]
        write(tmp_path / f"train-{shard:05}-of-00002", pairs)
    write(tmp_path / "validation-00000-of-00001", [(encoded(50), 2), (b"rubbish", 1), (encoded(60), 3)])
    return tmp_path


def test_records_are_read_in_order(shards):
    train = data.load(shards, "train", image_size=4, batch_size=5)
    assert (train.examples, train.classes) == (20, ["1", "2", "3"])
    assert seen(train.dataset) == [(10 * i, i % 3) for i in range(20)]
    test = data.load(shards, "evaluation", image_size=4, batch_size=5, broken_share=0.5)
    assert seen(test.dataset) == [(50, 1), (60, 2)]
    assert str(test.broken).endswith("(validation), record 1")


def test_records_train(shards):
    train = data.load(shards, "train", image_size=4, batch_size=4, recipe=PLAIN)
    found = seen(train.dataset.take(5))
    assert len(set(found)) == 20 and found != sorted(found)


def test_classes_are_named_by_a_file(shards):
    (shards / "classes.txt").write_text("cat\ndog\nfish\n")
    assert data.load(shards, "train", image_size=4, batch_size=5).classes == ["cat", "dog", "fish"]
    (shards / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(ValueError, match=r"labels 1 to 3, and .*classes.txt has 2 names"):
        data.load(shards, "train", image_size=4, batch_size=5)


def test_labels_are_counted_once(shards, monkeypatch):
    assert data.find(shards, "train").counts() == [7, 7, 6]
    monkeypatch.setattr(records, "_count", None)
    assert data.find(shards, "train").counts() == [7, 7, 6]
    write(shards / "test.tfrecord", [(encoded(0), 1)])
    with pytest.raises(TypeError):
        data.find(shards, "test")


def test_records_that_are_not_as_expected(tmp_path):
    write(tmp_path / "train.tfrecord", [(encoded(0), 1)], image="picture")
    with pytest.raises(ValueError, match=r"features image/class/label, picture: expected .*image/encoded, .*label"):
        data.load(tmp_path, "train", image_size=4, batch_size=1)
    with pytest.raises(ValueError, match=r"has no split 'val'. It has: train"):
        data.load(tmp_path, "val", image_size=4, batch_size=1)


def test_what_tensorflow_datasets_prepared_is_read_from_its_folder(digits, prepared):
    digits()
    folder = prepared / "digits" / "1.0.0"
    test = data.load(folder, "test", image_size=8, batch_size=100, channels=1)
    assert test.examples == 359 and test.classes == list("0123456789")
    assert keras.ops.shape(next(iter(test.dataset))[0]) == (100, 8, 8, 1)
