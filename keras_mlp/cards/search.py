"""Finding cards by the names of their models."""

import difflib
import fnmatch
import re

from keras_mlp.cards.card import INPUTS, ModelCard


def natural_order(name: str):
    """Sort key that puts "s2" before "s10"."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def find(
    cards: dict[str, ModelCard],
    pattern: str = "*",
    family: str | None = None,
    input: str | None = None,
    weights: str | bool | None = None,
) -> list[str]:
    """Names of the cards that match; arguments, result and errors are those of `keras_mlp.list_models`."""
    families = {card.family for card in cards.values()}
    if family is not None and family not in families:
        raise ValueError(f"There is no family {family!r}. {nearest(family, families)}")
    if input not in (None, *INPUTS):
        raise ValueError(f"`input` must be {' or '.join(map(repr, INPUTS))}. Received: input={input!r}")
    if not any(c in pattern for c in "*?["):
        pattern = f"*{pattern}*"

    def matches(card):
        if isinstance(weights, bool):
            published = bool(card.weights) == weights
        else:
            published = weights is None or bool(fnmatch.filter(card.weights, weights))
        named = fnmatch.fnmatch(card.name, pattern) and family in (None, card.family)
        return named and input in (None, card.input) and published

    return sorted((name for name, card in cards.items() if matches(card)), key=natural_order)


def named(cards: dict[str, ModelCard], name: str) -> ModelCard:
    """The card of that name; a `ValueError` with near ones where there is none."""
    if name not in cards:
        raise ValueError(f"There is no model {name!r}. {nearest(name, cards)}")
    return cards[name]


def nearest(name, names) -> str:
    """The end of a message that there is no such name."""
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are: {', '.join(sorted(names))}."
