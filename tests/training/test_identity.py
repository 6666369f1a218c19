"""A run goes on only with the data that it was begun with."""

import dataclasses
import json
import shutil

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp.training import data, train


class Crash(Exception):
    """What ends the first part of a run."""


class AtOnce(keras.callbacks.Callback):
    """Ends a run after its first step."""

    def on_train_batch_end(self, batch, logs=None):
        raise Crash


def image(path, seed):
    """A picture of random pixels; those of another seed take another number of bytes."""
    pixels = np.random.RandomState(seed).randint(0, 256, (8, 8 + seed % 3, 3), "uint8")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(pixels).numpy())


def folder(root):
    for label, name in enumerate(("cat", "dog", "owl")):
        for number in range(5):
            image(root / name / f"{number}.png", 10 * label + number)


def table(root):
    lines = ["file,cat,dog,owl"]
    for number in range(15):
        image(root / f"{number}.png", number)
        lines.append(f"{number}.png,{number % 2},{number % 3 // 2},1")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def records(root, count=15):
    root.mkdir(exist_ok=True)
    for split in ("train", "test"):
        with tf.io.TFRecordWriter(str(root / f"{split}.tfrecord")) as writer:
            for number in range(count):
                pixels = np.random.RandomState(number).randint(0, 256, (8, 8, 3), "uint8")
                content = tf.train.BytesList(value=[tf.io.encode_png(pixels).numpy()])
                label = tf.train.Int64List(value=[number % 3])
                features = {"image": tf.train.Feature(bytes_list=content), "label": tf.train.Feature(int64_list=label)}
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())


def rename(root):
    (root / "dog").rename(root / "hound")


def relabel(root):
    text = (root / "labels.csv").read_text()
    changed = text.replace(",1,0,1", ",0,0,1")
    assert changed != text
    (root / "labels.csv").write_text(changed)


CHANGES = {
    "a class is renamed": (folder, rename, r"train: the classes 'dog' are gone, the classes 'hound' are new"),
    "a class is added": (folder, lambda root: image(root / "fox" / "1.png", 1), r"the classes 'fox' are new"),
    "images are added": (
        folder,
        lambda root: [image(root / "cat" / f"{i}.png", i) for i in (6, 7, 8)],
        r"images then, \d+ now",
    ),
    "images are gone": (
        folder,
        lambda root: [(root / "cat" / f"{i}.png").unlink() for i in (0, 1, 2)],
        r"images then, \d+ now",
    ),
    "images are others": (
        folder,
        lambda root: [image(root / "cat" / f"{i}.png", i + 1) for i in range(5)],
        "names or sizes of files",
    ),
    "images are renamed": (
        folder,
        lambda root: [(root / "cat" / f"{i}.png").rename(root / "cat" / f"0{i}.png") for i in range(5)],
        "names or sizes of files",
    ),
    # Another label may be the rarest of an image, by which it is drawn into the other split.
    "labels are others": (table, relabel, "names or sizes of files, labels|images then"),
    "records are gone": (records, lambda root: records(root, 12), "15 images then, 12 now"),
    "classes have other names": (
        records,
        lambda root: (root / "classes.txt").write_text("c\nb\na\n"),
        "'a' are new|'c', 'b', 'a' are new",
    ),
}


@pytest.fixture
def run(plain):
    """Train a small model on a data set in a folder into another folder."""

    def run(root, output, *callbacks):
        multi_label = (root / "labels.csv").is_file()
        kind = "sigmoid" if multi_label else "softmax"
        recipe = dataclasses.replace(
            plain, batch_size=4, epochs=1, warmup_epochs=0, horizontal_flip=False, loss=kind, label_smoothing=0.0
        )
        options = dict(image_size=8, batch_size=4, multi_label=multi_label)
        loaded = data.load(root, "train", recipe=recipe, **options), data.load(root, "test", **options)
        head = keras.layers.Dense(len(loaded[0].classes), kind)
        model = keras.Sequential(
            [keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), head]
        )
        return train.fit(model, *loaded, recipe, output, callbacks=callbacks, verbose=0)

    return run


QUICK = ("a class is renamed", "images are others", "labels are others", "records are gone")


@pytest.mark.parametrize("name", golden.chosen(CHANGES, QUICK, *golden.HUGE))
def test_a_run_does_not_go_on_with_other_data(name, run, tmp_path):
    make, change, message = CHANGES[name]
    root, output = tmp_path / "data", tmp_path / "run"
    make(root)
    with pytest.raises(Crash):
        run(root, output, AtOnce())
    states = sorted(file.name for file in (output / "checkpoints").iterdir())
    change(root)
    with pytest.raises(ValueError, match=rf"run holds a run on other data.*({message}).*--overwrite") as error:
        run(root, output)
    assert "\n" not in str(error.value)
    assert sorted(file.name for file in (output / "checkpoints").iterdir()) == states


def test_the_same_data_elsewhere_are_the_same(run, tmp_path):
    folder(tmp_path / "data")
    with pytest.raises(Crash):
        run(tmp_path / "data", tmp_path / "run", AtOnce())
    shutil.move(tmp_path / "data", tmp_path / "moved")
    run(tmp_path / "moved", tmp_path / "run")
    assert (tmp_path / "run" / "report.md").is_file()
    told = json.loads((tmp_path / "run" / "data.json").read_text())
    assert told["train"]["classes"] == ["cat", "dog", "owl"] and told["train"]["examples"] == 12


def test_a_run_of_an_earlier_version_is_compared_by_its_classes(run, tmp_path):
    folder(tmp_path / "data")
    with pytest.raises(Crash):
        run(tmp_path / "data", tmp_path / "run", AtOnce())
    (tmp_path / "run" / "data.json").unlink()
    rename(tmp_path / "data")
    with pytest.raises(ValueError, match="'dog' are gone"):
        run(tmp_path / "data", tmp_path / "run")
    (tmp_path / "data" / "hound").rename(tmp_path / "data" / "dog")
    run(tmp_path / "data", tmp_path / "run")


def test_splits_of_a_data_set_are_told_apart_and_sizes_of_images_are_not(tmp_path):
    def identity(split, **options):
        return data.load("digits", split, data_dir=tmp_path, **options).identity()

    digits, other = (identity(split, image_size=8, batch_size=4) for split in ("train", "test"))
    assert digits["digest"] != other["digest"] and digits["examples"] != other["examples"]
    assert digits == identity("train", image_size=16, batch_size=8)
