"""What a setting allows, declared beside its type: `rate: Annotated[float, Number(least=0, below=1)]`.

Each kind tells whether a value is among what it allows, and says in words what that is.
"""

import dataclasses
import functools
import itertools
import math
import numbers
import typing

_NO_DEFAULT = object()


def check(settings, what: str):
    """Raise a `ValueError` for the first value of a dataclass that is not what is declared beside its type.

    Args:
        settings: the dataclass.
        what: what it is, for messages.
    """
    kind = type(settings)
    for name, allowed in _declared(kind).items():
        value = getattr(settings, name)
        if value is getattr(kind, name, _NO_DEFAULT):  # as most fields of a recipe are; import makes all recipes
            continue
        if not allowed.admits(value):
            raise ValueError(f"{what}'s {name} must be {allowed}. Received: {value!r}")


@functools.cache
def _declared(kind) -> dict:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


@dataclasses.dataclass(frozen=True)
class Number:
    """Finite numbers from `least` to `most`, which are among them, or `above` and `below` others, which are not."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    whole: bool = False

    def admits(self, value) -> bool:
        kind = numbers.Integral if self.whole else numbers.Real
        if not isinstance(value, kind) or isinstance(value, bool) or not math.isfinite(value):
            return False
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self):
        ends = {"from": self.least, "above": self.above, "to": self.most, "below": self.below}
        told = [f"{word} {end}" for word, end in ends.items() if math.isfinite(end)]
        return " ".join(["an integer" if self.whole else "a number", *told])


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of these values, and of the same type."""

    values: tuple

    def admits(self, value) -> bool:
        return any(type(value) is type(one) and value == one for one in self.values)

    def __str__(self):
        return f"one of {', '.join(map(repr, self.values))}"


@dataclasses.dataclass(frozen=True)
class Text:
    """Any string."""

    def admits(self, value) -> bool:
        return isinstance(value, str)

    def __str__(self):
        return "a string"


@dataclasses.dataclass(frozen=True)
class Several:
    """Tuples of any length, of members of one kind, each above the one before if they are `rising`."""

    member: object
    rising: bool = False

    def admits(self, value) -> bool:
        if not isinstance(value, tuple) or not all(map(self.member.admits, value)):
            return False
        return not self.rising or all(a < b for a, b in itertools.pairwise(value))

    def __str__(self):
        return f"a tuple of values{', rising' * self.rising}, each {self.member}"


@dataclasses.dataclass(frozen=True)
class Pair:
    """Tuples of two; of numbers the first is not the greater one if they are `rising`."""

    first: object
    second: object
    rising: bool = False

    def admits(self, value) -> bool:
        return (
            isinstance(value, tuple)
            and len(value) == 2
            and self.first.admits(value[0])
            and self.second.admits(value[1])
            and (not self.rising or value[0] <= value[1])
        )

    def __str__(self):
        return f"a tuple of {self.first} and {self.second}{', not the greater first' * self.rising}"


@dataclasses.dataclass(frozen=True)
class OrNone:
    """`None`, too."""

    other: object

    def admits(self, value) -> bool:
        return value is None or self.other.admits(value)

    def __str__(self):
        return f"None or {self.other}"
