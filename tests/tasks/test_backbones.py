"""Backbones of detectors and segmentors: the norm of each map is the authors', and so is its name in checkpoints."""

import golden
import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp import tasks
from keras_mlp.tasks import backbones

EVEN, EACH, APART = "norm{even}", "norm{level}", "norm_{level}"
NORMS = {  # the small case: the authors' names, the axes that a norm averages (`None` for batch norm), epsilon
    "active_mlp/tiny": (APART, (3,), 1e-5),
    "as_mlp/tiny": (EACH, (1, 2, 3), 1e-5),
    "convnext/tiny": (EACH, (3,), 1e-6),
    "cycle_mlp/tiny": (EVEN, (3,), 1e-5),
    "gcvit/tiny": (EACH, (3,), 1e-5),
    "hire_mlp/tiny": (EVEN, None, 1e-5),
    "hornet/tiny_7x7": (EACH, (3,), 1e-6),
    "pool_former/tiny": (EVEN, (1, 2, 3), 1e-5),
    "wave_mlp/tiny": (EVEN, None, 1e-5),
    "wave_mlp/tiny_gn": (EVEN, (1, 2, 3), 1e-5),
}


def normed(x, axes, epsilon, state):
    """`x` by the definition of its norm; batch norm where there are no axes."""
    if axes is None:
        mean, variance = state["running_mean"], state["running_var"]
    else:
        mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * state["weight"] + state["bias"]


def of_levels(pattern, widths, batch):
    """The norms of the levels as a checkpoint has them."""
    leaves = ("weight", "bias", "running_mean", "running_var") if batch else ("weight", "bias")
    names = [pattern.format(even=2 * level, level=level) for level in range(len(widths))]
    return [
        {leaf: golden.tensor(f"{name}.{leaf}", (width,)) for leaf in leaves}
        for name, width in zip(names, widths, strict=True)
    ], names


@pytest.mark.parametrize("key", NORMS)
def test_each_map_has_the_norm_of_the_authors_which_their_checkpoints_fill(key):
    pattern, axes, epsilon = NORMS[key]
    case = golden.load(f"{key}.json")
    builder, config = golden.arguments(case)
    backbone = builder(**config, include_top=False)
    model = tasks.SemanticFPN(backbone, 3, channels=8)
    maps = keras_mlp.feature_pyramid(backbone, final_norm=False).output
    widths = [x.shape[-1] for x in maps.values()]
    assert len(widths) > 1
    ours = sorted((layer for layer in model.layers if layer.name.startswith("level_")), key=lambda layer: layer.name)
    assert [layer.name for layer in ours] == [f"level_{level}_norm" for level in range(len(widths))]

    norms, names = of_levels(pattern, widths, axes is None)
    state = {name: array for name, array in case.state_dict().items() if name.split(".")[0] not in ("norm", "head")}
    for name, leaves in zip(names, norms, strict=True):
        state |= {f"{name}.{leaf}": array for leaf, array in leaves.items()}
    found = keras.Model(model.input, [layer.output for layer in ours])
    keras_mlp.load_checkpoint(found, state)
    images = case.images()
    plain = keras.Model(backbone.input, list(maps.values()))(images)
    for x, y, leaves in zip(plain, found(images), norms, strict=True):
        expected = normed(np.asarray(x, "float64"), axes, epsilon, leaves)
        np.testing.assert_allclose(y, expected, atol=1e-4 * np.abs(expected).max())


def test_norms_like_the_last_need_one():
    builder, config = golden.arguments(golden.load("convnext/tiny.json"))
    with pytest.raises(ValueError, match="has no norm after its last block"):
        backbones.levels(builder(**config, include_top=False), "last")
