"""Lists of videos, a line a video with its path and the number of its class, as the authors of models publish them."""

import os
import pathlib
import re

import numpy as np

from keras_mlp.training.data import folders, split_names
from keras_mlp.training.data.source import Source, sizes
from keras_mlp.training.data.videos import reading
from keras_mlp.walking import is_hidden, readable

NAMES = "classes.txt"
"""Beside the lists, if classes have names: a name a line."""
_LINE = re.compile(r"(.+?)[\s,;]+(?:\d{1,9}[\s,;]+)?(\d{1,9})\s*")


def holds_lists(path) -> bool:
    """Whether this is a folder with lists."""
    return bool(_lists(pathlib.Path(path).expanduser()))


def _lists(path) -> dict[str, pathlib.Path]:
    """The lists in a folder, by their names without their ends."""
    files = (file for file in sorted(path.iterdir()) if file.suffix in (".csv", ".txt") and not is_hidden(file.name))
    found = {file.stem: file for file in files if file.name != NAMES}
    parts = split_names.parts(list(found))
    return {name: file for name, file in found.items() if name in parts}


def listed(path, split: str) -> Source:
    """Find the videos of one of the lists in a folder.

    The lists are `train.csv`, `val.csv`, `ssv2_train_split.txt` and so on, in UTF-8, with a line for each video: its
    path, a space or comma, and the number of its class from 0, as `archery/a.mp4 5`. Before that may be the number of
    its frames. A path is in that folder unless it is absolute; it may be that of a folder of frames. A line of titles
    in front, in which nothing looks like a path, is passed over.

    Source: the lists of facebookresearch/SlowFast (datasets/DATASET.md), which MViT is trained with, and of
    MTLab/MorphMLP.

    Args:
        path: the folder.
        split: a list's name without its end, another word for it ("validation" for "val"), or "evaluation" for the one
            that is there to evaluate on.

    Returns:
        The source; classes have the names in `classes.txt`, or without such their numbers.

    Raises:
        ValueError: no such split, a line that is none, a class that has no name, or none of the videos is there.
    """
    path = pathlib.Path(path).expanduser()
    lists = _lists(path)
    chosen = split_names.choose(split, list(lists), path)
    rows = {name: _rows(file) for name, file in lists.items()}
    files, labels = rows[chosen]
    count = 1 + max(int(labels.max()) for _, labels in rows.values())
    names = [str(i) for i in range(count)]
    if (path / NAMES).is_file():
        names = (path / NAMES).read_text(encoding="utf-8").splitlines()
        if len(names) < count:
            raise ValueError(f"{path / NAMES} names {len(names)} classes, and the lists beside it have {count}.")
    files = np.array([os.path.join(path, file) for file in files])
    there = [file for file in files if os.path.exists(file)]
    if not there:
        raise ValueError(
            f"None of the {len(files)} videos in {lists[chosen]} is there, such as {readable(files[0])}. A path is in "
            f"{path} unless it is absolute: move the list or change its paths."
        )
    return Source(
        folders.dataset_of(files, labels),
        None,
        names,
        len(files),
        chosen,
        size=files.nbytes,
        name=lambda number: readable(files[number]),
        counts=lambda: np.bincount(labels, minlength=len(names)).tolist(),
        contents=lambda: (*sizes(there, path), str(labels.tolist())),
        reason=lambda number, max_pixels: reading.why_not(files[number], max_pixels),
    )


def _rows(file) -> tuple[list[str], np.ndarray]:
    """Paths and labels of a list."""
    found = []
    text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")  # paths may be of any bytes
    for number, line in enumerate(text.splitlines()):
        if match := _LINE.fullmatch(line):
            found.append((match[1].strip('"'), int(match[2])))
        elif line.strip() and (number or _names_video(line, file.parent)):
            raise ValueError(
                f"{file}, line {number + 1}: expected the path of a video, a space or comma, and the number of its "
                f"class from 0. Found: {readable(line[:80])}"
            )
    if not found:
        raise ValueError(f"There is no video in {file}: expected lines as `archery/a.mp4 5`.")
    files, labels = zip(*found, strict=True)
    return list(files), np.array(labels)


def _names_video(line, folder) -> bool:
    """Whether a word of a line looks like a path, or the first one is that of a video: titles of columns do not."""
    words = [word.strip('"') for word in re.split(r"[\s,;]+", line.strip())]
    if any("/" in word or os.path.splitext(word)[1].lower() in reading.SUFFIXES for word in words):
        return True
    video = folder / words[0]
    return video.is_dir() and bool(reading.frames_in(video))
