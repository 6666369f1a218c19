"""The convention of layer names, and the only place that takes a name apart.

The name of a layer tells where in the network it is:

    stem…, position                     before the first block
    blocks_i…, stages_s_i…, levels_s_i… block `i`, of stage `s` where a family numbers them by stage
    down_s…                             between two stages, where the height and width are halved or the width changes
    norm, level_s_…                     after the last block
    predictors_i_…                      in front of a block, where a network that goes on from some of its positions
                                        alone chooses them: new beside the backbone, as what is of a task
    head…                               the classifier; head_dist, a second one, which learns from a teacher; head_norm
                                        and head_dist_norm, the norms before them of families that average first;
                                        head_projection, a linear layer before the average

What follows the numbers says what the layer does, such as "stages_0_1_token_mixing". A `layer_prefix` stands before all
of it, with a dot between: "left.stem". Names are part of what is saved: weights are loaded, learning rates fall and
feature pyramids are cut by them.
"""

import dataclasses
import re

PREPROCESSING = "preprocessing"
"""The layer that normalises pixels."""
HEAD_NORM = "head_norm"
"""The norm between the average and the classifier: learnt with the backbone, though a model without a head has none."""
HEAD_PROJECTION = "head_projection"
"""A linear layer between the map and the average, which makes it wider; learnt with the backbone as the norm is."""

_WITH_BACKBONE = re.compile(rf"head(?:_.*)?_norm|{HEAD_PROJECTION}")
_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check(argument: str, name):
    """Raise a `ValueError` if TensorFlow does not take `name` as the name of a scope.

    Args:
        argument: what the name is of, such as "name".
        name: the name, or `None` for none.
    """
    if name is not None and not (isinstance(name, str) and _ALLOWED.fullmatch(name)):
        raise ValueError(
            f"`{argument}` must begin with a letter or digit and hold only letters, digits, '_', '-' and '.', because "
            f"TensorFlow takes no other names. Received: {argument}={name!r}"
        )


def prefixed(prefix: str, name: str) -> str:
    """The name of a layer whose builder was given `layer_prefix`."""
    return f"{prefix}.{name}"


def prefix(name: str) -> str:
    """The prefix of a layer's name; "" for none."""
    return name.rpartition(".")[0]


def local(name: str) -> str:
    """A layer's name without its prefix: what it is called in every model of its family."""
    return name.rpartition(".")[2]


def goes_with_backbone(name: str) -> bool:
    """Whether a layer of the head is none of its classifiers: a norm or a projection before one."""
    return _WITH_BACKBONE.fullmatch(local(name)) is not None


@dataclasses.dataclass(frozen=True)
class Place:
    """Where in its network a layer is.

    Attributes:
        part: "stem", "block", "down", "top", "task" or "head".
        numbers: of a block `(i,)` or `(stage, i)`, of "down" `(stage,)`; else empty.
    """

    part: str
    numbers: tuple[int, ...] = ()


_PLACES = (
    (re.compile(r"(?:stem|position)(?:_.*)?"), "stem"),
    (re.compile(r"blocks_(\d+)(?:_.*)?"), "block"),
    (re.compile(r"(?:stages|levels)_(\d+)_(\d+)(?:_.*)?"), "block"),
    (re.compile(r"down_(\d+)(?:_.*)?"), "down"),
    (re.compile(r"norm|level_\d+_.*"), "top"),
    (re.compile(r"(?:neck|decoder|auxiliary|predictors_\d+|rpn|boxes_\d+|masks_\d+)_.*"), "task"),
    (re.compile(r"head(?:_.*)?"), "head"),
)


def parse(name: str) -> Place | None:
    """Where in its network the layer called `name` is; `None` if the name does not follow the convention."""
    for pattern, part in _PLACES:
        if match := pattern.fullmatch(local(name)):
            return Place(part, tuple(map(int, match.groups())))
    return None


def block(name: str) -> str | None:
    """The name of the block that a layer belongs to, "stages_0_1" of "stages_0_1_token_mixing".

    Returns:
        What all layers of the block begin with, without a `layer_prefix`; "stem" or "norm" before or after the blocks;
        `None` of any other layer.
    """
    place = parse(name)
    if place is None or place.part not in ("stem", "block", "top"):
        return None
    if place.part != "block":
        return {"stem": "stem", "top": "norm"}[place.part]
    return "_".join(local(name).split("_")[: 1 + len(place.numbers)])
