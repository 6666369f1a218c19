"""A look at every image of a data set before training with it."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import io
import itertools
import os
import pathlib
import warnings

from keras_mlp.training.data.pipeline import find
from keras_mlp.training.data.source import MAX_PIXELS
from keras_mlp.walking import summary

HUGE = 50_000_000  # pixels above which an image takes more time and memory than it is worth
SHOWN = 5  # names of each kind of finding

# What is told of an image, in the order of the report.
FINDINGS = {
    "unreadable": "no image, of a kind that cannot be read, or larger than is allowed: will be left out",
    "truncated": "an image whose end is missing or damaged: will be left out",
    "mislabelled": "the same image is in another class, too",
    "in both": "the same image is in the data to measure on, too",
    "misnamed": "of another format than its name says: read all the same",
    "CMYK": "colours for print: converted",
    "grey": "grey, or black and white: made colour",
    "animated": "more than one picture: only the first is seen",
    "huge": f"more than {HUGE // 1_000_000} million pixels: slow, shrink it",
}
BROKEN = ("unreadable", "truncated")
# What a name's end says of the format.
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".jpe": "JPEG", ".png": "PNG", ".gif": "GIF"}
FORMATS |= {".bmp": "BMP", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}


@dataclasses.dataclass
class Report:
    """What was found in one split of a data set; as a string it is to be read.

    Args:
        title: the data set and the split.
        examples: how many images there are.
        counts: how many images each class has, by its name.
        found: names of images by what was found of them, one of `FINDINGS`.
        left_out: what files are no images, in a line; empty where all are.
    """

    title: str
    examples: int
    counts: dict[str, int]
    found: dict[str, list[str]]
    left_out: str = ""

    @property
    def broken(self) -> int:
        """How many images cannot be read."""
        return sum(len(self.found[kind]) for kind in BROKEN)

    def __str__(self):
        numbers = list(self.counts.values())
        range_ = f"{min(numbers):,} to {max(numbers):,} each"
        lines = [f"{self.title}: {self.examples:,} images of {len(numbers)} classes, {range_}"]
        if len(numbers) <= 20:
            lines.append("  " + ", ".join(f"{name} {count:,}" for name, count in self.counts.items()))
        elif empty := [name for name, count in self.counts.items() if not count]:
            lines.append(f"  without images: {', '.join(empty)}")
        for kind, meaning in FINDINGS.items():
            if names := self.found[kind]:
                more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
                lines.append(f"  {len(names):,} {kind} ({meaning}): {', '.join(names[:SHOWN])}{more}")
        if self.left_out:
            lines.append(f"  {self.left_out}")
        elif not any(self.found.values()):
            lines.append("  nothing else to tell")
        return "\n".join(lines)


def check(name, splits, data_dir=None, multi_label: bool = False, max_pixels: int = MAX_PIXELS) -> list[Report]:
    """Read and decode every image of some splits.

    Args:
        name: of a data set, as in `keras_mlp.training.data.load`.
        splits: names of splits, those to train on first: an image that is in a later one, too, is reported there.
        data_dir: where tensorflow-datasets keeps what it has prepared.
        multi_label: whether each image may be of several classes.
        max_pixels: how many pixels an image may have.

    Returns:
        A report on each split.
    """
    classes_of, earlier = collections.defaultdict(set), set()  # by an image's digest
    reports = []
    for split in splits:
        source = find(name, split, data_dir, multi_label)
        counts, found, digests = [0] * len(source.classes), collections.defaultdict(list), {}
        for number, label, kinds, digest in _looks(source, max_pixels):
            for one in source.classes_of(label):
                counts[one] += 1
            digests[number] = digest
            classes_of[digest].add(source.classes_of(label))
            for kind in kinds:
                found[kind].append(source.name(number))
        for number, digest in digests.items():
            if len(classes_of[digest]) > 1:
                found["mislabelled"].append(source.name(number))
            if digest in earlier:
                found["in both"].append(source.name(number))
        earlier |= set(digests.values())
        found = {kind: found[kind] for kind in FINDINGS}
        by_class = dict(zip(source.classes, counts, strict=True))
        title = f"{name} ({source.split})"
        reports.append(Report(title, source.examples, by_class, found, summary(source.left_out)))
    return reports


def _looks(source, max_pixels):
    """Number, label, findings and digest of every example."""
    examples = enumerate(source.dataset.as_numpy_iterator())
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's of huge images, which are found here
        while some := list(itertools.islice(examples, 1024)):
            looks = pool.map(lambda example: _look(source, max_pixels, *example), some)
            for (number, (_, label)), look in zip(some, looks, strict=True):
                yield number, label, *look


def _look(source, max_pixels, number, example):
    """Findings and digest of one example."""
    import tensorflow as tf
    from PIL import Image

    from keras_mlp.training.data import decoding

    encoded, _ = example
    try:
        content = tf.convert_to_tensor(source.read(encoded)).numpy()
    except tf.errors.OpError:
        return ["unreadable"], number  # as no other
    kinds, image = [], None
    try:
        image = Image.open(io.BytesIO(content), formats=decoding.FORMATS)
    except Image.DecompressionBombError:
        kinds.append("huge")
    except Exception:  # no image, which is found below
        pass
    try:
        source.decode(content) if source.decode else decoding.decode(content, max_pixels)
    except (tf.errors.OpError, ValueError):
        too_large = "huge" in kinds or (image and image.width * image.height > max_pixels)
        kinds.append("truncated" if decoding.is_image(content[:12]) and not too_large else "unreadable")
    if image:
        form = "JPEG" if image.format == "MPO" else image.format  # that of some cameras
        suffix = pathlib.Path(source.name(number)).suffix.lower()
        told = {
            "misnamed": FORMATS.get(suffix, form) != form,
            "CMYK": image.mode == "CMYK",
            "grey": image.mode in ("1", "L", "LA", "I", "I;16", "F"),
            "animated": image.format != "MPO" and getattr(image, "is_animated", False),
            "huge": image.width * image.height > HUGE,
        }
        kinds += [kind for kind, true in told.items() if true]
    return kinds, hashlib.blake2b(content, digest_size=16).digest()
