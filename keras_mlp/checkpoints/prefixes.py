"""What training frameworks put before the names of all tensors: "state_dict.model.", "module.", "_orig_mod."."""

import re
from collections import Counter

_INSIDE = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
"""Modules that compilation, recomputation and sharding put around others, anywhere in a name."""
_DEEPEST = 6


def unwrap(tensors: dict) -> dict:
    """`tensors` without the modules around modules in their names, behind what all names begin with.

    They are unchanged if two of them would have one name.
    """
    split = [_parts(name) for name in tensors]
    common = 0
    while split and all(parts[: common + 1] == split[0][: common + 1] for parts in split) and common < len(split[0]):
        common += 1
    names = ["".join(p for i, p in enumerate(parts) if i < common or p[:-1] not in _INSIDE) for parts in split]
    if len({*names}) < len(names):
        return tensors
    return dict(zip(names, tensors.values(), strict=True))


def candidates(names) -> list[str]:
    """Prefixes that at least a quarter of `names` begin with, short ones first; the first is "", of all."""
    split = [_parts(name) for name in names]
    counts = Counter("".join(parts[:depth]) for parts in split for depth in range(1, min(len(parts), _DEEPEST + 1)))
    return ["", *sorted((p for p, count in counts.items() if 4 * count >= len(split)), key=len)]


def strip(tensors: dict, prefix: str) -> dict:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _parts(name):
    """A name cut behind its separators: "a.b/c" is "a.", "b/", "c"."""
    return re.findall(r"[^./]*[./]|[^./]+$", name)
