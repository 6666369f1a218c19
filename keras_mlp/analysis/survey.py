"""Token mixings as a survey tells of them, beside what measuring and probing the code finds."""

import dataclasses
from collections.abc import Iterable

from keras_mlp import zoo
from keras_mlp.analysis.complexity import Complexity, complexity, leading, written
from keras_mlp.analysis.sharing import Sharing, sharing


@dataclasses.dataclass(frozen=True)
class Told:
    """A row of the survey's table 2.

    Source: Liu et al. 2022, "Are we ready for a new paradigm shift? A survey on visual deep MLP", Patterns 3(7),
    https://arxiv.org/abs/2111.04060, table 2.

    Attributes:
        kind: the heading under which the row stands.
        spatial: "specific" where the weights depend on the position, else "agnostic".
        channel: "agnostic" where all channels share the weights, "group" where groups do, else "specific".
        resolution: whether the parameters are tied to the size of the map.
        parameters: as text, in H, W, C and, for the side of a window, L.
        macs: multiply-adds, in the same form.
        parameter_terms: exponents of (H, W, C) in the terms of `parameters` that grow fastest.
        mac_terms: the same of `macs`; `None` where it is no polynomial.
    """

    kind: str
    spatial: str
    channel: str
    resolution: bool
    parameters: str
    macs: str
    parameter_terms: set
    mac_terms: set | None


_OVER_ALL = dict(kind="spatial projection", spatial="specific", resolution=True, macs="H²W²C", mac_terms={(2, 2, 1)})
_AXIAL = dict(kind="axial projection", spatial="specific", resolution=True)

_MATRIX = Told(**_OVER_ALL, channel="agnostic", parameters="H²W²", parameter_terms={(2, 2, 0)})
_SIDES_AND_CHANNELS = Told(
    **_AXIAL,
    channel="specific",
    parameters="H² + W² + C²",
    parameter_terms={(2, 0, 0), (0, 2, 0), (0, 0, 2)},
    macs="HWC (H + W + C)",
    mac_terms={(2, 1, 1), (1, 2, 1), (1, 1, 2)},
)
_WINDOWS = Told(
    kind="axial projection",
    spatial="specific",
    channel="specific",
    resolution=False,
    parameters="2L² + C²",
    parameter_terms={(0, 0, 2)},
    macs="HWC (2L + C)",
    mac_terms={(1, 1, 2)},
)
_SHIFT = Told(
    kind="shifting and channel projection",
    spatial="agnostic",
    channel="specific",
    resolution=False,
    parameters="C²",
    parameter_terms={(0, 0, 2)},
    macs="HWC²",
    mac_terms={(1, 1, 2)},
)
SURVEY = {
    "mlp_mixer": _MATRIX,
    "res_mlp": _MATRIX,
    "feed_forward": _MATRIX,
    "g_mlp": _MATRIX,
    "sparse_mlp": _MATRIX,
    "ccs_mlp": Told(
        kind="spatial projection",
        spatial="agnostic",
        channel="group",
        resolution=True,
        parameters="HW",
        parameter_terms={(1, 1, 0)},
        macs="HW log(HW) C",
        mac_terms=None,
    ),
    "repmlpnet": Told(**_OVER_ALL, channel="group", parameters="H²W² + C²", parameter_terms={(2, 2, 0), (0, 0, 2)}),
    "raft_mlp": Told(
        **_AXIAL,
        channel="agnostic",
        parameters="H² + W²",
        parameter_terms={(2, 0, 0), (0, 2, 0)},
        macs="HWC (H + W)",
        mac_terms={(2, 1, 1), (1, 2, 1)},
    ),
    "vip": _SIDES_AND_CHANNELS,
    "smlp": _SIDES_AND_CHANNELS,
    "dyna_mixer": Told(
        **_AXIAL,
        channel="specific",
        parameters="H³ + W³ + C²",
        parameter_terms={(3, 0, 0), (0, 3, 0), (0, 0, 2)},
        macs="HWC (H² + W² + C)",
        mac_terms={(3, 1, 1), (1, 3, 1), (1, 1, 2)},
    ),
    "wave_mlp": _WINDOWS,
    "morph_mlp": _WINDOWS,
    "s2_mlp": _SHIFT,
    "s2_mlp_v2": _SHIFT,
    "as_mlp": _SHIFT,
    "cycle_mlp": _SHIFT,
    "hire_mlp": _SHIFT,
    "ms_mlp": _SHIFT,
    "active_mlp": _SHIFT,
}
"""The survey's rows by the names of our families."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What is found of a family's token mixing, and what the survey tells of it.

    Attributes:
        family: its name.
        title: its title.
        measured: what its token mixing was taken to be, in the words of the family's file.
        complexity: parameters and multiply-adds.
        sharing: what positions and channels share.
        told: the survey's row; `None` where it has none.
    """

    family: str
    title: str
    measured: str
    complexity: Complexity
    sharing: Sharing
    told: Told | None

    @property
    def resolution(self) -> bool:
        """Whether the number of parameters changes with the size of the map."""
        return any(height or width for height, width, _ in self.complexity.parameters)

    @property
    def differences(self) -> list[str]:
        """Where the survey and the code disagree, a sentence each."""
        if self.told is None:
            return []
        found, costs = [], self.complexity
        for what in ("spatial", "channel"):
            theirs, ours = getattr(self.told, what), getattr(self.sharing, what)
            if theirs != ours:
                found.append(f"{what.capitalize()}: the survey says {theirs}, the code {self._found(what)}.")
        if self.told.resolution != self.resolution:
            theirs, ours = ("yes" if tied else "no" for tied in (self.told.resolution, self.resolution))
            found.append(f"Tied to the size: the survey says {theirs}, the code {ours}.")
        # A weight of a position and a channel would be counted in a term with a side and C.
        mixed = any((height or width) and width_of for height, width, width_of in costs.parameters)
        if self.told.channel == self.sharing.channel == "specific" and self.resolution and not mixed:
            found.append("Channel: the weights along the sides are the same for all channels or heads.")
        for what, theirs, told, ours in (
            ("Parameters", self.told.parameter_terms, self.told.parameters, costs.parameters),
            ("Multiply-adds", self.told.mac_terms, self.told.macs, costs.macs),
        ):
            if theirs is not None and theirs != set(leading(ours)):
                found.append(f"{what}: the survey says {told}, the code has {written(ours)}.")
        return found

    def _found(self, what) -> str:
        shared = self.sharing
        if what == "channel" and shared.channel == "group":
            return f"has {shared.groups} kinds of channels"
        if what == "spatial" and shared.window and shared.window > 1:
            return f"is specific in windows of {shared.window} positions, which share the weights"
        return f"is {getattr(shared, what)}"

    def cells(self) -> dict[str, str | bool | list[str]]:
        """The row as a table holds it."""
        told = self.told
        return {
            "family": self.family,
            "title": self.title,
            "kind": told.kind if told else "",
            "spatial": self.sharing.spatial,
            "window": self.sharing.window,
            "channel": self.sharing.channel,
            "kinds_of_channels": self.sharing.groups,
            "resolution": self.resolution,
            "parameters": written(self.complexity.parameters),
            "macs": written(self.complexity.macs),
            "survey_spatial": told.spatial if told else "",
            "survey_channel": told.channel if told else "",
            "survey_resolution": told.resolution if told else "",
            "survey_parameters": told.parameters if told else "",
            "survey_macs": told.macs if told else "",
            "differences": self.differences,
            "measured": self.measured,
        }


def declared() -> list[str]:
    """The names of the families that declare their token mixing: those of the survey first, in its order."""
    known = [name for name, family in zoo.FAMILIES.items() if family.mixing]
    return sorted(known, key=lambda name: (list(SURVEY).index(name) if name in SURVEY else len(SURVEY), name))


def survey(families: Iterable[str] | None = None, progress=lambda names: names) -> list[Row]:
    """Measure and probe the token mixing of families, beside what the survey tells of them.

    Args:
        families: their names; by default all of `declared()`.
        progress: function that wraps the list of names, to show how far the work is.

    Returns:
        A `Row` for each family.

    Raises:
        ValueError: a family declares no token mixing of its own.
        RuntimeError: the Keras backend is not TensorFlow.
    """
    known = declared()
    names = known if families is None else list(families)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"`families` must be among {', '.join(known)}. Received: {', '.join(map(repr, unknown))}")
    rows = []
    for name in progress(names):
        family = zoo.FAMILIES[name]
        found = complexity(family.mixing), sharing(family.mixing)
        rows.append(Row(name, family.title, family.mixing.__doc__.strip(), *found, SURVEY.get(name)))
    return rows
