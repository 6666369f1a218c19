"""What a head on top of a backbone reads: one map a level, each with a norm of its own where the authors put one."""

import keras

from keras_mlp import zoo
from keras_mlp.pyramid import feature_pyramid


def family_of(backbone: keras.Model):
    """The family of a backbone, told by the model's name; `None` for a name that is none of the zoo's."""
    for family in zoo.FAMILIES.values():
        if backbone.name in family.builders:
            return family
    return None


def levels(backbone: keras.Model, level_norm="published") -> dict:
    """The maps of a backbone, finest first.

    Args:
        backbone: a model of the zoo without its top.
        level_norm: the norm of each map, a function that makes a layer of its name; `None` for none, where the last map
            leaves the backbone's final norm. "published" for what the authors of the family have in their detectors
            and segmentors, which a backbone's name tells. Norms are called "level_0_norm" and so on.

    Returns:
        `{"P2": tensor, …}`, tensors of the backbone's graph.

    Raises:
        ValueError: the backbone ends in its classifier.
    """
    if len(backbone.output_shape) != 4:
        raise ValueError(
            "`backbone` must give a map (batch, height, width, channels): build it with include_top=False and without "
            f"`pooling`. Received: {backbone.name} with the output {backbone.output_shape}"
        )
    if level_norm == "published":
        family = family_of(backbone)
        level_norm = family.level_norm if family else None
    if level_norm is None:
        return feature_pyramid(backbone).output
    maps = feature_pyramid(backbone, final_norm=False).output
    return {name: level_norm(f"level_{i}_norm")(x) for i, (name, x) in enumerate(maps.items())}


def policy_of(backbone: keras.Model):
    """The dtype policy of a backbone's layers."""
    return next((layer.dtype_policy for layer in reversed(backbone.layers) if layer.weights), None)
