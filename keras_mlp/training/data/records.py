"""TFRecords of `tf.train.Example`s, as a source."""

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
        ValueError: no such split, other features, or a label for which there is no name.
    """
    import tensorflow as tf

    path = pathlib.Path(path)
    splits = {}
    for file in sorted(filter(_is_record, path.iterdir())):
        splits.setdefault(_split(file), {}).setdefault(os.path.realpath(file), file)  # a file by two names counts once
    splits = {name: list(files.values()) for name, files in splits.items()}
    split = choose_split(split, splits, path)
    image, label = _keys(splits[split][0])
    features = {image: tf.io.FixedLenFeature((), tf.string), label: tf.io.FixedLenFeature((), tf.int64)}
    counts = _counts(path, splits, features, label)
    lowest = min(min(found) for found in counts.values())
    highest = max(max(found) for found in counts.values())
    names = next((path / name for name in CLASSES if (path / name).is_file()), None)
    if names:
        classes = names.read_text(encoding="utf-8").splitlines()
        first = int(lowest == 1 and highest == len(classes))
    else:
        first = min(lowest, 1)
        classes = [str(number) for number in range(first, highest + 1)]
    if lowest < 0 or highest - first >= len(classes):
        raise ValueError(f"{path} has labels {lowest} to {highest}, and {names} has {len(classes)} names.")

    def parse(example):
        found = tf.io.parse_single_example(example, features)
        return found[image], found[label] - first

    files = [str(file) for file in splits[split]]
    found = counts[split]
    return Source(
        tf.data.TFRecordDataset(files).map(parse, tf.data.AUTOTUNE),
        lambda content: tf.io.decode_image(content, channels=3, expand_animations=False),
        classes,
        sum(found.values()),
        split,
        size=sum(file.stat().st_size for file in splits[split]),
        name=lambda number: f"{path} ({split}), record {number}",
        counts=lambda: [found.get(first + i, 0) for i in range(len(classes))],
        contents=lambda: sizes(files, path),
    )


def _is_record(file):
    return file.is_file() and NOT_THE_SPLIT.search(file.name) and _split(file)


def _split(file):
    """The last word of "train-00003-of-01024", "digits-train.tfrecord-00000-of-00001", "val_7.tfrecords" and so on."""
    return next(reversed(re.findall(r"[A-Za-z]+", NOT_THE_SPLIT.sub("", file.name))), None)


def _keys(file):
    """Names of the image's and the label's feature in a file's first record."""
    import tensorflow as tf

    for content in tf.data.TFRecordDataset(str(file)).take(1).as_numpy_iterator():
        try:
            there = tf.train.Example.FromString(content).features.feature
        except Exception as error:  # protobuf's
            raise ValueError(f"{file} does not hold `tf.train.Example`s.") from error
        image = next((key for key in IMAGE if key in there and there[key].bytes_list.value), None)
        label = next((key for key in LABEL if key in there and there[key].int64_list.value), None)
        if image and label:
            return image, label
        raise ValueError(
            f"The records in {file} have the features {', '.join(sorted(there))}: expected an encoded image as one of "
            f"{', '.join(IMAGE)} and an integer as one of {', '.join(LABEL)}."
        )
    raise ValueError(f"{file} is empty.")


def _counts(path, splits, features, label) -> dict[str, dict[int, int]]:
    """How often each label is in each split."""
    state = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for files in splits.values() for file in files}
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        index = {}
    if index.get("files") != state:
        index = {"files": state, "counts": {split: _count(files, features, label) for split, files in splits.items()}}
        try:
            with atomic_path(path / INDEX) as temporary:
                temporary.write_text(json.dumps(index), encoding="utf-8")
        except OSError:  # a folder that is not ours to write to
            pass
    return {split: {int(number): count for number, count in found.items()} for split, found in index["counts"].items()}


def _count(files, features, label) -> dict[str, int]:
    import tensorflow as tf

    wanted = {label: features[label]}
    records = tf.data.TFRecordDataset([str(file) for file in files], num_parallel_reads=tf.data.AUTOTUNE)
    labels = records.batch(1024).map(lambda batch: tf.io.parse_example(batch, wanted)[label], tf.data.AUTOTUNE)
    counts = {}
    for batch in labels.as_numpy_iterator():
        for number in batch.tolist():
            counts[str(number)] = counts.get(str(number), 0) + 1
    return counts
