"""A look at every video of a data set before training with it."""

import concurrent.futures
import functools
import itertools
import os

from keras_mlp.training.data import videos
from keras_mlp.training.data.check import Report
from keras_mlp.training.data.source import MAX_PIXELS
from keras_mlp.walking import summary

FRAMES = 8  # that are decoded of each, from all over it
AT_A_TIME = 64  # those of tensorflow-datasets are in memory meanwhile, with all their frames
FINDINGS = {"unreadable": "no video, a broken one, or one of a single frame: will be left out"}


def check(
    name, splits, data_dir=None, max_pixels: int = MAX_PIXELS, progress=lambda examples, total: examples
) -> list[Report]:
    """Open every video of some splits, and decode some frames of it.

    Args:
        name: of a data set, as in `keras_mlp.training.data.videos.load`.
        splits: names of splits.
        data_dir: where tensorflow-datasets keeps what it has prepared.
        max_pixels: how many pixels a frame may have.
        progress: function that wraps the iterator over a split's videos, and gets their number, to show how far the
            work is.

    Returns:
        A report on each split.
    """
    reports = []
    for split in splits:
        source = videos.find(name, split, FRAMES, videos.DEFAULT_PREPROCESSING, data_dir)
        readable = progress(_readable(source, max_pixels), source.examples)
        broken = [source.name(number) for number, one in enumerate(readable) if not one]
        counts = dict(zip(source.classes, source.counts(), strict=True))
        title, found = f"{name} ({source.split})", {"unreadable": broken}
        left_out = summary(source.left_out)
        reports.append(Report(title, source.examples, counts, found, left_out, source.things, FINDINGS))
    return reports


def _readable(source, max_pixels):
    """Whether each video of a source can be read, in order."""
    examples = source.dataset.as_numpy_iterator()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        while some := list(itertools.islice(examples, AT_A_TIME)):
            yield from pool.map(functools.partial(_is_readable, source, max_pixels), some)


def _is_readable(source, max_pixels, example) -> bool:
    import tensorflow as tf

    encoded, _ = example
    try:
        source.clips(encoded, max_pixels, None)
    except (tf.errors.OpError, ValueError):
        return False
    return True
