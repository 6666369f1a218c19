"""Class names, offline: ImageNet-1k, ImageNet-21k and the processed ImageNet-21k-P."""

import functools
from importlib import resources

import numpy as np

CLASS_LISTS = {1000: "1k", 21843: "21k", 11221: "21k-P"}
"""Which list of classes a classifier of so many outputs has; outputs are in the order of the WordNet ids."""


@functools.cache
def class_names(classes: int = 1000) -> list[tuple[str, str]]:
    """The classes of an ImageNet classifier, in the order of its outputs.

    Args:
        classes: number of outputs: 1000 (ImageNet-1k), 21843 (ImageNet-21k) or 11221 (ImageNet-21k-P).

    Returns:
        `(WordNet id, name)` of each class, such as `("n02123159", "tiger_cat")`.

    Raises:
        ValueError: there is no such list.
    """
    if classes not in CLASS_LISTS:
        known = ", ".join(f"{n} (ImageNet-{name})" for n, name in CLASS_LISTS.items())
        raise ValueError(f"Class names are known for {known} classes. Received: {classes} classes")
    text = resources.files("keras_mlp").joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return [(wnid, name) for wnid, name, lists in rows if CLASS_LISTS[classes] in lists.split(",")]


def decode_predictions(preds, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Names of the most probable ImageNet classes; as `keras.applications`' function, but offline.

    Args:
        preds: probabilities or logits `(samples, classes)` of an ImageNet-1k, -21k or -21k-P classifier.
        top: how many to return a sample.

    Returns:
        For each sample a list of `(WordNet id, name, score)`, best first.

    Raises:
        ValueError: `preds` has another shape, or another number of classes.
    """
    preds = np.asarray(preds)
    if preds.ndim != 2 or preds.shape[1] not in CLASS_LISTS:
        allowed = ", ".join(map(str, CLASS_LISTS))
        raise ValueError(
            "`decode_predictions` expects a batch of predictions, an array of shape (samples, classes) with "
            f"{allowed} classes. Received an array of shape {preds.shape}"
        )
    names = class_names(preds.shape[1])
    best = np.argsort(-preds, axis=1)[:, :top]
    return [[(*names[i], float(row[i])) for i in order] for row, order in zip(preds, best, strict=True)]
