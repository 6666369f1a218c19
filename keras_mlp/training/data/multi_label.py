"""Images of which each may be of several classes, or of none, as a source: a folder with a table of labels."""

import csv
import os
import pathlib

import numpy as np

from keras_mlp.training.data import folders
from keras_mlp.training.data.source import Source, choose_split, sizes
from keras_mlp.training.data.splits import held_out
from keras_mlp.walking import readable, walk

TABLE = "labels.csv"
FORMAT = 'a table of the columns "file" and one for each class, separated by commas, with 0 or 1 for each image'


def holds_labels(path) -> bool:
    """Whether this is a folder with a table of labels, or with split folders that have one."""
    path = pathlib.Path(path).expanduser()
    return path.is_dir() and ((path / TABLE).is_file() or any(path.glob(f"*/{TABLE}")))


def labelled(path, split: str) -> Source:
    """Find the images of one split of a folder, and which classes each is of.

    A table "labels.csv", in UTF-8, says it, a line an image:

        file,cat,dog,outdoors
        a.jpg,1,0,1
        more/b.png,0,0,0

    Args:
        path: a folder of a table and of the images that it names, with their paths in this folder; every fifth image,
            drawn once and for all from those of the same rarest class, is of the test split. Or a folder of split
            folders ("train", "test" and so on) that have a table each, with the same classes.
        split: a split folder's name, or "train", "test" or "all" without split folders, or "evaluation" for the one
            that is there to evaluate on.

    Returns:
        The source; classes are in the order of the table's columns, of the train split's.

    Raises:
        ValueError: no such split, or a table that is none; the message names its line and column.
    """
    path = pathlib.Path(path).expanduser()
    if (path / TABLE).is_file():
        split = choose_split(split, ["train", "test", "all"], path)
        classes, files, truths = _read_table(path / TABLE)
        if split != "all":
            chosen = held_out(_rarest(truths)) == (split == "test")
            files, truths = files[chosen], truths[chosen]
    elif (path / "train" / TABLE).is_file():
        split = choose_split(split, sorted(table.parent.name for table in path.glob(f"*/{TABLE}")), path)
        classes = _read_header(path / "train" / TABLE)
        found, files, truths = _read_table(path / split / TABLE)
        if sorted(found) != sorted(classes):
            differing = ", ".join(sorted(set(found) ^ set(classes)))
            raise ValueError(f"{path / split / TABLE} has other classes than that of the train split: {differing}.")
        truths = truths[:, [found.index(name) for name in classes]]
    else:
        raise ValueError(f"There is no {TABLE} in {path}, nor in {path / 'train'}: expected {FORMAT}.")
    return Source(
        folders.dataset_of(files, np.arange(len(files))),
        None,
        classes,
        len(files),
        split,
        size=files.nbytes,
        name=lambda number: readable(files[number]),
        counts=lambda: truths.sum(0).tolist(),
        read=folders.read_file,
        contents=lambda: (*sizes(files, path), str(truths.astype(int).tolist())),
        truths=truths,
        left_out=_left_out(path, split, files),
        reason=lambda number, max_pixels: folders.why_not(files[number], max_pixels),
    )


def _left_out(path, split, files) -> dict[str, str]:
    """Why files beside the images of a split are no examples."""
    left_out = {}
    table = path / TABLE if (path / TABLE).is_file() else path / split / TABLE
    named = {*map(os.path.normpath, files), os.path.normpath(table)}
    if table.parent == path and split != "all":
        named |= {*map(os.path.normpath, _read_table(table)[1])}
    (there,) = walk(table.parent, left_out=left_out)
    return left_out | {str(file): f"not in {TABLE}" for file in there if os.path.normpath(file) not in named}


def _rarest(truths):
    """Of each image the rarest of its classes, -1 for one of none."""
    order = np.argsort(truths.sum(0), kind="stable")
    return np.where(truths.any(1), order[truths[:, order].argmax(1)], -1)


def _rows(table):
    """Number and cells of the lines of a table that are not empty."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:  # spreadsheets put a mark in front
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row:
                    yield reader.line_num, [cell.strip() for cell in row]
    except UnicodeDecodeError as error:
        raise ValueError(f"{table} is not in UTF-8. Expected {FORMAT}.") from error
    except csv.Error as error:
        raise ValueError(f"{table}, line {reader.line_num}: {error}. Expected {FORMAT}.") from error


def _read_header(table) -> list[str]:
    """Names of the classes."""
    _, (first, *classes) = next(_rows(table), (0, [""]))
    if first != "file" or not classes:
        raise ValueError(f'{table}, line 1: the first column should be "file", here {first!r}. Expected {FORMAT}.')
    for column, name in enumerate(classes, 2):
        if not name or name in classes[: column - 2] or not name.isprintable():
            raise ValueError(
                f"{table}, line 1, column {column}: the name of a class should be there, in one line, and no other "
                f"class's. Received: {name!r}"
            )
    return classes


def _read_table(table) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the classes, paths of the images, and what is true of them, 0 or 1 `(images, classes)`."""
    classes, rows = _read_header(table), _rows(table)
    next(rows)
    truths, lines = [], {}
    for line, (name, *cells) in rows:
        if len(cells) != len(classes):
            raise ValueError(f"{table}, line {line}: {len(cells) + 1} columns, and {len(classes) + 1} in line 1.")
        for column, (cell, asked) in enumerate(zip(cells, classes, strict=True), 2):
            if cell not in ("0", "1"):
                raise ValueError(f"{table}, line {line}, column {column} ({asked}): should be 0 or 1, is {cell!r}.")
        file = os.path.join(table.parent, name)
        if not os.path.isfile(file):
            raise ValueError(f"{table}, line {line}, column 1 (file): there is no file {file}.")
        if (before := lines.setdefault(os.path.normpath(file), line)) != line:
            raise ValueError(f"{table}, line {line}, column 1 (file): {name} is in line {before}, too.")
        truths.append([cell == "1" for cell in cells])
    if not truths:
        raise ValueError(f"{table} names no image.")
    return classes, np.array(list(lines)), np.array(truths, "float32")
