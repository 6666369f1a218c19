"""Data sets of tensorflow-datasets that have masks, as sources."""

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from keras_mlp.extras import need
from keras_mlp.tasks.segmentation import masks
from keras_mlp.training.data import catalogue
from keras_mlp.training.data.source import Source


@dataclasses.dataclass(frozen=True)
class _Features:
    """Where images and masks are in the examples of a data set.

    Args:
        image, mask: names of the features.
        numbers: what the numbers in the masks mean.
        channel: of the mask that holds them, where it has several.
    """

    image: str
    mask: str
    numbers: Callable[[], masks.Numbers]
    channel: int | None = None


_KNOWN = {
    "cityscapes": _Features("image_left", "segmentation_label", masks.cityscapes),
    "oxford_iiit_pet": _Features("image", "segmentation_mask", masks.pets),
    # It has ADE20K's instances: red is the class, of 100, and green tells the things of a class apart.
    "scene_parse150": _Features("image", "annotation", masks.ade20k_things, channel=0),
}


def dataset(name: str, split: str, data_dir=None) -> Source:
    """Find one split of a data set with masks; the first time, download and prepare it.

    Args:
        name: as tensorflow-datasets has it: "cityscapes", "oxford_iiit_pet", "scene_parse150", with "NAME:VERSION" and
            "NAME/CONFIGURATION" as usual; or one with a feature `LabeledImage`. Or a folder in which
            tensorflow-datasets has prepared one.
        split: one of its splits, a part of one ("train[:90%]", "train+test"), or "evaluation" for the one that
            is there to evaluate on.
        data_dir: where prepared data sets are kept; by default tensorflow-datasets' own folder.

    Returns:
        The source. Its masks have numbers of classes, and 255 for void.

    Raises:
        ValueError: no such name, configuration, version or split, damaged files, or the data set has no masks that are
            known here.
        ConnectionError: it has to be downloaded and cannot be.
    """
    tfds = need("tensorflow_datasets", extra="train")

    builder = catalogue.prepared_builder(name) if os.path.isdir(name) else catalogue.builder(name, data_dir)
    features = _features(builder, name)
    numbers = features.numbers()
    part = catalogue.part(builder, name, split)
    encoded = dict.fromkeys((features.image, features.mask), tfds.decode.SkipDecoding())

    def examples():
        """Content of image and mask, and the number of each example."""
        found = part.examples(encoded).map(lambda example: (example[features.image], example[features.mask]))
        return found.enumerate().map(lambda number, contents: (contents, number))

    def label(content, number):
        return masks.read_content(content, numbers, f"the mask of {part.called(int(number))}", features.channel)

    def targets(number, encoded):
        import tensorflow as tf

        mask = tf.cond(
            number >= 0,
            lambda: tf.numpy_function(label, [encoded[1], number], tf.uint8)[..., tf.newaxis],
            lambda: tf.zeros((1, 1, 1), tf.uint8),
        )
        return {"masks": tf.ensure_shape(mask, (None, None, 1))}

    def counts():
        found = np.zeros(len(numbers.classes), int)
        for (_, content), number in examples().as_numpy_iterator():
            present = np.unique(label(content, number))
            found[present[present < len(found)]] += 1
        return found.tolist()

    return Source(
        examples(),
        None,
        list(numbers.classes),
        part.number,
        part.split,
        size=part.size,
        name=part.called,
        counts=counts,
        read=lambda encoded: encoded[0],
        contents=part.contents,
        targets=targets,
    )


def _features(builder, name) -> _Features:
    tfds = need("tensorflow_datasets", extra="train")

    features = builder.info.features
    known = _KNOWN.get(builder.name)
    if known and {known.image, known.mask} <= set(features):
        return known
    labelled = [key for key in features if isinstance(features[key], tfds.features.LabeledImage)]
    plain = [key for key in features if type(features[key]) is tfds.features.Image]
    if len(labelled) == len(plain) == 1:
        classes = features[labelled[0]].names
        return _Features(plain[0], labelled[0], lambda: masks.plain(classes))
    raise ValueError(
        f"The data set {name!r} cannot be used here: it has no masks of which it is known what their numbers mean. "
        f"Known are {', '.join(sorted(_KNOWN))}, and data sets with one Image and one LabeledImage."
    )
