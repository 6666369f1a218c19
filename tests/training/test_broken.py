"""Images that cannot be read, and TFRecords."""

import gzip
import io
import json
import os
import pathlib
import re
import shutil
import tempfile

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


COUNTS = {"train": {"1": 7, "2": 7, "3": 6}, "validation": {"1": 1, "2": 1, "3": 1}}
INDEXES = {
    "no JSON": b"rubbish",
    "no UTF-8": b"\xff",
    "nothing": b"",
    "deep": b"[" * 100_000,
    **{value: value.encode() for value in ("[]", "null", "3", '"files"', "{}", '{"counts": {}}', "NaN")},
    **{
        name: json.dumps({"files": "STATE", "counts": counts}).encode()
        for name, counts in {
            "no counts": None,
            "a list of counts": [COUNTS],
            "no splits": {},
            "a split less": {"train": COUNTS["train"]},
            "a split more": {**COUNTS, "test": {"0": 1}},
            "no labels": {"train": {}, "validation": {}},
            "labels that are no numbers": {**COUNTS, "validation": {"cat": 1}},
            "counts in a list": {**COUNTS, "validation": [1, 1, 1]},
            "counts in quotes": {**COUNTS, "validation": {"1": "1"}},
            "counts that are no whole numbers": {**COUNTS, "validation": {"1": 1.5}},
            "counts that are true": {**COUNTS, "validation": {"1": True}},
            "no count": {**COUNTS, "validation": {"1": None}},
            "counts below 1": {**COUNTS, "validation": {"1": 0}},
            "more than the files hold": {**COUNTS, "train": {"1": 10**30}},
            "numbers without end": {**COUNTS, "train": {"1": float("inf")}},
            "labels of many digits": {**COUNTS, "train": {"9" * 5000: 1}},
        }.items()
    },
}


@pytest.mark.parametrize("content", INDEXES.values(), ids=INDEXES)
def test_an_index_of_records_that_cannot_be_true_is_made_anew(shards, content):
    data.find(shards, "train")
    right = (shards / records.INDEX).read_bytes()
    state = json.dumps(json.loads(right)["files"]).encode()
    (shards / records.INDEX).write_bytes(content.replace(b'"STATE"', state))
    assert data.find(shards, "train").counts() == [7, 7, 6]
    assert (shards / records.INDEX).read_bytes() == right


def test_an_index_that_is_no_file_is_not_waited_for(shards):
    os.mkfifo(shards / records.INDEX)
    assert data.find(shards, "train").counts() == [7, 7, 6]


def example(**features):
    kinds = {bytes: ("bytes_list", tf.train.BytesList), int: ("int64_list", tf.train.Int64List)}
    made = {}
    for name, values in features.items():
        kind, of = kinds[type(values[0])]
        made[name] = tf.train.Feature(**{kind: of(value=values)})
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def forged(length, content=b""):
    """A record that says how long it is, with the checksum of that, and is not."""
    head = length.to_bytes(8, "little")
    with tempfile.NamedTemporaryFile() as file:
        with tf.io.TFRecordWriter(file.name) as writer:
            writer.write(head)
        checksum = pathlib.Path(file.name).read_bytes()[20:]
    return head + checksum + content


DAMAGED = {
    "cut": lambda content: content[:-1],
    "cut in the first record": lambda content: content[:40],
    "cut in a length": lambda content: content + b"\0\0\0",
    "another byte in the last record": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "another byte in a length": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "text": lambda content: b"these are no records, and nobody said that they were",
    "compressed": gzip.compress,
    "a length beyond the file": lambda content: content + forged(2**40),
    "a length beyond all files": lambda content: content + forged(2**64 - 1),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("name", ["train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"])
def test_damaged_files_of_records_are_named(shards, damage, name):
    file = shards / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=re.escape(str(file))) as error:
        data.find(shards, "train")
    assert "\n" not in str(error.value) and not (shards / records.INDEX).exists()


CONTENTS = {
    "no example": b"\xff\xff\xff",
    "nothing": b"",
    "no label": example(**{"image/encoded": [b"x"]}),
    "no image": example(**{"image/class/label": [1]}),
    "two labels": example(**{"image/encoded": [b"x"], "image/class/label": [1, 2]}),
    "two images": example(**{"image/encoded": [b"x", b"y"], "image/class/label": [1]}),
    "a label that is text": example(**{"image/encoded": [b"x"], "image/class/label": [b"1"]}),
    "a huge label": example(**{"image/encoded": [b"x"], "image/class/label": [2**62]}),
    "a label below 0": example(**{"image/encoded": [b"x"], "image/class/label": [-1]}),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_records_of_other_content_are_refused_wherever_they_are(tmp_path, content):
    for first in (True, False):
        folder = tmp_path / str(first)
        folder.mkdir()
        sound = example(**{"image/encoded": [encoded(0)], "image/class/label": [1]})
        with tf.io.TFRecordWriter(str(folder / "train.tfrecord")) as file:
            for record in [content, sound] if first else [sound, content]:
                file.write(record)
        with pytest.raises(ValueError, match=re.escape(str(folder))) as error:
            data.find(folder, "train")
        assert "\n" not in str(error.value)


def test_splits_and_names_that_hold_nothing_are_told(shards):
    (shards / "test.tfrecord").touch()
    assert data.find(shards, "train").counts() == [7, 7, 6]
    with pytest.raises(ValueError, match=r"test.tfrecord is empty"):
        data.find(shards, "test")
    (shards / "classes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"classes.txt is not in UTF-8"):
        data.find(shards, "train")


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000, b'{"name": 3}'])
@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_a_damaged_description_of_what_was_prepared_is_told(digits, prepared, tmp_path, name, content):
    digits()
    folder = shutil.copytree(prepared / "digits" / "1.0.0", tmp_path / "digits" / "1.0.0")
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(folder))) as error:
        data.find(folder, "train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kept", [40, 0, -9, None])
def test_files_that_were_prepared_and_are_missing_or_cut_are_named(digits, prepared, tmp_path, kept):
    digits()
    folder = shutil.copytree(prepared / "digits" / "1.0.0", tmp_path / "digits" / "1.0.0")
    file = folder / "digits-train.tfrecord-00000-of-00001"
    if kept is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:kept])
    for place in ((folder, "train"), ("digits", "train[:50%]+test", tmp_path)):
        with pytest.raises(ValueError, match=re.escape(str(file))) as error:
            data.find(*place)
        assert "\n" not in str(error.value)
    assert data.find(folder, "test").examples == 359


def test_what_tensorflow_datasets_prepared_is_read_from_its_folder(digits, prepared):
    digits()
    folder = prepared / "digits" / "1.0.0"
    test = data.load(folder, "test", image_size=8, batch_size=100, channels=1)
    assert test.examples == 359 and test.classes == list("0123456789")
    assert keras.ops.shape(next(iter(test.dataset))[0]) == (100, 8, 8, 1)
