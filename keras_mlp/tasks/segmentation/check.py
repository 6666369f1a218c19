"""Looks at every mask of a data set before anything is trained on it."""

import numpy as np

from keras_mlp.tasks.segmentation import data
from keras_mlp.tasks.segmentation.losses import VOID


def described(name, split: str) -> str:
    """What is in the masks of a split, in Markdown: a table of the classes, and what is empty or wrong.

    Args:
        name: data set, as `keras_mlp.tasks.load` takes it.
        split: which part.

    Raises:
        ValueError: there is no such data set, or a mask has a label that is no class.
    """
    source = data.find(name, split)
    pixels = np.zeros(256, int)
    images, sizes, empty = np.zeros(256, int), set(), []
    for number, (_, label) in enumerate(source.dataset.as_numpy_iterator()):
        mask = np.asarray(source.targets(label)["masks"])[..., 0]
        counts = np.bincount(mask.reshape(-1), minlength=256)
        pixels += counts
        images += counts > 0
        sizes.add(mask.shape)
        if counts[VOID] == mask.size:
            empty.append(source.name(number))
    total, known = pixels.sum(), pixels[:VOID].sum()
    rows = [
        f"| {name} | {pixels[i] / max(known, 1):.2%} | {images[i]} |" + (" in no mask" if not images[i] else "")
        for i, name in enumerate(source.classes)
    ]
    heights, widths = zip(*sizes, strict=True)
    lines = [
        f"{split}: {source.examples} masks of {min(heights)}–{max(heights)} × {min(widths)}–{max(widths)} pixels, "
        f"{pixels[VOID] / max(total, 1):.2%} of them void",
        "",
        "| class | share of the pixels | images |",
        "|---|---:|---:|",
        *rows,
    ]
    if empty:
        shown = ", ".join(empty[:10]) + (f" and {len(empty) - 10} more" if len(empty) > 10 else "")
        lines += ["", f"All void: {shown}"]
    return "\n".join(lines) + "\n"
