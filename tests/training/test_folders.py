"""Folders as people have them: which files are examples, of which class, in which split."""

import io
import os
import pathlib
import socket

import numpy as np
import pytest
from PIL import Image

from keras_mlp.training import data
from keras_mlp.training.data import check, split_names
from keras_mlp.training.data.splits import held_out


def image(level, form="png"):
    file = io.BytesIO()
    Image.new("L", (5, 5), level).save(file, form)
    return file.getvalue()


def put(path, content=None, level=0):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image(level) if content is None else content)


def levels(folder, split):
    """Class and brightness of each example."""
    source = data.find(folder, split)
    examples = source.dataset.as_numpy_iterator()
    return sorted(
        (source.classes[label], int(Image.open(file).convert("L").getpixel((0, 0)))) for file, label in examples
    )


# Splits


@pytest.mark.parametrize(
    ("train", "other"),
    [
        *(("train", "val"), ("Train", "Validation"), ("TRAINING", "Testing"), ("seg_train", "seg_test")),
        *(("training_set", "test images"), ("TrainSet", "dev"), ("images-train", "images-valid")),
    ],
)
def test_split_folders_have_many_names(tmp_path, train, other):
    for split, first in ((train, 0), (other, 100)):
        for label in range(2):
            put(tmp_path / split / "ab"[label] / "1.png", level=first + label)
    assert levels(tmp_path, "train") == levels(tmp_path, train) == [("a", 0), ("b", 1)]
    assert levels(tmp_path, "evaluation") == levels(tmp_path, other) == [("a", 100), ("b", 101)]


def test_splits_may_be_named_by_what_they_are_of_and_be_nested(tmp_path):
    for split in ("flowers_train", "flowers_test"):
        put(tmp_path / "flowers" / split / "rose" / "1.png", level=len(split))
        put(tmp_path / "nested" / split.replace("flowers", "seg") / split.replace("flowers", "seg") / "rose" / "1.png")
    assert levels(tmp_path / "flowers", "train") == [("rose", 13)]
    assert levels(tmp_path / "nested", "test") == [("rose", 0)]


def test_what_can_be_measured_on_needs_no_train_split(tmp_path):
    put(tmp_path / "val" / "a" / "1.png")
    assert levels(tmp_path, "evaluation") == [("a", 0)]
    with pytest.raises(ValueError, match="has no split 'train'. It has: val"):
        data.load(tmp_path, "train", image_size=5, batch_size=1)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["Train/1.png", "cat/1.png"], "classes or splits.*Found: Train, cat; Train would be a split"),
        (["cat/1.png", "dog/1.png", "test/1.png"], "classes or splits"),
        (["train/1.png", "test/1.png"], "no class folders in .*train"),
        (["Train/a/1.png", "training/a/1.png"], "several folders for the train split: Train, training"),
        (["photos/train/a/1.png", "photos/val/a/1.png"], "one class only, photos.*train, val.*take .*photos"),
        (["cat/train/1.png", "cat/test/1.png", "dog/train/1.png"], "cat would be a class.*splits in it: test, train"),
    ],
)
def test_splits_never_become_classes(tmp_path, files, message):
    for file in files:
        put(tmp_path / file)
    with pytest.raises(ValueError, match=message):
        data.load(tmp_path, "train", image_size=5, batch_size=1)


def test_names_that_are_no_splits():
    for name in ("test_tube", "bullet_train", "train_station", "cat", "attestation", "trainval", "1", ""):
        assert split_names.part(name) is None
    assert not split_names.parts(["valid", "invalid"]) and split_names.parts(["valid", "train"])


# Classes


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_numbers_are_counted_and_the_same_examples_are_held_out_as_ever(tmp_path, split):
    """Which of them depends on the order of the classes' names as strings."""
    names, count = [str(i) for i in range(12)], 6
    for name in names:
        for i in range(count):
            put(tmp_path / name / f"{i}.png", level=10 * int(name) + i)
    assert data.load(tmp_path, split, image_size=5, batch_size=4).classes == names
    chosen = held_out(np.repeat(np.arange(12), count))
    before = [(name, 10 * int(name) + i) for name in sorted(names) for i in range(count)]
    wanted = [one for one, test in zip(before, chosen, strict=True) if split == "all" or test == (split == "test")]
    assert levels(tmp_path, split) == sorted(wanted)


# Files


def test_every_image_is_used_and_every_other_file_is_named(tmp_path):
    folder = tmp_path / "photos"
    forms = ["1.png", "2.JPG", "3.jfif", "4.webp", "5.tif", "6.tiff", "7.gif", "8.bmp", "9", "10.dat", "11.jpe"]
    kinds = dict(jpg="jpeg", jfif="jpeg", jpe="jpeg", tif="tiff", dat="webp")
    for i, name in enumerate(forms):
        suffix = name.lower().partition(".")[2] or "tiff"
        put(folder / "a" / name, image(10 * i, kinds.get(suffix, suffix)))
    for name in (".ipynb_checkpoints/1.png", "__MACOSX/2.png", "deep/.hidden/3.png", ".4.png", "Thumbs.db"):
        put(folder / "a" / name)
    put(folder / ".git" / "cat" / "1.png")
    put(folder / "a" / "notes.txt", b"text")
    put(folder / "a" / "folder.png" / "inside.png", level=200)  # a folder is none
    put(folder / "beside.png")
    os.mkfifo(folder / "a" / "pipe.png")
    os.symlink("nowhere", folder / "a" / "link.png")
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(folder / "a")  # the path of a socket is to be short
    try:
        server.bind("socket.png")
    finally:
        os.chdir(here)
    put(folder / "b" / "1.png", level=255)
    found = levels(folder, "all")
    assert [name for name, _ in found] == ["a"] * (len(forms) + 1) + ["b"]
    for level in (*range(0, 10 * len(forms), 10), 200, 255):
        assert any(abs(level - seen) <= 2 for _, seen in found), level
    told = data.load(folder, "all", image_size=5, batch_size=4).left_out
    assert told.startswith("11 files are left out: 1 a link to nothing (")
    for reason in ("1 in no class folder", "2 no regular file", "1 not an image", "6 hidden"):
        assert reason in told
    for name in ("beside.png", "notes.txt", "pipe.png", "socket.png", "link.png", "__MACOSX", ".git"):
        assert name in told
    (report,) = check.check(folder, ["all"])
    assert told in str(report) and sum(report.counts.values()) == len(forms) + 2
    server.close()


def test_a_copy_in_a_hidden_folder_is_in_no_split(tmp_path):
    for i in range(10):
        put(tmp_path / "a" / f"{i}.png", level=i)
        put(tmp_path / "a" / ".ipynb_checkpoints" / f"{i}-checkpoint.png", level=i)
    train, test = levels(tmp_path, "train"), levels(tmp_path, "test")
    assert (len(train), len(test)) == (8, 2) and not set(train) & set(test)


def test_names_that_are_not_utf8_are_read_and_named(tmp_path):
    name = os.fsencode(tmp_path / "a") + b"/\xff\xfe.png"
    (tmp_path / "a").mkdir()
    for path, content in ((name, image(7)), (os.fsencode(tmp_path / "a") + b"/\xe4.png", b"no image")):
        with open(path, "wb") as file:
            file.write(content)
    loaded = data.load(tmp_path, "all", image_size=5, batch_size=4)
    ((x, _),) = loaded.dataset
    assert len(x) == 1 and round(float(np.mean(x))) == 7
    assert str(loaded.broken).endswith(r"a/\xe4.png")
    assert loaded.broken.reasons() == [rf"{tmp_path}/a/\xe4.png: not an image ({check_formats()})"]


def check_formats():
    from keras_mlp.training.data.decoding import READABLE

    return READABLE
