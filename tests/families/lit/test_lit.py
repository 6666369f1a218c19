"""LIT: mergings that read between positions and beyond borders, and the authors' backbones for dense prediction."""

import golden
import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.families import lit
from keras_mlp.training import recipes


def by_definition(x, down, right):
    """Bilinear, point by point, with zeros around the map."""
    batch, height, width, channels = x.shape
    padded = np.zeros((batch, height + 2, width + 2, channels))
    padded[:, 1:-1, 1:-1] = x
    y = np.zeros((*down.shape, channels))
    for b, i, j in np.ndindex(*down.shape):
        row, column = i + down[b, i, j], j + right[b, i, j]
        if -1 < row < height and -1 < column < width:
            top, left = int(np.floor(row)), int(np.floor(column))
            s, t = row - top, column - left
            square = padded[b, top + 1 : top + 3, left + 1 : left + 3]
            y[b, i, j] = np.einsum("r,c,rcn->n", (1 - s, s), (1 - t, t), square)
    return y


def test_maps_are_read_between_positions_and_fade_beyond_the_border():
    draw = np.random.default_rng(0)
    x, down, right = draw.normal(size=(2, 5, 4, 3)), *draw.normal(0, 2, size=(2, 2, 4, 4))
    down[0, 0], right[0, 0] = (-1, -0.25, 0, -1e9), (0, 0.5, -2.75, 1e9)  # where a border lies, and far from any
    np.testing.assert_allclose(lit.sample(x, down, right), by_definition(x, down, right), atol=1e-12)


def test_a_fresh_merging_is_a_plain_convolution():
    """Until its distances are learned; for odd sides, too."""
    x = np.random.default_rng(0).normal(size=(2, 7, 4, 3))
    layer = lit.DeformableMerging(5, dtype="float64")
    plain = keras.layers.Conv2D(5, 2, 2, dtype="float64")
    answer = layer(x)
    plain.build(x.shape)
    plain.set_weights([layer.conv.kernel, layer.conv.bias])
    np.testing.assert_allclose(answer, plain(x), atol=1e-12)


def test_a_merging_is_the_same_at_unknown_sizes():
    layer = lit.DeformableMerging(5, dtype="float64")
    source = keras.Input((None, None, 3), dtype="float64")
    model = keras.Model(source, layer(source))
    draw = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(draw.normal(size=weight.shape))
    x = draw.normal(size=(2, 6, 5, 3))
    np.testing.assert_allclose(model.predict(x, verbose=0), layer(x), atol=1e-4)  # `predict` takes float32


@pytest.mark.parametrize("name", ["features", "features_ti"])
def test_backbones_for_dense_prediction_at_other_sizes_are_those_of_the_authors(name):
    """Tables of 512 pixels are interpolated, and odd maps lose a row or column. Each map has a norm of its own.

    In LIT-Ti position embeddings are interpolated linearly; there is neither a class token nor a norm of the maps.
    """
    keras.config.set_dtype_policy("float64")
    case = golden.load(f"lit/{name}.json")
    assert case.error(golden.compute(case)["logits"]) < 1e-6


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match='"relative" or "absolute". Received: positions=\'none\''):
        keras_mlp.LIT(positions="none")
    with pytest.raises(ValueError, match="needs positions=\"absolute\". Received: positions='relative'"):
        keras_mlp.LIT(class_token=True)
    with pytest.raises(ValueError, match="height=98. The nearest that work: 96 and 100"):
        keras_mlp.LITS(weights=None, input_shape=(98, 96, 3))


def test_the_distances_of_mergings_learn_slowly():
    """Their kernels, and not their biases, as the authors' groups of parameters have it."""
    model = golden.build(golden.load("lit/tiny.json"), load=False)
    optimizer = recipes.optimizer(keras_mlp.model_card("lit_s").recipe, model, steps_per_epoch=10)
    slow = {path for path, factor in optimizer.rate_factors.items() if factor == 0.01}
    assert slow == {layer.offset.kernel.path for layer in model.layers if hasattr(layer, "offset")} and slow
    assert {factor for path, factor in optimizer.rate_factors.items() if path not in slow} == {1}
