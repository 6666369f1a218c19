"""Checkpoints of whole segmenters: a backbone's tensors under one prefix, a head's under others."""

import dataclasses

from keras_mlp.checkpoints import layouts, prefixes
from keras_mlp.checkpoints.layouts import CheckpointError, Layout

BACKBONE = "backbone."
"""Prefix of the backbone's tensors in OpenMMLab's checkpoints."""


@dataclasses.dataclass(frozen=True)
class Joined(Layout):
    """Tensors of a backbone, of whatever family and layout, beside those of heads.

    Args:
        names: rows for the heads' tensors, with their prefixes.
        of_backbone: the layout of the backbone's tensors, where the head tells it.
    """

    of_backbone: Layout | None = None

    def places(self, tensors):
        heads = {key: array for key, array in tensors.items() if not key.startswith(BACKBONE)}
        places, unknown = super().places(heads)
        inside = prefixes.strip({key: tensors[key] for key in tensors.keys() - heads.keys()}, BACKBONE)
        if not inside or not places:
            return places, unknown + [BACKBONE + key for key in inside]
        found, left_over = (self.of_backbone or _backbone_layout(inside)).places(inside)
        places |= {BACKBONE + key: place for key, place in found.items()}
        return places, unknown + [BACKBONE + key for key in left_over]


def _backbone_layout(tensors) -> Layout:
    """The layout of a family that `tensors` follow."""
    among = [layout for layout in layouts.known() if type(layout) is Layout and layout.convention == "torch"]
    known = {id(layout): len(_known(layout, tensors)) for layout in among}
    return max(among, key=lambda layout: known[id(layout)])


def _known(layout, tensors):
    try:
        return layout.places(tensors)[0]
    except CheckpointError:  # two tensors would be one: it is not this layout
        return {}


def register(task: str, head, auxiliary=()):
    """Declare OpenMMLab's names of a head's tensors, alone and in the checkpoint of a whole model.

    Args:
        task: what the layout is of, such as "upernet".
        head: rows of the decode head, as in `checkpoints.layouts.Layout`.
        auxiliary: further rows with whole names, such as those of a neck.
    """
    layouts.register(Layout(task, "head alone", "torch", tuple(head)))
    rows = [(f"decode_head.{row[0]}", *row[1:]) for row in head] + list(auxiliary) + list(AUXILIARY)
    layouts.register(Joined(task, "OpenMMLab", "torch", tuple(rows)))


AUXILIARY = (
    ("auxiliary_head.convs.{}.conv", "auxiliary_{}"),
    ("auxiliary_head.convs.{}.bn", "auxiliary_{}_norm"),
    ("auxiliary_head.conv_seg", "head_auxiliary"),
)
