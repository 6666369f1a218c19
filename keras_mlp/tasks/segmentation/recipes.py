"""How segmenters are trained: what a classifier's recipe has, and what only images with masks need."""

import dataclasses
from typing import Annotated

from keras_mlp.allowed import Number, OneOf, OrNone, Pair
from keras_mlp.cards import Recipe


@dataclasses.dataclass(frozen=True)
class SegmentationRecipe(Recipe):
    """A recipe for images with masks.

    Args:
        random_scale: `(smallest, largest)` factor on the size of the image before a crop, or `None`.
        photometric_distortion: whether brightness, contrast and colours are changed.
    """

    random_resized_crop: Annotated[None, OneOf((None,))] = None
    label_smoothing: Annotated[float, OneOf((0.0,))] = 0.0
    random_scale: Annotated[tuple[float, float] | None, OrNone(Pair(Number(above=0), Number(above=0), rising=True))] = (
        0.5,
        2.0,
    )
    photometric_distortion: Annotated[bool, OneOf((True, False))] = True


def scenes() -> SegmentationRecipe:
    """Return the recipe for the embedded scenes of handwritten digits and a small model trained from scratch."""
    return SegmentationRecipe(
        source="keras_mlp, tried out on the embedded scenes of digits",
        learning_rate=3e-3,
        batch_size=16,
        epochs=16,
        warmup_epochs=1,
        horizontal_flip=False,
        random_scale=(0.8, 1.3),
        gradient_clip_norm=1.0,
        precision="float32",
    )


def finetune() -> SegmentationRecipe:
    """Return a recipe for fine-tuning a backbone's published weights on images with masks."""
    return SegmentationRecipe(
        source="common practice for fine-tuning segmenters with AdamW, not from a paper",
        learning_rate=1e-4,
        batch_size=16,
        epochs=40,
        warmup_epochs=1,
        schedule="poly",
        final_learning_rate=1e-6,
        weight_decay=0.01,
        drop_path_rate=0.1,
    )
