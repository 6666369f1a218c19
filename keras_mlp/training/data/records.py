"""TFRecords of `tf.train.Example`s, as a source."""

import collections
import contextlib
import itertools
import json
import os
import pathlib
import re

from keras_mlp.files import atomic_path
from keras_mlp.training.data.source import Source, choose_split, sizes

# Names of the features, as TF-Slim's scripts (ImageNet's, too), tensorflow-datasets and tutorials have them.
IMAGE = ("image/encoded", "image", "image_raw", "jpeg", "png")
LABEL = ("image/class/label", "label", "class", "image/label")
CLASSES = ("classes.txt", "labels.txt")
INDEX = "keras_mlp_index.json"
FRAME = 16
"""Bytes of a record beside its content: the length before, and two checksums."""
MOST_CLASSES = 1_000_000
MOST_BYTES = 2**26
"""Of a text file, which is read at once."""
NOT_THE_SPLIT = re.compile(r"\.tfrecords?|-\d+-of-\d+$")


def holds_records(path) -> bool:
    """Whether a folder is one of TFRecords."""
    return any(map(_is_record, pathlib.Path(path).iterdir()))


def records(path, split: str) -> Source:
    """Find the examples of one split in a folder of TFRecords.

    Args:
        path: a folder of files "train-00000-of-00008", "validation.tfrecord" and the like: what stands before the
            numbers is the split. The features are one of `IMAGE`, an encoded image, and one of `LABEL`, an integer
            from 0 or, if that is the lowest of all, from 1. "classes.txt" or "labels.txt" may name the classes, a name
            a line. Labels are counted once, which reads all of the files; the counts are kept in
            "keras_mlp_index.json" beside them, if that can be written.
        split: one of these splits, or "evaluation" for the one that is there to evaluate on.

    Returns:
        The source.

    Raises:
        ValueError: no such split, other features, a damaged file, or a label for which there is no name.
    """
    import tensorflow as tf

    path = pathlib.Path(path)
    splits = {}
    for file in sorted(filter(_is_record, path.iterdir())):  # one that links give several names counts once
        splits.setdefault(_split(file.name), {}).setdefault(os.path.realpath(file), file)
    splits = {name: list(files.values()) for name, files in splits.items()}
    split = choose_split(split, splits, path)
    state = _state(splits)
    counts = _read_index(path / INDEX, state)
    if counts is None:
        for file in itertools.chain(*splits.values()):
            check_lengths(file)
    image, label = _keys(splits[split])
    features = {image: tf.io.FixedLenFeature((), tf.string), label: tf.io.FixedLenFeature((), tf.int64)}
    if counts is None:
        counts = {name: _count(files, features, label) for name, files in splits.items()}
        _write_index(path / INDEX, state, counts)
    labels = set().union(*counts.values())
    lowest, highest = min(labels), max(labels)
    names = next((path / name for name in CLASSES if (path / name).is_file()), None)
    if names:
        classes = _read_names(names)
        first = int(lowest == 1 and highest == len(classes))
        if lowest < 0 or highest - first >= len(classes):
            raise ValueError(f"{path} has labels {lowest} to {highest}, and {names} has {len(classes)} names.")
    else:
        first = min(lowest, 1)
        if lowest < 0 or highest - first >= MOST_CLASSES:
            raise ValueError(f"{path} has labels {lowest} to {highest}: expected numbers from 0 to {MOST_CLASSES - 1}.")
        classes = [str(number) for number in range(first, highest + 1)]

    def parse(example):
        found = tf.io.parse_single_example(example, features)
        return found[image], found[label] - first

    files = [str(file) for file in splits[split]]
    found = counts[split]
    return Source(
        tf.data.TFRecordDataset(files).map(parse, tf.data.AUTOTUNE),
        None,
        classes,
        sum(found.values()),
        split,
        size=sum(file.stat().st_size for file in splits[split]),
        name=lambda number: f"{path} ({split}), record {number}",
        counts=lambda: [found.get(first + i, 0) for i in range(len(classes))],
        contents=lambda: sizes(files, path),
    )


def _is_record(file):
    return file.is_file() and NOT_THE_SPLIT.search(file.name) and _split(file.name)


def _split(name):
    """The last word of "train-00003-of-01024", "digits-train.tfrecord-00000-of-00001", "val_7.tfrecords" and so on."""
    return next(reversed(re.findall(r"[A-Za-z]+", NOT_THE_SPLIT.sub("", name))), None)


def _read_names(file) -> list[str]:
    if file.stat().st_size > MOST_BYTES:
        raise ValueError(f"{file} has {file.stat().st_size} bytes: expected a name of a class a line.")
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not in UTF-8: expected a name of a class a line.") from error


def check_lengths(file: pathlib.Path) -> int:
    """Number of records in a file, which have to fill it: TensorFlow makes room for the length that a record tells.

    Raises:
        ValueError: they do not.
    """
    size, position, number = file.stat().st_size, 0, 0
    with open(file, "rb") as content:
        while position < size:
            content.seek(position)
            head = content.read(8)
            length = int.from_bytes(head, "little")
            position += length + FRAME
            if len(head) < 8 or position > size:
                raise ValueError(f"{file} holds no TFRecords, or was cut off: record {number} goes beyond its end.")
            number += 1
    return number


def _keys(files):
    """Names of the image's and the label's feature in the first record of some files."""
    import tensorflow as tf

    file = next((file for file in files if file.stat().st_size), None)
    if not file:
        raise ValueError(f"{files[0]} is empty.")
    try:
        (content,) = tf.data.TFRecordDataset(str(file)).take(1).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise ValueError(f"{file} holds no TFRecords, or damaged ones (compressed ones are not read).") from error
    try:
        there = tf.train.Example.FromString(content).features.feature
    except Exception as error:  # protobuf's
        raise ValueError(f"{file} does not hold `tf.train.Example`s.") from error
    image = next((key for key in IMAGE if key in there and there[key].bytes_list.value), None)
    label = next((key for key in LABEL if key in there and there[key].int64_list.value), None)
    if image and label:
        return image, label
    keys = ", ".join(repr(key)[1:-1] for key in sorted(there)[:20])  # in one line, whatever they are
    raise ValueError(
        f"The records in {file} have the features {keys}: expected an "
        f"encoded image as one of {', '.join(IMAGE)} and an integer as one of {', '.join(LABEL)}."
    )


def _state(splits) -> dict[str, list[int]]:
    """What changes when a file does."""
    return {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for files in splits.values() for file in files}


def _read_index(file, state) -> dict[str, dict[int, int]] | None:
    """How often each label is in each split, if that was kept for these files and can be true."""
    try:
        if not file.is_file() or file.stat().st_size > MOST_BYTES:
            return None
        index = json.loads(file.read_text(encoding="utf-8"))
        if index["files"] != state:
            return None
        counts = {
            split: {int(label): count for label, count in found.items()} for split, found in index["counts"].items()
        }
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):  # whatever is in the file
        return None
    sizes = {}
    for name, (size, _) in state.items():
        sizes[_split(name)] = sizes.get(_split(name), 0) + size
    whole = all(type(count) is int and count > 0 for found in counts.values() for count in found.values())
    fits = whole and all(FRAME * sum(found.values()) <= sizes.get(split, 0) for split, found in counts.items())
    return counts if fits and counts.keys() == sizes.keys() and any(counts.values()) else None


def _write_index(file, state, counts):
    with contextlib.suppress(OSError), atomic_path(file) as temporary:  # the folder may not be ours to write to
        temporary.write_text(json.dumps({"files": state, "counts": counts}), encoding="utf-8")


def _count(files, features, label) -> dict[int, int]:
    """How often each label is in some files."""
    import tensorflow as tf

    def read(files):
        records = tf.data.TFRecordDataset([str(file) for file in files], num_parallel_reads=tf.data.AUTOTUNE)
        labels = records.batch(64).map(lambda batch: tf.io.parse_example(batch, features)[label], tf.data.AUTOTUNE)
        return collections.Counter(number for batch in labels.as_numpy_iterator() for number in batch.tolist())

    try:
        return read(files)
    except (tf.errors.OpError, UnicodeDecodeError):  # which do not say where; the latter is of TensorFlow's message
        for file in files:
            try:
                read([file])
            except tf.errors.DataLossError as error:
                raise ValueError(f"{file} is damaged: a record differs from its checksum.") from error
            except (tf.errors.OpError, UnicodeDecodeError) as error:
                raise ValueError(
                    f"{file} has a record without one each of {', '.join(features)}, or one that is no "
                    "`tf.train.Example`."
                ) from error
        raise
