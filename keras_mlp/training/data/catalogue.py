"""Data sets of tensorflow-datasets, by name, as sources."""

import contextlib
import difflib
import re

import numpy as np

from keras_mlp.extras import need
from keras_mlp.training.data.source import Source, choose_split


def names() -> list[str]:
    """Return the names of all data sets that tensorflow-datasets knows, ours among them."""
    return _tfds().list_builders(with_community_datasets=False)


def dataset(name: str, split: str, data_dir=None) -> Source:
    """Find one split of a data set; the first time, download and prepare it.

    Args:
        name: as tensorflow-datasets has it, e.g. "digits", "cifar10", "oxford_flowers102:2.1.1", "cars196".
        split: one of its splits, a part of one ("train[:90%]", "train+test"), or "evaluation" for the one that
            is there to evaluate on.
        data_dir: where prepared data sets are kept; by default tensorflow-datasets' own folder.

    Returns:
        The source.

    Raises:
        ValueError: no such name or split, or the data set is not one of images with one label each.
        ConnectionError: it has to be downloaded and cannot be.
    """
    tfds = _tfds()
    plain = re.split("[/:]", name)[0]
    known = names()
    if plain not in known:
        near = difflib.get_close_matches(plain, known) or ["digits", "cifar10", "imagenet2012"]
        raise ValueError(
            f"There is no data set {name!r}: tensorflow-datasets has none of that name (near it: {', '.join(near)}), "
            "and it is no folder."
        )
    builder = tfds.builder(name, data_dir=data_dir)
    return _source(builder, name, split)


def prepared(path, split: str) -> Source:
    """Find one split of a data set that tensorflow-datasets has prepared in this folder.

    Arguments, result and errors are those of `dataset`.
    """
    return _source(_tfds().builder_from_directory(path), path, split)


def _source(builder, name, split):
    tfds = _tfds()
    features, keys = builder.info.features, builder.info.supervised_keys
    if not (
        keys
        and len(keys) == 2
        and isinstance(features[keys[0]], tfds.features.Image)
        and isinstance(features[keys[1]], tfds.features.ClassLabel)
    ):
        raise ValueError(f"The data set {name!r} cannot be used here: its examples are not images with one label each.")
    image, label = keys
    try:
        with _few_retries():
            builder.download_and_prepare()
    except AssertionError as error:  # what a person has to download is not there
        raise ValueError(f"The data set {name!r} cannot be prepared: {error}") from error
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
        for part in parts:
            choose_split(part, splits, name)
    else:
        split = choose_split(split, splits, name)
        parts = [split]
    examples = builder.as_dataset(
        split=split,
        decoders={image: tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1),
    )
    pairs = examples.map(lambda example: (example[image], example[label]))
    classes = list(features[label].names)

    def counts():
        labels = builder.as_dataset(split=split, decoders={image: tfds.decode.SkipDecoding()}).map(lambda x: x[label])
        return np.bincount(list(labels.as_numpy_iterator()), minlength=len(classes)).tolist()

    return Source(
        pairs,
        features[image].decode_example,
        classes,
        splits[split].num_examples,
        split,
        size=sum(splits[part].num_bytes for part in parts),
        name=lambda number: f"{name} ({split}), image {number}",
        counts=counts,
        sound=getattr(builder, "SOUND", False),
        contents=lambda: [builder.info.full_name, split, *(str(splits[part].shard_lengths) for part in parts)],
    )


@contextlib.contextmanager
def _few_retries():
    """Let tensorflow-datasets give up an address that cannot be reached after seconds, not after three minutes."""
    from tensorflow_datasets.core.download import downloader

    before, downloader.MAX_RETRIES = downloader.MAX_RETRIES, 3
    try:
        yield
    finally:
        downloader.MAX_RETRIES = before


def _tfds():
    tfds = need("tensorflow_datasets", extra="train")
    from keras_mlp.training.data import digits  # noqa: F401  registers it

    return tfds
