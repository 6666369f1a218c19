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
# PyTorch keeps the output axis first; (out, in, *window) becomes (*window, in, out).
_TORCH_AXES = {2: (1, 0), 3: (2, 1, 0), 4: (2, 3, 1, 0), 5: (2, 3, 4, 1, 0)}


class CheckpointError(ValueError):
    """A checkpoint does not fit; the message lists what is missing, left over or of another shape."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The tensor names and axis order of one source of checkpoints of a family.

    Args:
        family: name of the family.
        name: name of the layout, e.g. "timm" or "flax".
        convention: "torch" (dots, output axis first) or "flax" (slashes, output axis last).
        names: rows `(published, ours)` or `(published, ours, transform)`. `published` names a layer or one tensor and
            `ours` the layer or variable it becomes; "{}" stands for a number and is carried over, in order. With a
            `transform`, `array -> array` replaces the convention's change of axes.
        ignored: published names (with "{}") of tensors that files hold and the network never reads.
        activation: the form of GELU that these checkpoints were made for, "gelu" or "gelu_tanh".
    """

    family: str
    name: str
    convention: str
    names: tuple[tuple, ...]
    ignored: tuple[str, ...] = ()
    activation: str | None = "gelu"

    def __str__(self):
        return f"{self.family}/{self.name}"

    @functools.cached_property
    def _rules(self) -> list[tuple[re.Pattern, str, Callable | None]]:
        return [(_pattern(row[0]), row[1], row[2] if len(row) > 2 else None) for row in self.names]

    def _find(self, name):
        for pattern, ours, transform in self._rules:
            if match := pattern.fullmatch(name):
                return ours.format(*match.groups()), transform
        return None

    def convert(self, tensors: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
        """Rename and lay out `tensors` as ours.

        Returns:
            `{our name: array}`, and the published names that no rule knows.

        Raises:
            CheckpointError: two tensors are one variable of ours.
        """
        separator = _SEPARATOR[self.convention]
        main = {"torch": "weight", "flax": "kernel"}[self.convention]
        ours, sources, unknown = {}, {}, []
        for key, array in tensors.items():
            if any(_pattern(name).fullmatch(key) for name in self.ignored):
                continue
            layer, _, leaf = key.rpartition(separator)
            if found := self._find(key):
                name, transform = found
            elif leaf == "num_batches_tracked":
                continue
            elif found := self._find(layer):
                matrix = tensors.get(f"{layer}{separator}{main}")
                leaves = _MATRIX if matrix is not None and matrix.ndim > 1 else _VECTORS
                if leaf not in leaves:
                    unknown.append(key)
                    continue
                name, transform = f"{found[0]}/{leaves[leaf]}", found[1]
                if transform is None and self.convention == "torch" and leaf == "weight" and array.ndim > 1:
                    array = array.transpose(_TORCH_AXES[array.ndim])
            else:
                unknown.append(key)
                continue
            if name in ours:
                raise CheckpointError(f"Tensors {sources[name]!r} and {key!r} of the checkpoint are both {name!r}.")
            if transform is not None:
                weight = (tensors[f"{layer}{separator}{main}"],) if getattr(transform, "takes_weight", False) else ()
                array = transform(array, *weight)
            ours[name], sources[name] = array, key
        return ours, unknown


class _Ours(Layout):
    """Our own layout: the names are ours already."""

    def convert(self, tensors):
        return dict(tensors), []


OURS = _Ours("keras_mlp", "own names", "", (), activation=None)

REGISTRY: dict[str, dict[str, Layout]] = {}
"""The layouts that the families declared: `{family: {name: layout}}`."""


def with_weight(transform: Callable) -> Callable:
    """Mark a `transform(tensor, weight)` that needs the weight beside the tensor, to tell what a bias belongs to."""
    transform.takes_weight = True
    return transform


def register(layout: Layout) -> Layout:
    """Make a layout known to `recognise`."""
    REGISTRY.setdefault(layout.family, {})[layout.name] = layout
    return layout


@functools.cache
def _pattern(template: str) -> re.Pattern:
    return re.compile(re.escape(template).replace(re.escape("{}"), r"(\d+)"))


def recognise(names: set[str], tensors: dict[str, np.ndarray], family: str | None = None) -> Layout:
    """The layout that `tensors` follows: the one whose conversion shares most names with a model's.

    Args:
        names: our names of the model's variables.
        tensors: `{published name: array}`.
        family: look among this family's layouts only.

    Raises:
        CheckpointError: the tensors follow no layout that fits the model.
    """
    published = [layout for key in REGISTRY if family in (None, key) for layout in REGISTRY[key].values()]

    def shared(layout):
        return len(names.intersection(_converted_names(layout, tensors)))

    best = max([OURS, *published], key=shared)
    if not shared(best):
        raise CheckpointError(
            f"The tensors of the checkpoint ({some(tensors)}) follow none of the layouts known for this model "
            f"({', '.join(map(str, published))}). Is it the file of another family, or not of a released model?"
        )
    return best


def _converted_names(layout, tensors):
    try:
        return layout.convert(tensors)[0]
    except ValueError:
        # A transform met a tensor of another shape, or two tensors one name: it is not this layout.
        return ()


def some(names, most=8) -> str:
    """The first few of `names`, and how many more there are."""
    names = list(names)
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
