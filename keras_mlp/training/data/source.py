"""Where examples come from, before anything is done to them."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable
from typing import Any

EVALUATION_SPLITS = ("validation", "val", "valid", "test")
MAX_PIXELS = 89_478_485
"""Pixels that an image may have unless more is asked for: what Pillow holds to be sound, a quarter of a GB as RGB."""
MOST_PIXELS = 2 * MAX_PIXELS
"""What may be asked for: Pillow refuses more."""


def as_it_is(content):
    return content


def no_reason(number, max_pixels=None):
    return ""


class Supply:
    """Counts the batches that were made of some data, to tell whether whoever takes them has to wait."""

    made = 0

    def counted(self, dataset):
        """The same data set of tf.data, whose batches are counted."""
        import tensorflow as tf

        def count():
            self.made += 1
            return True

        def counted(*batch):
            with tf.control_dependencies([tf.numpy_function(count, [], tf.bool)]):
                return tf.nest.map_structure(tf.identity, batch)

        return dataset.map(counted)


@dataclasses.dataclass(frozen=True)
class Source:
    """Labelled images or videos, still encoded, in a fixed order.

    Args:
        dataset: `tf.data.Dataset` of `(encoded, label)`, the label an integer scalar. Small elements, so that
            shuffling many of them needs little memory. `encoded` may be a tuple of strings, of what belongs together.
        decode: from a file's content to pixels `(height, width, channels)`, integers or floats in 0–255; any size.
            `None` is what decodes all files, `keras_mlp.training.data.decoding.pixels`.
        classes: names of the classes, in the order of the labels.
        examples: how many there are.
        split: name of the split that was chosen.
        size: bytes of all `encoded` together.
        name: from an example's number, in the data set's order, to what a person may call it.
        counts: gives how many examples each class has; that may take a while.
        read: from `encoded` to a file's content.
        sound: whether it is known that all images can be decoded.
        contents: gives what tells whether the examples have changed, such as a line a file with its name and size; that
            may take a while.
        truths: of multi-label data 0 or 1 `(examples, classes)`; an example's label is then the number of its row.
        left_out: of files that are no examples why not, by their paths.
        reason: from an example's number and the pixels that it may have to why it cannot be read, as far as that can be
            told.
        targets: from a label and `encoded`, in tf.data, to what is to be learnt in place of classes: a dictionary, in
            which "masks" and "boxes" follow the image (`keras_mlp.training.data.geometry`). A label is then the
            example's number, or -1 for a single black pixel, which takes the place of an image that cannot be decoded;
            its `encoded` is empty.
        truth: gives what evaluation compares with where `targets` are not enough, such as COCO's annotations.
        clips: of videos what takes the place of `read` and `decode`: from `encoded`, the pixels that a frame may have,
            and a seed of two integers, in tf.data, to the frames that are looked at, uint8 `(clips, frames, height,
            width, 3)`. With a seed these are one clip, drawn; with `None` they are those to evaluate on.
        things: what the examples are called, "images" or "videos".
    """

    dataset: Any
    decode: Callable | None
    classes: list[str]
    examples: int
    split: str
    size: int
    name: Callable[[int], str]
    counts: Callable[[], list[int]]
    read: Callable = as_it_is
    sound: bool = False
    contents: Callable[[], Iterable[str]] = tuple
    truths: Any = None
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    reason: Callable[[int, int], str] = no_reason
    targets: Callable | None = None
    truth: Callable[[], Any] | None = None
    clips: Callable | None = None
    things: str = "images"

    def identity(self) -> dict:
        """What tells these examples from others: names of the classes, number of examples, a digest of `contents`."""
        digest = hashlib.sha256()
        for line in self.contents():
            digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
        return {"classes": list(self.classes), "examples": self.examples, "digest": digest.hexdigest()}

    def target(self, label, encoded):
        """What is to be learnt of an example, in tf.data.

        Without `targets` these are classes, float32 `(classes,)`: one-hot, or a row of `truths`.
        """
        import tensorflow as tf

        if self.targets:
            return self.targets(label, encoded)
        if self.truths is None:
            return tf.one_hot(label, len(self.classes))
        row = tf.gather(tf.constant(self.truths, tf.float32), tf.maximum(label, 0))
        return tf.where(label >= 0, row, 0.0)  # as `one_hot`, for images that cannot be decoded

    def classes_of(self, label: int) -> tuple[int, ...]:
        """The classes that a label stands for."""
        if self.truths is None:
            return (int(label),)
        return tuple(i for i, true in enumerate(self.truths[label]) if true)

    def pixels(self, encoded, max_pixels: int, seed=None):
        """Read and decode an example, in tf.data.

        Args:
            encoded: the example.
            max_pixels: how many pixels an image or a frame may have.
            seed: in training two integers, by which of a video the clip is drawn.
        """
        from keras_mlp.training.data import decoding

        if self.clips:
            found = self.clips(encoded, max_pixels, seed)
            return found if seed is None else found[0]
        content = self.read(encoded)
        return self.decode(content) if self.decode else decoding.pixels(content, max_pixels)


def sizes(files, root) -> Iterable[str]:
    """A line for each of some files, with its path inside a folder and its size in bytes."""
    for file in map(os.fspath, files):
        yield f"{os.path.relpath(file, root)}\t{os.path.getsize(file)}"


def choose_split(split: str, available, where) -> str:
    """Check the name of a split; "evaluation" stands for the first of `EVALUATION_SPLITS` that there is.

    Raises:
        ValueError: there is none such; the message lists those that there are.
    """
    if split in available:
        return split
    chosen = next((name for name in EVALUATION_SPLITS if name in available), None)
    if split == "evaluation" and chosen:
        return chosen
    raise ValueError(f"{where} has no split {split!r}. It has: {', '.join(sorted(available))}.")
