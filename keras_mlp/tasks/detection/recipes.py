"""How detectors are trained: what a classifier's recipe has, and what only images with boxes need."""

import dataclasses
from typing import Annotated

from keras_mlp.allowed import Number, OneOf, OrNone, Pair
from keras_mlp.cards import Recipe


@dataclasses.dataclass(frozen=True)
class DetectionRecipe(Recipe):
    """A recipe for images with boxes.

    Args:
        random_scale: `(smallest, largest)` factor on the size at which the whole image fits, or `None`: 480–800 pixels
            of 800 are (0.6, 1.0). Of an image that becomes larger than the network's input a part is cut.
        random_crop: whether half of the images are cut first, to 384–600 pixels a side at a short side of 400, 500 or
            600 pixels, as in DETR.
    """

    random_resized_crop: Annotated[None, OneOf((None,))] = None
    label_smoothing: Annotated[float, OneOf((0.0,))] = 0.0
    random_scale: Annotated[tuple[float, float] | None, OrNone(Pair(Number(above=0), Number(above=0), rising=True))] = (
        None
    )
    random_crop: Annotated[bool, OneOf((True, False))] = False
