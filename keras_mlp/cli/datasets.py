"""Data sets for the subcommands: `keras_mlp.training.data`, with its messages kept out of the output."""

import contextlib
import sys

from absl import flags as absl_flags

from keras_mlp.cli import console
from keras_mlp.training.data.source import MAX_PIXELS, MOST_PIXELS

DATASET_HELP = (
    'Name of a data set in tensorflow-datasets ("digits" and for videos "moving_digits" need no network), or a folder '
    "of class folders or TFRecords, for multi-label models with labels.csv, for videos also one of lists as train.csv."
)
DATA_DIR_HELP = "Where tensorflow-datasets keeps what it has prepared; its own folder by default."


def define_max_pixels(flags):
    """Define the flag that says how large an image may be."""
    absl_flags.DEFINE_integer(
        "max_pixels",
        MAX_PIXELS,
        "Pixels that an image may have, as its header says; larger ones are not decoded.",
        lower_bound=1,
        upper_bound=MOST_PIXELS,
        flag_values=flags,
    )


def load(name: str, split: str, **options):
    """`keras_mlp.training.data.load`."""
    from keras_mlp.training import data

    # tensorflow-datasets tells on the standard output that it prepares a data set.
    with contextlib.redirect_stdout(sys.stderr):
        return data.load(name, split, **options)


def load_videos(name: str, split: str, **options):
    """`keras_mlp.training.data.videos.load`."""
    from keras_mlp.training.data import videos

    with contextlib.redirect_stdout(sys.stderr):
        return videos.load(name, split, **options)


def evenly(data, count: int):
    """Some examples of data, evenly spaced, for they may be in the order of the classes: NumPy's, one by one.

    Args:
        data: what `load` and its like give.
        count: how many examples, at most.
    """
    return data.dataset.unbatch().shard(max(1, data.examples // count), 0).take(count).as_numpy_iterator()


def load_masks(name: str, split: str, **options):
    """`keras_mlp.tasks.load`."""
    from keras_mlp import tasks

    with contextlib.redirect_stdout(sys.stderr):
        return tasks.load(name, split, **options)


def load_boxes(name: str, split: str, **options):
    """`keras_mlp.tasks.load` for detection."""
    return load_masks(name, split, task="detection", **options)


def _progress(examples, total):
    return console.progress(examples, "Looking", total)


def check(name: str, splits: list[str], data_dir, multi_label: bool = False, max_pixels: int = MAX_PIXELS):
    """`keras_mlp.training.data.check.check`."""
    from keras_mlp.training.data.check import check

    with contextlib.redirect_stdout(sys.stderr):
        return check(name, splits, data_dir, multi_label, max_pixels, _progress)


def check_videos(name: str, splits: list[str], data_dir, max_pixels: int = MAX_PIXELS):
    """`keras_mlp.training.data.videos.check.check`."""
    from keras_mlp.training.data.videos.check import check

    with contextlib.redirect_stdout(sys.stderr):
        return check(name, splits, data_dir, max_pixels, _progress)


def check_boxes(name: str, splits: list[str], data_dir, **options):
    """`keras_mlp.tasks.detection.check.described`."""
    from keras_mlp.tasks.detection import check

    with contextlib.redirect_stdout(sys.stderr):
        return [check.described(name, split, data_dir=data_dir, **options) for split in splits]


def check_masks(name: str, splits: list[str], data_dir, max_pixels: int = MAX_PIXELS):
    """`keras_mlp.tasks.segmentation.check.check`."""
    from keras_mlp.tasks.segmentation import check

    with contextlib.redirect_stdout(sys.stderr):
        return check.check(name, splits, data_dir, max_pixels, _progress)
