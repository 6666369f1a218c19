"""Looks at every annotation of a data set before anything is trained on it."""

import numpy as np

from keras_mlp.tasks.detection import sources
from keras_mlp.walking import summary

SMALL, MEDIUM = 32**2, 96**2
"""Areas in square pixels below which COCO calls an instance small, and medium."""


def described(name, split: str, **options) -> str:
    """What is in the annotations of a split, in Markdown: sizes, a table of the classes, and what was left out.

    Args:
        name: data set, as `keras_mlp.tasks.load(…, task="detection")` takes it.
        split: which part.
        **options: of `sources.find`, such as `skip_broken`.

    Raises:
        ValueError: there is no such data set, or an annotation is broken; the message names image and annotation.
    """
    source = sources.find(name, split, **options)
    truth = source.truth()
    rows = truth["annotations"]
    learnt = [row for row in rows if not row["iscrowd"]]
    areas = np.array([row["area"] for row in learnt])
    empty = len(truth["images"]) - len({row["image_id"] for row in learnt})
    sizes = f"{(areas < SMALL).sum():,} small, {((areas >= SMALL) & (areas < MEDIUM)).sum():,} medium, "
    sizes += f"{(areas >= MEDIUM).sum():,} large"
    lines = [
        f"{name} ({source.split}): {source.examples:,} images, {empty:,} of them without boxes; {len(learnt):,} boxes "
        f"({sizes}) and {len(rows) - len(learnt):,} crowds",
        "",
        "| class | boxes | images |",
        "|---|---:|---:|",
    ]
    for category, images in zip(truth["categories"], source.counts(), strict=True):
        boxes = sum(row["category_id"] == category["id"] for row in learnt)
        lines.append(f"| {category['name']} | {boxes:,} | {images:,} |" + ("" if boxes else " nowhere"))
    if source.left_out:
        lines += ["", summary(source.left_out, "annotation")]
    return "\n".join(lines) + "\n"
