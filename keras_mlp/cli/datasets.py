"""Data sets for the subcommands: `keras_mlp.training.data`, with its messages kept out of the output."""

import contextlib
import sys

DATASET_HELP = (
    'Name of a data set in tensorflow-datasets ("digits" needs no network), or a folder of class folders or TFRecords, '
    "for multi-label models with labels.csv."
)
DATA_DIR_HELP = "Where tensorflow-datasets keeps what it has prepared; its own folder by default."


def load(name: str, split: str, **options):
    """`keras_mlp.training.data.load`."""
    from keras_mlp.training import data

    # tensorflow-datasets tells on the standard output that it prepares a data set.
    with contextlib.redirect_stdout(sys.stderr):
        return data.load(name, split, **options)


def check(name: str, splits: list[str], data_dir, multi_label: bool = False):
    """`keras_mlp.training.data.check.check`."""
    from keras_mlp.training.data.check import check

    with contextlib.redirect_stdout(sys.stderr):
        return check(name, splits, data_dir, multi_label)
