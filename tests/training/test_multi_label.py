"""Folders with a table of labels: images of several classes, or of none."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_mlp.cards import Preprocessing
from keras_mlp.training import data
from keras_mlp.training.data.check import check
from keras_mlp.training.data.multi_label import holds_labels, labelled

CLASSES = ("red", "green", "blue")
LEVEL = 200  # of each colour that an image has


def write(folder, truths, classes=CLASSES, first=0):
    """Images whose colours are their classes, and their table."""
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    lines = [",".join(["file", *classes])]
    for number, truth in enumerate(truths, first):
        name = f"deep/{number}.png" if number % 2 else f"{number}.png"
        keras.utils.save_img(folder / name, np.full((9, 9, 3), np.multiply(truth, LEVEL)), scale=False)
        by_name = dict(zip(CLASSES, truth, strict=True))
        lines.append(",".join([name, *(str(by_name[name]) for name in classes)]))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """60 images; two of them are blue."""
    path = tmp_path_factory.mktemp("colours")
    truths = np.random.default_rng(0).integers(0, 2, (60, 3))
    truths[:, 2] = np.arange(60) < 2
    write(path, truths.tolist())
    return path


def load(path, split, recipe=None, **options):
    options = dict(image_size=8, batch_size=20, preprocessing=Preprocessing(crop_pct=1.0)) | options
    return data.load(path, split, recipe=recipe, multi_label=True, **options)


def batches(found, count=None):
    taken = found.dataset if count is None else found.dataset.take(count)
    return [np.concatenate(part) for part in zip(*taken.as_numpy_iterator(), strict=True)]


def test_each_image_has_its_own_labels_shuffled_and_mixed_or_not(folder, plain):
    found = load(folder, "all")
    assert (found.classes, found.examples, found.multi_label) == (list(CLASSES), 60, True)
    for mixing in (None, {}, {"mixup": 0.5}, {"cutmix": 1.0}):
        recipe = None if mixing is None else dataclasses.replace(plain, **mixing)
        images, labels = batches(load(folder, "all", recipe), None if recipe is None else 3)
        assert labels.shape == (60, 3)
        np.testing.assert_allclose(images.mean((1, 2)) / LEVEL, labels, atol=0.01)
        assert np.isin(labels, (0, 1)).all() == (not mixing)


def test_every_fifth_image_is_held_out_rare_classes_on_either_side(folder):
    parts = {split: batches(load(folder, split))[1] for split in ("train", "test")}
    assert len(parts["train"]) + len(parts["test"]) == 60 and 10 <= len(parts["test"]) <= 14
    assert [labels[:, 2].sum() for labels in parts.values()] == [1, 1]
    assert load(folder, "evaluation").examples == len(parts["test"])
    for split, other in (("train", "test"), ("test", "train")):
        files = {str(labelled(folder, split).name(i)) for i in range(len(parts[split]))}
        assert not files & {str(labelled(folder, other).name(i)) for i in range(len(parts[other]))}


def test_split_folders_may_have_their_columns_in_another_order(tmp_path):
    write(tmp_path / "train", [[1, 0, 0], [0, 1, 1]])
    write(tmp_path / "val", [[0, 0, 1], [1, 0, 0]], classes=("blue", "red", "green"))
    found = load(tmp_path, "evaluation")
    images, labels = batches(found)
    assert found.classes == list(CLASSES)
    np.testing.assert_allclose(images.mean((1, 2)) / LEVEL, labels, atol=0.01)
    write(tmp_path / "val", [[0, 0, 1]], classes=("blue", "red"))
    with pytest.raises(ValueError, match=r"val/labels.csv has other classes than that of the train split: green"):
        load(tmp_path, "val")


def test_a_broken_image_is_left_out_and_named(tmp_path, plain):
    write(tmp_path, [[1, 0, 1]] * 20)
    (tmp_path / "4.png").write_bytes(b"no picture")
    found = load(tmp_path, "all", broken_share=0.1)
    images, labels = batches(found)
    assert len(labels) == 19 and "4.png" in str(found.broken)
    images, labels = batches(load(tmp_path, "all", plain, broken_share=0.1), 1)
    np.testing.assert_allclose(images.mean((1, 2)) / LEVEL, labels, atol=0.01)


def test_the_look_at_all_images_counts_each_class(folder, tmp_path):
    (report,) = check(folder, ["all"], multi_label=True)
    truths = labelled(folder, "all").truths
    assert report.counts == dict(zip(CLASSES, truths.sum(0).astype(int).tolist(), strict=True))
    assert f"{60} images of 3 classes" in str(report)


TABLES = {
    "another first column": ("id,red\n0.png,1\n", r"line 1: the first column should be \"file\", here 'id'"),
    "no classes": ("file\n0.png\n", "line 1: the first column"),
    "an empty table": ("", "line 1: the first column"),
    "semicolons": ("file;red\n0.png;1\n", "separated by commas"),
    "a class twice": ("file,red,red\n0.png,1,1\n", r"line 1, column 3.*Received: 'red'"),
    "a class without name": ("file,red,\n0.png,1,1\n", "line 1, column 3.*Received: ''"),
    "a name of two lines": ('file,"re\nd"\n0.png,1\n', r"line 1, column 2.*Received: 're\\nd'"),
    "too few columns": ("file,red,blue\n0.png,1\n", "line 2: 2 columns, and 3 in line 1"),
    "another value": ("file,red\n0.png,1\n2.png,yes\n", r"line 3, column 2 \(red\): should be 0 or 1, is 'yes'"),
    "an empty value": ("file,red\n0.png,\n", r"line 2, column 2 \(red\): should be 0 or 1, is ''"),
    "a missing file": ("file,red\n0.png,1\nnone.png,1\n", r"line 3, column 1 \(file\): there is no file .*none.png"),
    "a folder": ("file,red\ndeep,1\n", r"line 2, column 1 \(file\): there is no file"),
    "a file twice": ("file,red\n0.png,1\n./0.png,0\n", r"line 3, column 1 \(file\): ./0.png is in line 2, too"),
    "no images": ("file,red\n", "names no image"),
    "an open quote": ('file,red\n"0.png,1\n', r"labels.csv, line \d: unexpected end of data"),
}


@pytest.mark.parametrize("case", TABLES)
def test_what_is_wrong_with_a_table_is_told_by_line_and_column(tmp_path, case):
    write(tmp_path, [[1, 0, 0]] * 3)
    table, told = TABLES[case]
    (tmp_path / "labels.csv").write_text(table, encoding="utf-8")
    with pytest.raises(ValueError, match=told) as caught:
        load(tmp_path, "all")
    assert "labels.csv" in str(caught.value)


def test_tables_as_spreadsheets_write_them_are_read(tmp_path):
    write(tmp_path, [[1, 0, 0]] * 3)
    (tmp_path / "labels.csv").write_bytes("file,größe\r\n0.png, 1\r\n\r\n2.png,0\r\n".encode("utf-8-sig"))
    assert labelled(tmp_path, "all").classes == ["größe"]
    (tmp_path / "labels.csv").write_bytes("file,größe\n0.png,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match="is not in UTF-8"):
        labelled(tmp_path, "all")


def test_kinds_of_labels_are_not_taken_for_each_other(folder, tmp_path, plain):
    assert holds_labels(folder) and not holds_labels(tmp_path) and not holds_labels("digits")
    with pytest.raises(ValueError, match=r"no class folders but a table of labels.*--multi_label"):
        data.load(folder, "all", image_size=8, batch_size=2)
    with pytest.raises(ValueError, match=r"There is no labels.csv in .*expected a table"):
        load(tmp_path, "all")
    with pytest.raises(ValueError, match="There is no folder digits"):
        load("digits", "train")
    with pytest.raises(ValueError, match="multi-label data cannot be balanced"):
        load(folder, "all", dataclasses.replace(plain, balance_classes=True))


def test_what_the_table_does_not_name_is_told(tmp_path):
    """Of every split the same, hidden files among them."""
    for name in ("a.png", "b.png", "more/c.png", ".hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        keras.utils.save_img(tmp_path / name, np.zeros((4, 4, 3)), scale=False)
    (tmp_path / "labels.csv").write_text("file,x\na.png,1\nb.png,0\n")
    for split in ("all", "train", "test"):
        told = data.load(tmp_path, split, image_size=4, batch_size=1, multi_label=True).left_out
        assert told == (
            f"2 files are left out: 1 not in labels.csv ({tmp_path}/more/c.png), 1 hidden ({tmp_path}/.hidden.png)"
        )
