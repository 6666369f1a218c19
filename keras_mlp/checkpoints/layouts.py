"""Layouts: how the tensors of a published file are named and laid out, and what they are called here.

Our name of a variable is the name of its layer and its path inside it, "blocks_0_token_mixing/fc1/kernel". A layout
turns `{published name: array}` into `{our name: array in our axis order}` without needing a model, so that a file can
be converted once for all the models that it fits.
"""

import dataclasses
import functools
import re
from collections.abc import Callable

import numpy as np

from keras_mlp.checkpoints import prefixes
from keras_mlp.checkpoints.untrusted import some

_MATRIX = {"weight": "kernel", "kernel": "kernel", "bias": "bias"}
"""What the tensors of a layer with a matrix or kernel are called here."""
_VECTORS = {
    "weight": "gamma",
    "scale": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "mean": "moving_mean",
    "running_var": "moving_variance",
    "var": "moving_variance",
    **{name: name for name in ("gamma", "beta", "moving_mean", "moving_variance")},
}
"""What they are called where all are vectors, as in norms."""
_SEPARATOR = {"torch": ".", "flax": "/"}
_MAIN = {"torch": "weight", "flax": "kernel"}
# PyTorch keeps the output axis first; (out, in, *window) becomes (*window, in, out).
_TORCH_AXES = {2: (1, 0), 3: (2, 1, 0), 4: (2, 3, 1, 0), 5: (2, 3, 4, 1, 0)}


def _torch_axes(array):
    return array.transpose(_TORCH_AXES[array.ndim])


class CheckpointError(ValueError):
    """A checkpoint does not fit; the message lists what is missing, left over or of another shape."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A transform for one of several published tensors that lie beside each other in one variable of ours.

    Args:
        index: which of them it is, from 0; they are joined in this order along the last axis.
        of: how many there are.
        transform: `array -> array`, from the published order of axes to ours.
    """

    index: int
    of: int
    transform: Callable

    def __call__(self, array):
        return self.transform(array)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The tensor names and axis order of one source of checkpoints of a family.

    Args:
        family: name of the family.
        name: name of the layout, e.g. "timm" or "flax".
        convention: "torch" (dots, output axis first) or "flax" (slashes, output axis last).
        names: rows `(published, ours)` or `(published, ours, transform)`. `published` names a layer or one tensor and
            `ours` the layer or variable it becomes; "{}" stands for a number and is carried over, in order. With a
            `transform`, `array -> array` replaces the convention's change of axes. A `Part` is one for a variable that
            is published as several tensors.
        ignored: published names (with "{}") of tensors that files hold and the network never reads.
        activation: the form of GELU that these checkpoints were made for, "gelu" or "gelu_tanh".
        rename: `names of all tensors -> {name: what the rows call it}`, for files in which a tensor's place does not
            follow from its own name, such as blocks that are numbered on from stage to stage.
    """

    family: str
    name: str
    convention: str
    names: tuple[tuple, ...]
    ignored: tuple[str, ...] = ()
    activation: str | None = "gelu"
    rename: Callable | None = None

    def __str__(self):
        return f"{self.family}/{self.name}"

    @functools.cached_property
    def _rules(self) -> tuple[re.Pattern, dict[int, tuple[str, Callable | None, int]]]:
        """All rows as one pattern, and of each row, by its group in it: our name, the transform, how many numbers."""
        alternatives, rows, group = [], {}, 1
        for published, ours, *transform in self.names:
            count = published.count("{}")
            alternatives.append(f"({_pattern(published)})")
            rows[group] = (ours, transform[0] if transform else None, count)
            group += 1 + count
        return re.compile("|".join(alternatives)), rows

    @functools.cached_property
    def _ignored(self) -> re.Pattern:
        return re.compile("|".join(map(_pattern, self.ignored)) or r"(?!)")

    def _find(self, name):
        pattern, rows = self._rules
        if not (match := pattern.fullmatch(name)):
            return None
        ours, transform, count = rows[match.lastindex]  # the group of the row is the one that ends last
        return ours.format(*match.groups()[match.lastindex : match.lastindex + count]), transform

    def places(self, tensors: dict[str, np.ndarray]) -> tuple[dict[str, tuple], list[str]]:
        """Where `tensors` belong: `{published name: (our name, transform or None)}`, and the names no rule knows.

        Raises:
            CheckpointError: two tensors are one variable of ours.
        """
        separator, main = _SEPARATOR[self.convention], _MAIN[self.convention]
        places, sources, unknown = {}, {}, []
        renamed = self.rename(list(tensors)) if self.rename else {}
        for key, array in tensors.items():
            if self._ignored.fullmatch(key):
                continue
            layer, _, leaf = key.rpartition(separator)
            called = renamed.get(key, key)
            if found := self._find(called):
                name, transform = found
            elif leaf == "num_batches_tracked":
                continue
            elif found := self._find(called.rpartition(separator)[0]):
                matrix = tensors.get(f"{layer}{separator}{main}")
                leaves = _MATRIX if matrix is not None and matrix.ndim > 1 else _VECTORS
                if leaf not in leaves:
                    unknown.append(key)
                    continue
                name, transform = f"{found[0]}/{leaves[leaf]}", found[1]
                if transform is None and self.convention == "torch" and leaf == "weight" and array.ndim > 1:
                    transform = _torch_axes
            else:
                unknown.append(key)
                continue
            taken, part = sources.setdefault(name, {}), transform.index if isinstance(transform, Part) else None
            if taken and (part is None or part in taken or None in taken):
                other = taken.get(part, next(iter(taken.values())))
                raise CheckpointError(f"Tensors {other!r} and {key!r} of the checkpoint are both {name!r}.")
            places[key], taken[part] = (name, transform), key
        return places, unknown

    def convert(self, tensors: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
        """Rename and lay out `tensors` as ours.

        Returns:
            `{our name: array}`, and the published names that no rule knows.

        Raises:
            CheckpointError: two tensors are one variable of ours, a tensor has not the axes that its place needs, or
                one of several that make a variable is missing.
        """
        places, unknown = self.places(tensors)
        ours, parts = {}, {}
        for key, (name, transform) in places.items():
            array = tensors[key]
            if transform is not None:
                separator = _SEPARATOR[self.convention]
                try:
                    if getattr(transform, "takes_weight", False):
                        layer = key.rpartition(separator)[0]
                        array = transform(array, tensors[f"{layer}{separator}{_MAIN[self.convention]}"])
                    else:
                        array = transform(array)
                except Exception as error:  # a transform may do whatever NumPy can
                    raise CheckpointError(
                        f"Tensor {key!r} of the checkpoint, of shape {array.shape}, cannot become {name!r} ({error})."
                    ) from error
            if isinstance(transform, Part):
                parts.setdefault(name, {})[transform.index] = (key, array, transform.of)
            else:
                ours[name] = array
        return ours | {name: _joined(name, found) for name, found in parts.items()}, unknown


class _Ours(Layout):
    """Our own layout: the names are ours already."""

    def places(self, tensors):
        return {name: (name, None) for name in tensors}, []


OURS = _Ours("keras_mlp", "own names", "", (), activation=None)

REGISTRY: dict[str, dict[str, Layout]] = {}
"""The layouts that the families declared: `{family: {name: layout}}`."""


def _joined(name: str, parts: dict[int, tuple]) -> np.ndarray:
    """The variable `name` from its parts, `{index: (published name, array, how many there are)}`."""
    keys, arrays, counts = zip(*(parts[i] for i in sorted(parts)), strict=True)
    if len(parts) < counts[0]:
        raise CheckpointError(f"{name!r} is made of {counts[0]} tensors, and the checkpoint has only {some(keys)}.")
    try:
        return np.concatenate(arrays, axis=-1)
    except ValueError as error:
        raise CheckpointError(f"The tensors {some(keys)} of the checkpoint do not fit each other ({error}).") from error


def with_weight(transform: Callable) -> Callable:
    """Mark a `transform(tensor, weight)` that needs the weight beside the tensor, to tell what a bias belongs to."""
    transform.takes_weight = True
    return transform


def register(layout: Layout) -> Layout:
    """Make a layout known to `recognise`."""
    REGISTRY.setdefault(layout.family, {})[layout.name] = layout
    return layout


def _pattern(template: str) -> str:
    """The regular expression of a name in which "{}" stands for a number."""
    return re.escape(template).replace(re.escape("{}"), r"(\d+)")


def known(family: str | None = None) -> list[Layout]:
    """Our own layout and those of all families, or of one."""
    return [OURS, *(layout for key in REGISTRY if family in (None, key) for layout in REGISTRY[key].values())]


def recognise(names: set[str] | None, tensors: dict[str, np.ndarray], among: list[Layout]) -> tuple[Layout, str]:
    """The layout that `tensors` follow, and the prefix before all their names: what shares most names with a model.

    Args:
        names: our names of the model's variables; `None` if any model will do.
        tensors: `{published name: array}`.
        among: the layouts that are considered.

    Returns:
        The layout and the prefix, "" in the most cases.

    Raises:
        CheckpointError: the tensors follow none of the layouts, or fit equally well under several prefixes.
    """

    def shared(layout, prefix):
        try:
            found = {name for name, _ in layout.places(prefixes.strip(tensors, prefix))[0].values()}
        except CheckpointError:  # two tensors would be one: it is not this layout
            return 0
        return len(found if names is None else found & names)

    scores = {}
    for prefix in prefixes.candidates(tensors):
        scores |= {(prefix, i): shared(layout, prefix) for i, layout in enumerate(among)}
        if names is not None and not prefix and max(scores.values()) == len(names):
            break
    most = max(scores.values())
    best = [(prefix, among[i]) for (prefix, i), score in scores.items() if score == most]
    if not most:
        raise CheckpointError(
            f"The tensors of the checkpoint ({some(tensors)}) follow none of the layouts known for this model "
            f"({', '.join(str(layout) for layout in among if layout is not OURS)}). Is it the file of another family, "
            "or not of a released model?"
        )
    if several := [prefix for prefix, _ in best if not prefix.startswith(best[0][0])]:
        raise CheckpointError(
            f"The tensors of the checkpoint fit as well under {best[0][0]!r} as under {several[0]!r}: name one of them "
            f"with `key`, as key={best[0][0].rstrip('./')!r}."
        )
    for prefix, layout in best:  # layouts of the same names can differ in the axes
        try:
            layout.convert(prefixes.strip(tensors, prefix))
        except CheckpointError:
            continue
        return layout, prefix
    return best[0][1], best[0][0]
