"""Images in class folders, as a source.

Not by `keras.utils.image_dataset_from_directory`, which resizes to one size before any augmentation sees the image,
nor by `tfds.ImageFolder`, which wants split folders and knows no part of a split.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import numpy as np

from keras_mlp.cards import natural_order
from keras_mlp.training.data import split_names
from keras_mlp.training.data.source import EVALUATION_SPLITS, Source, choose_split, sizes
from keras_mlp.training.data.splits import held_out
from keras_mlp.walking import is_hidden, readable, subfolders, walk

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Ends of names that are believed: what else a file is called, its beginning tells whether it is an image."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is looked for in class folders.

    Args:
        name: of one of them, "image" or "video".
        suffixes: ends of names that are believed.
        is_one: tells of the path of a file, or of a folder that is taken as a whole, whether it is one.
        why_not: from such a path and the pixels that it may have to why it cannot be read; empty if it can.
        whole: tells of a folder in a class folder whether it is one, in the place of the files in it.
    """

    name: str
    suffixes: tuple[str, ...]
    is_one: Callable
    why_not: Callable
    whole: Callable = lambda folder: False

    @property
    def expected(self) -> str:
        """What a class folder holds, as messages call it."""
        return f"CLASS/{self.name.upper()}"


def is_image(file) -> bool:
    """Whether a file is to be read as an image, which may turn out to be broken."""
    if os.path.splitext(file)[1].lower() in SUFFIXES:
        return True
    from keras_mlp.training.data import decoding

    try:
        with open(file, "rb") as opened:
            return decoding.is_image(opened.read(12))
    except OSError:
        return True  # reading it will tell


def why_not(file, max_pixels) -> str:
    """Why a file cannot be read; empty if it can."""
    from keras_mlp.training.data import decoding

    try:
        with open(file, "rb") as opened:
            decoding.decode(opened.read(), max_pixels)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


IMAGES = Kind("image", SUFFIXES, is_image, why_not)


def folder(path, split: str, kind: Kind = IMAGES) -> Source:
    """Find the images of one split of a folder.

    Args:
        path: a folder of split folders of class folders (`train/cat/1.jpg`, `test/cat/2.jpg`), or a folder of class
            folders (`cat/1.jpg`), of which every fifth image of a class, drawn once and for all, is the test split.
            Split folders may have other usual names ("Training", "seg_test"). Images are looked for in all depths of a
            class folder, as by `keras_mlp.walking.walk`, whatever their names end in.
        split: a split folder's name or another one for the same ("train" for "Training"), or "train", "test" or "all"
            without split folders, or "evaluation" for the one that is there to evaluate on.
        kind: what is looked for.

    Returns:
        The source; classes are the class folders' names, in the order in which a person counts: 2 before 10.

    Raises:
        ValueError: no such split, no classes, a class without images, a class that the train split lacks, or folders
            of which it cannot be told whether they are classes or splits.
    """
    path = pathlib.Path(path)
    available, parts = _split_folders(path, kind)
    if available:
        train = next((name for name in available if name == "train"), None) or _only("train", parts, path)
        split = _chosen(split, available, parts, path)
        place = _class_folders_in(path / split)
        classes = subfolders(_class_folders_in(path / train) if train else place)
    else:
        split = choose_split(split, ["train", "test", "all"], path)
        place, classes = path, subfolders(path)
    files, labels, left_out = _examples(place, classes, kind)
    if not available and split != "all":
        chosen = held_out(labels) == (split == "test")
        files, labels = files[chosen], labels[chosen]
    # Order of files and choice of test images are by the names as strings, for ever; that of classes is not.
    counted = sorted(classes, key=lambda name: (natural_order(name), name))
    labels = np.array([counted.index(name) for name in classes])[labels]
    return Source(
        dataset_of(files, labels),
        None,
        counted,
        len(files),
        split,
        size=files.nbytes,
        name=lambda number: readable(files[number]),
        counts=lambda: np.bincount(labels, minlength=len(counted)).tolist(),
        read=read_file,
        contents=lambda: sizes(files, path),
        left_out=left_out,
        reason=lambda number, max_pixels: kind.why_not(files[number], max_pixels),
    )


def has_classes(path) -> bool:
    """Whether there is more than one class folder."""
    path = pathlib.Path(path)
    names = subfolders(path)
    train = [name for name, part in split_names.parts(names).items() if part == "train"]
    return len(subfolders(_class_folders_in(path / train[0])) if train else names) > 1


def _split_folders(path, kind) -> tuple[list[str], dict[str, str]]:
    """Names of the split folders in a folder, and which part each stands for; none where there are class folders."""
    names = subfolders(path)
    parts = split_names.parts(names)
    if not parts:
        _refuse_splits_in_classes(path, names, kind)
        return [], {}
    holds_classes = any(subfolders(path / name) for name, part in parts.items() if part == "train")
    if holds_classes or len(parts) == len(names):
        return names, parts
    raise ValueError(
        f"Are the folders in {path} classes or splits? Found: {_listed(names)}; {_listed(parts)} would be a split "
        f"and the others classes. Expected {path}/{kind.expected}, or {path}/train/{kind.expected} with further split "
        "folders beside train; rename or move what is neither."
    )


def _refuse_splits_in_classes(path, names, kind):
    """Refuse what would make one class of a whole data set, or mix what is to be kept apart."""
    inside = {name: subfolders(path / name) for name in names}
    if len(names) == 1 and len(inside[names[0]]) > 1 and not any(map(kind.is_one, _beside(path / names[0], {}))):
        raise ValueError(
            f"{path} has one class only, {names[0]}, in which there are folders: {_listed(inside[names[0]])}. If these "
            f"are the classes or splits, take {path / names[0]}."
        )
    for name, within in inside.items():
        parts = split_names.parts(within)
        if len(set(parts.values())) > 1:
            raise ValueError(
                f"{path / name} would be a class, and there are splits in it: {_listed(parts)}. Expected "
                f"{path}/train/{kind.expected}, the splits above the classes."
            )


def _class_folders_in(folder):
    """Where the class folders of a split are: in `seg_train/seg_train/CLASS` one further down."""
    names = subfolders(folder)
    if len(names) == 1 and (names[0] == folder.name or split_names.part(names[0]) == split_names.part(folder.name)):
        return _class_folders_in(folder / names[0]) if subfolders(folder / names[0]) else folder
    return folder


def _chosen(split, available, parts, path):
    """The split folder that is meant."""
    if split in available:
        return split
    wanted = [split_names.part(split)] if split != "evaluation" else ["validation", "test"]
    if split == "evaluation" and any(name in available for name in EVALUATION_SPLITS):
        return choose_split(split, available, path)
    found = (_only(part, parts, path) for part in wanted if part)
    return next(filter(None, found), None) or choose_split(split, available, path)


def _only(part, parts, path):
    """The split folder that stands for a part, `None` if there is none."""
    found = [name for name, one in parts.items() if one == part]
    if len(found) > 1:
        raise ValueError(f"{path} has several folders for the {part} split: {_listed(found)}. Name or leave one.")
    return found[0] if found else None


def _listed(names):
    names = list(map(readable, names))
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _examples(path, classes, kind):
    """Return the sorted files (as strings) under each class folder, their labels, and what was left out."""
    if not classes:
        raise ValueError(
            f"There are no class folders in {path}: expected {path}/{kind.expected}, or {path}/train/{kind.expected} "
            f"with further split folders ({', '.join(EVALUATION_SPLITS)}) beside train."
        )
    if unknown := set(subfolders(path)) - set(classes):
        raise ValueError(f"{path} has classes that the train split has not: {_listed(sorted(unknown))}.")
    real, left_out = {}, {}
    for name in classes:
        if (other := real.setdefault(os.path.realpath(path / name), name)) != name:
            one = f"{path / other} and {path / name} are one folder by a link"
            raise ValueError(f"{one}: its {kind.name}s have one class.")
    left_out |= dict.fromkeys(_beside(path, left_out), "in no class folder")
    files, labels = [], []
    everything = walk(*(path / name for name in classes), whole=kind.whole, left_out=left_out)
    for label, (name, there) in enumerate(zip(classes, everything, strict=True)):
        reasons = {str(file): _why_none(file, kind) for file in there}
        left_out |= {file: reason for file, reason in reasons.items() if reason}
        found = sorted(file for file, reason in reasons.items() if not reason)
        if not found:
            ends = f"{', '.join(kind.suffixes)}{', or by content' if kind is IMAGES else ''}"
            raise ValueError(f"There are no {kind.name}s ({ends}) in {readable(path / name)}.")
        if found == [str(path / name)]:
            raise ValueError(
                f"{readable(path / name)} holds pictures. Those of a {kind.name} are in a folder of its own: expected "
                f"{path}/{kind.expected}/FRAME."
            )
        files += found
        labels += [label] * len(found)
    return np.array(files), np.array(labels), left_out


def _beside(path, left_out) -> list[str]:
    """The files in a folder itself; `left_out` gets the reason for those that are hidden or none."""
    files = []
    for entry in os.scandir(path):
        if is_hidden(entry.name):
            left_out[entry.path] = "hidden"
        elif os.path.isfile(entry.path):
            files.append(entry.path)
        elif not os.path.isdir(entry.path):
            left_out[entry.path] = "no regular file"
    return files


def _why_none(file, kind) -> str:
    """Why a file is no example of that kind; empty for one, which may turn out to be broken."""
    if not os.path.exists(file):
        return "a link to nothing"
    article = "an" if kind.name[0] in "aeiou" else "a"
    return "" if kind.is_one(file) else f"not {article} {kind.name}"


def dataset_of(files, labels):
    import tensorflow as tf

    names = tf.constant([os.fsencode(file) for file in files], tf.string)  # not all are UTF-8
    return tf.data.Dataset.from_tensor_slices((names, labels))


def read_file(file):
    import tensorflow as tf

    return tf.io.read_file(file)
