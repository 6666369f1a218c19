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


# Before the blocks of a level, or after the last block and before the final norm.
ENDS = {
    "raft_mlp/tiny_resolution": ("stem", "levels_1_2_add"),
    "conv_mlp/tiny": ("stem_pool", "down_1", "down_2", "stages_3_0_add2"),
}


@pytest.mark.parametrize("key", ENDS)
def test_maps_are_taken_where_the_authors_take_them(key):
    builder, config = golden.arguments(golden.load(f"{key}.json"))
    backbone = builder(**config, include_top=False)
    maps = list(backbones.levels(backbone).values())
    assert all(x is backbone.get_layer(end).output for x, end in zip(maps, ENDS[key], strict=True))
    ends = keras_mlp.feature_pyramid(backbone).output.values()
    assert [x.shape for x in ends] == [x.shape for x in maps]


def small(name, **options):
    builder, config = golden.arguments(golden.small(name))
    return builder(**config | options, include_top=False)


def unfolded(x, kernel):
    """A convolution with zeros around the map, by its definition."""
    side = kernel.shape[0]
    padded = np.pad(x, ((0, 0), (side // 2,) * 2, (side // 2,) * 2, (0, 0)))
    height, width = x.shape[1:3]
    parts = [padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(side) for j in range(side)]
    return sum(parts)


def test_a_simple_pyramid_is_that_of_vitdet():
    """Of an odd map of 8 pixels a position: twice as fine, as it is, and coarser."""
    backbone = small("mlp_mixer", patch_size=8, input_shape=(40, 24, 3))
    pyramid = tasks.simple_pyramid(backbone, channels=6, strides=(2, 8, 16))
    assert list(pyramid.output) == ["P1", "P3", "P4"] and pyramid.name == "mlp_mixer_simple_pyramid"
    random = np.random.default_rng(0)
    for weight in pyramid.weights:
        weight.assign(random.normal(size=weight.shape))

    def of(name):
        return [np.asarray(weight) for weight in pyramid.get_layer(f"neck_pyramid_{name}").weights]

    def layer_normed(x, name):
        gamma, beta = of(name)
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * gamma + beta

    def doubled(x, name):
        kernel, bias = of(name)
        y = np.einsum("bhwi,yxoi->bhywxo", x, kernel)
        return y.reshape(len(x), 2 * x.shape[1], 2 * x.shape[2], -1) + bias

    def ended(x, power):
        for size in (1, 3):
            x = layer_normed(unfolded(x, *of(f"{power}_conv{size}")), f"{power}_conv{size}_norm")
        return x

    images = random.normal(size=(2, 40, 24, 3))
    x = np.asarray(backbone(images), "float64")
    finest = keras.activations.gelu(layer_normed(doubled(x, "1_up_0"), "1_up_0_norm"), approximate=False)
    odd = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-np.inf)
    coarse = odd.reshape(2, 3, 2, 2, 2, -1).max((2, 4))
    expected = {"P1": doubled(np.asarray(finest), "1_up_1"), "P3": x, "P4": coarse}
    for name, y in pyramid(images).items():
        answer = ended(expected[name], name[1:])
        np.testing.assert_allclose(y, answer, atol=1e-4 * np.abs(answer).max())


@pytest.mark.parametrize("patch_size, shapes", [(16, (16, 8, 4, 2)), (32, (16, 8, 4, 2)), (7, (20, 10, 5, 3))])
def test_a_backbone_of_one_level_gets_four(patch_size, shapes):
    backbone = small("mlp_mixer", patch_size=patch_size, input_shape=(70, 70, 3) if patch_size == 7 else (64, 64, 3))
    maps = backbones.levels(backbone)
    assert list(maps) == ["P2", "P3", "P4", "P5"]
    assert [x.shape[1:] for x in maps.values()] == [(side, side, 256) for side in shapes]


def test_pyramids_are_taken_as_they_are():
    narrow = tasks.simple_pyramid(small("vit"), channels=6)
    assert backbones.levels(narrow) == narrow.output
    several = keras_mlp.feature_pyramid(small("as_mlp"))
    assert backbones.levels(several) == several.output
    assert tasks.SemanticFPN(several, 3, channels=8).output_shape == (None, 32, 32, 3)


def test_what_is_no_backbone_of_one_level_is_refused():
    trunk = small("mlp_mixer")
    refused = [
        (lambda: tasks.simple_pyramid(small("as_mlp")), r"backbones of one level. as_mlp has P2, P3"),
        (lambda: tasks.simple_pyramid(golden.build(golden.small("vit"))), "build it with include_top=False"),
        (lambda: tasks.simple_pyramid(trunk, channels=0), "`channels` must be a positive integer"),
        (lambda: tasks.simple_pyramid(trunk, strides=(4, 12)), r"`strides` must be powers of two.*: strides=\(4, 12\)"),
        (lambda: tasks.simple_pyramid(trunk, strides=(8, 4)), "in rising order"),
    ]
    for make, message in refused:
        with pytest.raises(ValueError, match=message):
            make()


def test_norms_like_the_last_need_one():
    builder, config = golden.arguments(golden.load("convnext/tiny.json"))
    with pytest.raises(ValueError, match="has no norm after its last block"):
        backbones.levels(builder(**config, include_top=False), "last")
