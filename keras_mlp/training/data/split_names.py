"""Folders whose names say that they are a part of a data set, to train or to measure on."""

import collections
import re

WORDS = {
    "train": ("train", "training", "trainset", "trainingset", "trn"),
    "validation": ("validation", "val", "valid", "validate", "dev", "valset", "devset", "validationset"),
    "test": ("test", "testing", "tests", "testset", "tst", "eval", "evaluation"),
}
"""What is said for each part, in small letters."""
FILLERS = ("set", "data", "dataset", "images", "image", "imgs", "img", "pictures", "photos", "seg", "split", "folder")
"""What may be said beside it: "seg_train", "Training Set", "test-images"."""

_PARTS = {word: part for part, words in WORDS.items() for word in words}


def part(name: str) -> str | None:
    """Which of `WORDS` a name stands for, by itself."""
    return parts([name]).get(name)


def parts(names) -> dict[str, str]:
    """Which of the names of folders beside each other stand for parts of a data set.

    Args:
        names: of the folders.

    Returns:
        One of `WORDS` by the name, for those that stand for one: whose words are one of the part and fillers; or whose
        other words are the same as those of another part ("flowers_train" beside "flowers_test").
    """
    found, parts_of = {}, collections.defaultdict(set)
    for name in names:
        words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
        said = {_PARTS[word] for word in words if word in _PARTS}
        others = tuple(word for word in words if word not in _PARTS and word not in FILLERS)
        if len(said) == 1:
            found[name] = *said, others
            parts_of[others] |= said
    if any(name.lower() == "invalid" for name in names):  # then "valid" is its opposite
        found = {name: what for name, what in found.items() if name.lower() != "valid"}
    return {name: one for name, (one, others) in found.items() if not others or len(parts_of[others]) > 1}


def choose(split: str, names, where) -> str:
    """Which of the names of parts of a data set is meant.

    Args:
        split: one of the names, another word for the same ("train" for "training"), or "evaluation" for the part to
            validate on, or else to test on.
        names: of the parts, such as those of folders beside each other.
        where: what the message calls the data set.

    Raises:
        ValueError: it is none of them; the message lists them.
    """
    if split in names:
        return split
    found = parts(names)
    for wanted in ["validation", "test"] if split == "evaluation" else [part(split)]:
        for name in names:
            if wanted and found.get(name) == wanted:
                return name
    raise ValueError(f"{where} has no split {split!r}. It has: {', '.join(sorted(names))}.")
