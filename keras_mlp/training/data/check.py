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
        things: what the examples are called.
        meanings: what each finding means.
    """

    title: str
    examples: int
    counts: dict[str, int]
    found: dict[str, list[str]]
    left_out: str = ""
    things: str = "images"
    meanings: dict[str, str] = dataclasses.field(default_factory=lambda: FINDINGS)

    @property
    def broken(self) -> int:
        """How many images cannot be read."""
        return sum(len(self.found.get(kind, ())) for kind in BROKEN)

    def __str__(self):
        numbers = list(self.counts.values())
        range_ = f"{min(numbers):,} to {max(numbers):,} each"
        lines = [f"{self.title}: {self.examples:,} {self.things} of {len(numbers)} classes, {range_}"]
        if len(numbers) <= 20:
            lines.append("  " + ", ".join(f"{name} {count:,}" for name, count in self.counts.items()))
        elif empty := [name for name, count in self.counts.items() if not count]:
            lines.append(f"  without {self.things}: {', '.join(empty)}")
        return "\n".join(lines + told(self.found, self.meanings, self.left_out))


def told(found: dict[str, list[str]], meanings: dict[str, str], left_out: str = "") -> list[str]:
    """Lines on what was found.

    Args:
        found: names by what was found of them.
        meanings: what each finding means, in the order in which they are told.
        left_out: what files are no images, in a line.
    """
    lines = []
    for kind, meaning in meanings.items():
        if names := found.get(kind):
            more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
            lines.append(f"  {len(names):,} {kind} ({meaning}): {', '.join(names[:SHOWN])}{more}")
    if left_out:
        lines.append(f"  {left_out}")
    return lines or ["  nothing else to tell"]


def check(
    name,
    splits,
    data_dir=None,
    multi_label: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress=lambda examples, total: examples,
) -> list[Report]:
    """Read and decode every image of some splits.

    Args:
        name: of a data set, as in `keras_mlp.training.data.load`.
        splits: names of splits, those to train on first: an image that is in a later one, too, is reported there.
        data_dir: where tensorflow-datasets keeps what it has prepared.
        multi_label: whether each image may be of several classes.
        max_pixels: how many pixels an image may have.
        progress: function that wraps the iterator over the images of a split, and gets their number, to show how far
            the work is.

    Returns:
        A report on each split.
    """
    classes_of, earlier = collections.defaultdict(set), set()  # by an image's digest
    reports = []
    for split in splits:
        source = find(name, split, data_dir, multi_label)
        counts, found, digests = [0] * len(source.classes), collections.defaultdict(list), {}
        for number, (_, label), look in progress(looks(source, max_pixels), source.examples):
            for one in source.classes_of(label):
                counts[one] += 1
            digests[number] = look.digest
            classes_of[look.digest].add(source.classes_of(label))
            for kind in look.kinds:
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


@dataclasses.dataclass(frozen=True)
class Look:
    """What was seen of an image.

    Args:
        kinds: some of `FINDINGS`.
        digest: the same for the same image only.
        size: height and width in pixels; `None` where it cannot be decoded.
    """

    kinds: list[str]
    digest: bytes | int
    size: tuple[int, int] | None = None


def looks(source, max_pixels: int):
    """Number, example and `Look` of every example of a source."""
    examples = enumerate(source.dataset.as_numpy_iterator())
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's of huge images, which are found here
        while some := list(itertools.islice(examples, 1024)):
            seen = pool.map(lambda example: _look(source, max_pixels, *example), some)
            for (number, example), look in zip(some, seen, strict=True):
                yield number, example, look


def _look(source, max_pixels, number, example) -> Look:
    import tensorflow as tf
    from PIL import Image

    from keras_mlp.training.data import decoding

    encoded, _ = example
    try:
        content = tf.convert_to_tensor(source.read(encoded)).numpy()
    except tf.errors.OpError:
        return Look(["unreadable"], number)  # as no other
    kinds, image, size = [], None, None
    try:
        image = Image.open(io.BytesIO(content), formats=decoding.FORMATS)
    except Image.DecompressionBombError:
        kinds.append("huge")
    except Exception:  # no image, which is found below
        pass
    try:
        pixels = source.decode(content) if source.decode else decoding.decode(content, max_pixels)
        size = tuple(map(int, pixels.shape[:2]))
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
    return Look(kinds, hashlib.blake2b(content, digest_size=16).digest(), size)
