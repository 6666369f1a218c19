"""Looks at every image and mask of a data set before anything is trained on them."""

import dataclasses

import numpy as np

from keras_mlp.tasks.segmentation import data
from keras_mlp.tasks.segmentation.losses import VOID
from keras_mlp.training.data import check as images
from keras_mlp.training.data import geometry
from keras_mlp.training.data.broken import in_plain_words
from keras_mlp.training.data.source import MAX_PIXELS
from keras_mlp.walking import summary

FINDINGS = {
    "wrong": "the mask has a label that is no class, or another size than its image, or cannot be read: refused",
    "empty": "no pixel of the mask is of a class: nothing is learnt of it",
    "of one class": "all pixels that have a class have the same one",
    **{kind: meaning for kind, meaning in images.FINDINGS.items() if kind != "mislabelled"},
}
"""What is told of an image with its mask, in the order of the report."""


@dataclasses.dataclass
class Report:
    """What was found in one split; as a string it is to be read.

    Args:
        title: the data set and the split.
        classes: names of the classes.
        masks: how many sound masks there are.
        pixels: by label in 0–255 how many pixels of all masks have it.
        shown: by label in how many masks it is.
        sizes: heights and widths of the masks.
        found: names of images by what was found of them, one of `FINDINGS`.
        wrong: why training would refuse masks, a sentence each.
        left_out: what files are no images, in a line; empty where all are.
    """

    title: str
    classes: list[str]
    masks: int = 0
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, int))
    shown: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, int))
    sizes: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    found: dict[str, list[str]] = dataclasses.field(default_factory=lambda: {kind: [] for kind in FINDINGS})
    wrong: list[str] = dataclasses.field(default_factory=list)
    left_out: str = ""

    def add(self, mask, name: str):
        """Count a mask `(height, width)` of the image that is called `name`."""
        counts = np.bincount(mask.reshape(-1), minlength=256)
        self.masks += 1
        self.pixels += counts
        self.shown += counts > 0
        self.sizes.add(mask.shape)
        if (classes := np.count_nonzero(counts[:VOID])) < 2:
            self.found["of one class" if classes else "empty"].append(name)

    def __str__(self):
        whole, known = max(self.pixels.sum(), 1), max(self.pixels[:VOID].sum(), 1)
        heights, widths = zip(*self.sizes, strict=True) if self.sizes else ((0,), (0,))
        rows = [
            f"| {name} | {self.pixels[i] / known:.2%} | {self.shown[i]:,} |"
            + (" in no mask" if not self.shown[i] else "")
            for i, name in enumerate(self.classes)
        ]
        lines = [
            f"{self.title}: {self.masks:,} masks of {min(heights)}–{max(heights)} × {min(widths)}–{max(widths)} "
            f"pixels, {self.pixels[VOID] / whole:.2%} of them void",
            "",
            "| class | share of the pixels | images |",
            "|---|---:|---:|",
            *rows,
            "",
            *images.told(self.found, FINDINGS, self.left_out),
            *(f"  {reason}" for reason in self.wrong[: images.SHOWN]),
        ]
        return "\n".join(lines) + "\n"


def check(
    name, splits, data_dir=None, max_pixels: int = MAX_PIXELS, progress=lambda examples, total: examples
) -> list[Report]:
    """Read and decode every image of some splits, and its mask.

    Args:
        name: data set, as `keras_mlp.tasks.load` takes it.
        splits: names of splits, those to train on first: an image that is in a later one, too, is reported there.
        data_dir: where tensorflow-datasets keeps what it has prepared.
        max_pixels: how many pixels an image may have.
        progress: function that wraps the iterator over the images of a split, and gets their number, to show how far
            the work is.

    Returns:
        A report on each split.

    Raises:
        ValueError: there is no such data set or split.
    """
    reports, earlier = [], set()
    for split in splits:
        source, digests = data.find(name, split, data_dir), set()
        report = Report(f"{name} ({source.split})", list(source.classes), left_out=summary(source.left_out))
        for number, (encoded, label), look in progress(images.looks(source, max_pixels), source.examples):
            called = source.name(number)
            for kind in [*look.kinds, *(["in both"] if look.digest in earlier else [])]:
                report.found[kind].append(called)
            digests.add(look.digest)
            try:
                report.add(_mask(source, label, encoded, look.size, called), called)
            except ValueError as error:
                report.wrong.append(str(error))
                report.found["wrong"].append(called)
        earlier |= digests
        reports.append(report)
    return reports


def refuse(reports: list[Report]):
    """Refuse data on which training would stop.

    Raises:
        ValueError: masks are wrong; it says of the first ones what is.
    """
    wrong = [reason for report in reports for reason in report.wrong]
    if wrong:
        more = f" And {len(wrong) - images.SHOWN} more." if len(wrong) > images.SHOWN else ""
        raise ValueError(f"Masks are wrong: {' '.join(wrong[: images.SHOWN])}{more}")


def _mask(source, label, encoded, size, name) -> np.ndarray:
    """The mask of an example `(height, width)`, of the size of its image if that is known."""
    with in_plain_words():
        mask = np.asarray(source.targets(label, encoded)["masks"])[..., 0]
    if size and mask.shape != size:
        raise ValueError(geometry.of_another_size(name, mask.shape, size))
    return mask
