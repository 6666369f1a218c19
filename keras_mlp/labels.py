"""Class names, offline: of ImageNet-1k, ImageNet-21k and the processed ImageNet-21k-P, of videos, and of pixels.

Those of Kinetics-400 and Something-Something V1 are GluonCV's (gluoncv 0.10.5, Apache-2.0), in alphabetical order: the
usual one of Kinetics, and for V1 the one in the repository of MorphMLP. Those of ADE20K and Cityscapes are in the order
of mmsegmentation; "ade20k-100" are those 100 of ADE20K's classes that have instances.
"""

import functools
from importlib import resources

import numpy as np

CLASS_LISTS = {1000: "1k", 21843: "21k", 11221: "21k-P", 400: "k400"}
"""Which list of classes a classifier of so many outputs has, and in the order of which its outputs are."""
NAMED = (*CLASS_LISTS.values(), "ssv1", "ade20k", "ade20k-100", "cityscapes")
"""All lists. The two of Something-Something have the same 174 classes in another order: their number does not tell. A
classifier of as many classes as a list of pixels' classes has may be of any others."""


@functools.cache
def class_names(classes: int | str = 1000) -> list[tuple[str, str]]:
    """The classes of a published classifier, in the order of its outputs.

    Args:
        classes: number of outputs: 1000 (ImageNet-1k), 21843 (ImageNet-21k), 11221 (ImageNet-21k-P) or 400
            (Kinetics-400); or one of `NAMED`.

    Returns:
        `(WordNet id, name)` of each class, such as `("n02123159", "tiger_cat")`; for videos and pixels a number is the
        id.

    Raises:
        ValueError: there is no such list.
    """
    asked = CLASS_LISTS.get(classes, classes)
    if asked not in NAMED:
        known = ", ".join(f"{n} ({name})" for n, name in CLASS_LISTS.items())
        raise ValueError(
            f"Class names are known for {known} classes, and by name for {', '.join(NAMED)}. Received: {classes!r}"
        )
    text = resources.files("keras_mlp").joinpath("classes.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return [(identifier, name) for identifier, name, lists in rows if asked in lists.split(",")]


def decode_predictions(preds, top: int = 5, classes: str | None = None) -> list[list[tuple[str, str, float]]]:
    """Names of the most probable classes; as `keras.applications`' function, but offline.

    Args:
        preds: probabilities or logits `(samples, classes)` of an ImageNet-1k, -21k, -21k-P or a Kinetics-400
            classifier, or of another whose list of `classes` is given.
        top: how many to return a sample.
        classes: which list of classes it is, "ssv1" for Something-Something V1; by default what their number tells.

    Returns:
        For each sample a list of `(WordNet id, name, score)`, best first, the score as it is in `preds`; for videos the
        class's number is the id.

    Raises:
        ValueError: `preds` has another shape, or another number of classes.
    """
    preds = np.asarray(preds)
    if preds.ndim != 2 or (classes is None and preds.shape[1] not in CLASS_LISTS):
        allowed = ", ".join(map(str, CLASS_LISTS))
        raise ValueError(
            "`decode_predictions` expects a batch of predictions, an array of shape (samples, classes) with "
            f"{allowed} classes. Received an array of shape {preds.shape}"
        )
    names = class_names(classes or preds.shape[1])
    if len(names) != preds.shape[1]:
        raise ValueError(f"There are {len(names)} classes in {classes!r}. Received an array of shape {preds.shape}")
    best = np.argsort(-preds, axis=1)[:, :top]
    return [[(*names[i], float(row[i])) for i in order] for row, order in zip(preds, best, strict=True)]


def check_names(classes):
    """Raise a `ValueError` if names of classes are no text of a line each."""
    for name in classes:
        if not isinstance(name, str) or name.splitlines() not in ([], [name]):
            raise ValueError(f"Names of classes must be strings without line breaks. Received: {name!r}")
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"Names of classes must be text that UTF-8 can write. Received: {name!r}") from error
