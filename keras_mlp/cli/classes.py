"""Which class of a model each class of a data set is: by their names, where the model knows them."""

import collections
import re

import numpy as np


def positions(theirs: list[str], ours: list[tuple[str, str]], data: str, model: str) -> list[int]:
    """Find the classes of a data set among those of a model.

    Args:
        theirs: names of the data set's classes.
        ours: `(identifier, name)` of the model's; where nothing is known of them both are their numbers from 0.
        data, model: what a person calls the two.

    Returns:
        For each of the data set's classes its number among the model's. Names are compared, and identifiers that are no
        numbers (WordNet's); upper case, spaces and what follows a comma play no role. Where the data set or the model
        has numbers for names, those count. A data set may have fewer classes than a model that knows their names.

    Raises:
        ValueError: there are classes that the model does not know, or names that it has twice.
    """
    numbers = [str(i) for i in range(len(ours))]
    names = [name for _, name in ours]
    if names == numbers and sorted(theirs) != sorted(numbers):  # nothing is known
        if len(theirs) != len(ours):
            raise ValueError(f"{data} has {len(theirs)} classes and {model} tells {len(ours)} apart.")
        return list(range(len(ours)))
    if theirs == names:
        return list(range(len(ours)))
    exact, plain = collections.defaultdict(set), collections.defaultdict(set)
    for place, (identifier, name) in enumerate(ours):
        exact[name].add(place)
        plain[_plain(name)].add(place)
        if identifier != str(place):
            exact[identifier].add(place)
    found = [exact.get(name) or plain.get(_plain(name), set()) for name in theirs]
    ambiguous = [name for name, places in zip(theirs, found, strict=True) if len(places) > 1]
    missing = [name for name, places in zip(theirs, found, strict=True) if not places]
    if not missing and not ambiguous and len(set.union(*found)) == len(theirs):
        return [*map(min, found)]
    if all(re.fullmatch(r"\d{1,9}", name, re.ASCII) for name in theirs):
        values = [int(name) for name in theirs]
        first = int(min(values) == 1 and max(values) == len(ours))  # some count from 1
        if len(set(values)) == len(values) and max(values) - first < len(ours):
            return [value - first for value in values]
    problem = f"does not know {_listed(missing)}" if missing else f"has more than one of {_listed(ambiguous or theirs)}"
    raise ValueError(
        f"{data} has {len(theirs)} classes and {model} tells {len(ours)} apart: it {problem}. Its classes are "
        f"{_listed(names)}. Call them as it does."
    )


def placed(labels, places: list[int], count: int) -> np.ndarray:
    """Labels as a model with so many classes has them, `(n, count)`, of those of a data set and its `positions`."""
    result = np.zeros((len(labels), count), labels.dtype)
    result[:, places] = labels
    return result


def _plain(name):
    return re.sub(r"[\W_]+", "_", name.partition(",")[0].strip().casefold())


def _listed(names):
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
