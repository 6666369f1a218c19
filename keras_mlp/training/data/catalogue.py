"""Data sets of tensorflow-datasets, by name, as sources."""

import contextlib
import dataclasses
import difflib
import pathlib
import re
from typing import Any

import numpy as np

from keras_mlp.extras import need
from keras_mlp.training.data.records import FRAME, check_lengths
from keras_mlp.training.data.source import Source, choose_split

PREFIX = "tfds:"
"""Before a name, for a data set of tensorflow-datasets where folders have names, too."""
SHOWN = 100  # configurations and versions of a data set


def names() -> list[str]:
    """Return the names of all data sets that tensorflow-datasets knows, ours among them."""
    return _tfds().list_builders(with_community_datasets=False)


def dataset(name: str, split: str, data_dir=None, videos: bool = False) -> Source:
    """Find one split of a data set; the first time, download and prepare it.

    Args:
        name: as tensorflow-datasets has it, e.g. "digits", "cifar10", "oxford_flowers102:2.1.1", "cars196".
        split: one of its splits, a part of one ("train[:90%]", "train+test"), or "evaluation" for the one that
            is there to evaluate on.
        data_dir: where prepared data sets are kept; by default tensorflow-datasets' own folder.
        videos: whether the examples are to be videos, and not images. An example is then its frames' files, as
            `tf.io.serialize_tensor` makes one string of them.

    Returns:
        The source.

    Raises:
        ValueError: no such name, configuration, version or split, damaged files, or the data set is not one of images,
            or of videos, with one label each.
        ConnectionError: it has to be downloaded and cannot be.
    """
    return _source(builder(name, data_dir), name, split, videos)


def builder(name: str, data_dir=None):
    """tensorflow-datasets' builder of a data set; arguments and errors are those of `dataset`."""
    tfds = _tfds()
    plain = re.split("[/:]", name)[0]
    known = names()
    if plain not in known:
        near = difflib.get_close_matches(plain, known) or ["digits", "cifar10", "imagenet2012"]
        raise ValueError(
            f"There is no data set {name!r}: tensorflow-datasets has none of that name (near it: {', '.join(near)}), "
            "and it is no folder."
        )
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (OSError, ImportError):  # of the folder, or of what a data set needs
        raise
    except Exception as error:  # AssertionError, ValueError, TypeError, protobuf's
        there = _all_of(plain)
        if name in there | {found.partition(":")[0] for found in there} | {plain}:
            raise ValueError(f"The data set {name!r} cannot be loaded: {_line(error)}") from error
        alike = [found for found in there if found.partition(":")[0] == name.partition(":")[0]] or there
        shown = ", ".join(sorted(alike)[:SHOWN]) + (f" and {len(alike) - SHOWN} more" if len(alike) > SHOWN else "")
        raise ValueError(f"There is no data set {name!r}. Of {plain} there are: {shown or 'none'}.") from error


def _all_of(plain) -> set[str]:
    """What there is of a data set, as `NAME/CONFIGURATION:VERSION`, or `NAME:VERSION` if it has no configurations."""
    from tensorflow_datasets.core.load import single_full_names

    return {":".join(found.rsplit("/", 1)) for found in single_full_names(plain, current_version_only=False)}


def _line(error) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def prepared(path, split: str, videos: bool = False) -> Source:
    """Find one split of a data set that tensorflow-datasets has prepared in this folder.

    Arguments, result and errors are those of `dataset`.
    """
    return _source(prepared_builder(path), str(path), split, videos)


def prepared_builder(path):
    """tensorflow-datasets' builder of the data set that it has prepared in this folder."""
    tfds = _tfds()
    try:
        return tfds.builder_from_directory(path)
    except OSError:
        raise
    except Exception as error:  # whatever its files make of tensorflow-datasets
        raise ValueError(f"What tensorflow-datasets prepared in {path} cannot be read: {_line(error)}") from error


def _source(builder, name, split, videos):
    import tensorflow as tf

    tfds = _tfds()
    kind, things = (tfds.features.Video, "videos") if videos else (tfds.features.Image, "images")
    features, keys = builder.info.features, builder.info.supervised_keys
    if not (
        keys
        and len(keys) == 2
        and all(isinstance(key, str) and key in features for key in keys)
        and isinstance(features[keys[0]], kind)
        and isinstance(features[keys[1]], tfds.features.ClassLabel)
    ):
        raise ValueError(
            f"The data set {name!r} cannot be used here: its examples are not {things} with one label each."
        )
    image, label = keys
    # Files of colour pictures are decoded as all files are; others, as digits of one channel, as the data set says.
    usual = features[image].shape[-1] == 3 and features[image].dtype == np.uint8
    found = part(builder, name, split, things[:-1])
    encoded = {image: tfds.decode.SkipDecoding()}
    together = tf.io.serialize_tensor if videos else tf.identity
    pairs = found.examples(encoded).map(lambda example: (together(example[image]), example[label]))
    classes = list(features[label].names)

    def counts():
        labels = found.examples(encoded, cautious=False).map(lambda example: example[label])
        return np.bincount(list(labels.as_numpy_iterator()), minlength=len(classes)).tolist()

    return Source(
        pairs,
        None if usual or videos else features[image].decode_example,
        classes,
        found.number,
        found.split,
        size=found.size,
        name=found.called,
        counts=counts,
        sound=getattr(builder, "SOUND", False),
        contents=found.contents,
    )


@dataclasses.dataclass(frozen=True)
class Part:
    """One split of a data set that is prepared, a part of one, or several.

    Args:
        builder: tensorflow-datasets' builder.
        name: of the data set, as a person gave it.
        split: of the part.
        splits: names of the splits that it is of.
        number: how many examples there are.
        thing: what one is called.
    """

    builder: Any
    name: str
    split: str
    splits: list[str]
    number: int
    thing: str = "image"

    @property
    def size(self) -> int:
        """Bytes of the files of its splits."""
        return sum(self.builder.info.splits[split].num_bytes for split in self.splits)

    def called(self, number: int) -> str:
        """What a person may call an example."""
        return f"{self.name} ({self.split}), {self.thing} {number}"

    def contents(self) -> list[str]:
        """What tells whether the examples have changed."""
        lengths = (str(self.builder.info.splits[split].shard_lengths) for split in self.splits)
        return [self.builder.info.full_name, self.split, *lengths]

    def examples(self, decoders: dict, cautious: bool = True):
        """The examples in a fixed order, dictionaries, in tf.data.

        Args:
            decoders: of `as_dataset`.
            cautious: whether one file is read at a time and nothing is kept, so that the order is fixed.
        """
        config = _tfds().ReadConfig(try_autocache=False, interleave_cycle_length=1) if cautious else None
        try:
            return self.builder.as_dataset(split=self.split, decoders=decoders, read_config=config)
        except NotImplementedError as error:  # of other files than TFRecords
            raise ValueError(f"The data set {self.name!r} cannot be used here: {_line(error)}") from error


def part(builder, name: str, split: str, thing: str = "image") -> Part:
    """Prepare a data set and choose a part of it; arguments and errors are those of `dataset`."""
    try:
        with _few_retries():
            builder.download_and_prepare()
    except AssertionError as error:  # what a person has to download is not there
        raise ValueError(f"The data set {name!r} cannot be prepared: {_line(error)}") from error
    except PermissionError as error:
        raise PermissionError(
            f"The data set {name!r} could not be prepared: {builder.data_dir} cannot be written ({error}). Name "
            "another folder with --data_dir."
        ) from error
    except OSError as error:
        raise ConnectionError(
            f"The data set {name!r} could not be prepared in {builder.data_dir} ({error}). On a machine without "
            "internet, copy that folder from one where it is prepared, or take --dataset=digits."
        ) from error
    splits = builder.info.splits
    parts = re.findall(r"[A-Za-z]\w*", re.sub(r"\[[^\]]*\]", "", split))  # "train[:50%]+test" → train, test
    if parts != [split]:
        for one in parts:
            choose_split(one, splits, name)
    else:
        split = choose_split(split, splits, name)
        parts = [split]
    try:
        number = splits[split].num_examples
        if number < 1:
            raise ValueError("there is no example in it")
    except ValueError as error:
        raise ValueError(f"{split!r} is no split of {name}, nor a part of one: {_line(error)}") from error
    if builder.info.file_format.value == "tfrecord":
        for one in parts:
            _check_files(splits[one], name)
    return Part(builder, name, split, parts, number, thing)


@contextlib.contextmanager
def _few_retries():
    """Let tensorflow-datasets give up an address that cannot be reached after seconds, not after three minutes."""
    from tensorflow_datasets.core.download import downloader

    before, downloader.MAX_RETRIES = downloader.MAX_RETRIES, 3
    try:
        yield
    finally:
        downloader.MAX_RETRIES = before


def _check_files(split, name):
    """Refuse a split whose files are missing or cut off."""
    files = [pathlib.Path(file) for file in split.filepaths]
    for file in files:
        if not file.is_file():
            raise ValueError(f"The data set {name!r} lacks a file: {file}.")
    size = sum(file.stat().st_size for file in files)
    if size != split.num_bytes + FRAME * split.num_examples:  # an older release may have counted otherwise
        records = sum(map(check_lengths, files))
        if records != split.num_examples:
            raise ValueError(
                f"The data set {name!r} should have {split.num_examples} records in {files[0]} "
                f"{f'and {len(files) - 1} more ' if len(files) > 1 else ''}and has {records}."
            )


def _tfds():
    tfds = need("tensorflow_datasets", extra="train")
    from keras_mlp.training.data import digits  # noqa: F401  registers it

    return tfds
