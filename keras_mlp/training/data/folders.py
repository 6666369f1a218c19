"""Images in class folders, as a source.

Not by `keras.utils.image_dataset_from_directory`, which resizes to one size before any augmentation sees the image,
nor by `tfds.ImageFolder`, which wants split folders and knows no part of a split.
"""

import os
import pathlib

import numpy as np

from keras_mlp.training.data.source import EVALUATION_SPLITS, Source, choose_split, sizes
from keras_mlp.training.data.splits import held_out
from keras_mlp.walking import subfolders, walk

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


def folder(path, split: str) -> Source:
    """Find the images of one split of a folder.

    Args:
        path: a folder of split folders of class folders (`train/cat/1.jpg`, `test/cat/2.jpg`), or a folder of class
            folders (`cat/1.jpg`), of which every fifth image of a class, drawn once and for all, is the test split.
            Images are looked for in all depths of a class folder, as by `keras_mlp.walking.walk`.
        split: a split folder's name, or "train", "test" or "all" without split folders, or "evaluation"
            for the one that is there to evaluate on.

    Returns:
        The source; classes are the class folders' names, sorted.

    Raises:
        ValueError: no such split, no classes, a class without images, or a class that the train split lacks.
    """
    path = pathlib.Path(path)
    if (path / "train").is_dir():
        available = subfolders(path)
        split = choose_split(split, available, path)
        classes = subfolders(path / "train")
        files, labels = _images(path / split, classes)
    else:
        split = choose_split(split, ["train", "test", "all"], path)
        classes = subfolders(path)
        files, labels = _images(path, classes)
        if split != "all":
            chosen = held_out(labels) == (split == "test")
            files, labels = files[chosen], labels[chosen]
    return Source(
        _dataset(files, labels),
        None,
        classes,
        len(files),
        split,
        size=files.nbytes,
        name=lambda number: str(files[number]),
        counts=lambda: np.bincount(labels, minlength=len(classes)).tolist(),
        read=_read,
        contents=lambda: sizes(files, path),
    )


def has_classes(path) -> bool:
    """Whether there is more than one class folder."""
    path = pathlib.Path(path)
    return len(subfolders(path / "train" if (path / "train").is_dir() else path)) > 1


def _images(path, classes):
    """Return the sorted files (as strings) under each class folder and their labels."""
    if not classes:
        raise ValueError(
            f"There are no class folders in {path}: expected {path}/CLASS/IMAGE, or {path}/train/CLASS/IMAGE with "
            f"further split folders ({', '.join(EVALUATION_SPLITS)}) beside train."
        )
    if unknown := set(subfolders(path)) - set(classes):
        raise ValueError(f"{path} has classes that the train split has not: {', '.join(sorted(unknown))}.")
    real = {}
    for name in classes:
        if (other := real.setdefault(os.path.realpath(path / name), name)) != name:
            raise ValueError(f"{path / other} and {path / name} are one folder by a link: its images have one class.")
    files, labels = [], []
    for label, (name, found) in enumerate(zip(classes, walk(*(path / name for name in classes)), strict=True)):
        found = sorted(str(file) for file in found if file.suffix.lower() in SUFFIXES)
        if not found:
            raise ValueError(f"There are no images ({', '.join(SUFFIXES)}) in {path / name}.")
        files += found
        labels += [label] * len(found)
    return np.array(files), np.array(labels)


def _dataset(files, labels):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((files, labels))


def _read(file):
    import tensorflow as tf

    return tf.io.read_file(file)
