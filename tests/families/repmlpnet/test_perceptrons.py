"""The perceptrons of a RepMLP block and the tiles they work on."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp import fusion
from keras_mlp.families.repmlpnet import perceptrons


def random(*shape):
    return np.random.RandomState(0).standard_normal(shape)


def cut(x, tile, share_sets):
    """Tiles by definition, image by image: `(batch, rows, columns, height, width, groups, share_sets)`."""
    rows = [np.split(image, x.shape[1] // tile[0]) for image in x]
    tiles = [[np.split(row, x.shape[2] // tile[1], axis=1) for row in image] for image in rows]
    return np.array(tiles).reshape(len(x), len(rows[0]), -1, *tile, x.shape[-1] // share_sets, share_sets)


def test_tiles_are_cut_and_put_back_in_place():
    x = random(2, 8, 9, 6)
    tiles = perceptrons.TilePartition((4, 3), 2, dtype="float64")(x)
    np.testing.assert_array_equal(tiles, cut(x, (4, 3), 2).reshape(-1, 4, 3, 3, 2))
    np.testing.assert_array_equal(perceptrons.TileMerge((4, 3), in_place=True, dtype="float64")([tiles, x]), x)


@pytest.mark.parametrize("known", [True, False])
def test_several_tiles_are_put_back_as_the_reference_does(known):
    """An image's (tile, group) is read as (group, tile); the same with one tile, and with one group."""
    x = random(2, 8, 6, 6)
    share_sets, groups, tiles = 2, 3, cut(x, (4, 2), 2)
    flat = tiles.reshape(2, 6, 8, groups, share_sets).transpose(0, 1, 3, 2, 4)  # batch, tile, group, position, set
    read = flat.reshape(2, groups, 6, 8, share_sets)
    expected = np.zeros_like(x).reshape(2, 8, 6, groups, share_sets)
    for group, tile in np.ndindex(groups, 6):
        top, left = 4 * (tile // 3), 2 * (tile % 3)
        expected[:, top : top + 4, left : left + 2, group] = read[:, group, tile].reshape(2, 4, 2, share_sets)
    images = keras.Input((8, 6, 6) if known else (None, None, 6), dtype="float64")
    cutting = perceptrons.TilePartition((4, 2), share_sets, dtype="float64")
    merging = perceptrons.TileMerge((4, 2), dtype="float64")
    model = keras.Model(images, merging([cutting(images), images]))
    np.testing.assert_array_equal(model(x), expected.reshape(x.shape))
    assert model.output_shape == images.shape
    if not known:
        unknown = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 6), "float64")])
        np.testing.assert_array_equal(unknown(x), expected.reshape(x.shape))
        np.testing.assert_array_equal(unknown(x[:, :4, :2]), x[:, :4, :2])
        with pytest.raises(tf.errors.InvalidArgumentError):  # six images of 4 x 3 make whole tiles, one does not
            unknown(random(6, 4, 3, 6))


def test_maps_that_are_no_whole_tiles_are_refused():
    with pytest.raises(
        ValueError, match=r"multiples of the tile's, \(4, 4\).*width=10. The nearest that work: 8 and 12"
    ):
        perceptrons.TilePartition(4, 1)(random(1, 8, 10, 2))
    with pytest.raises(ValueError, match="must divide the 6 channels. Received: share_sets=4"):
        perceptrons.TilePartition(4, 4)(random(1, 4, 4, 6))
    with pytest.raises(ValueError, match="odd and positive. Received: kernel_size=4"):
        perceptrons.LocalPerceptron(4)


def test_the_channel_perceptron_is_its_equation():
    layer, x = perceptrons.ChannelPerceptron(use_bias=True, dtype="float64"), random(3, 2, 4, 5, 2)
    layer.build(x.shape)
    layer.bias.assign(random(2, 8))
    kernel, bias = np.asarray(layer.mix.kernel), np.asarray(layer.bias)
    expected = np.einsum("sio,bigs->bogs", kernel, x.reshape(3, 8, 5, 2)) + bias.T[:, None]
    np.testing.assert_allclose(layer(x), expected.reshape(x.shape), atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_local_perceptron_never_looks_beyond_its_tile(size):
    layer, x = perceptrons.LocalPerceptron(size, dtype="float64"), random(2, 4, 3, 2, 3)
    answer, kernel, reach = np.asarray(layer(x)), np.asarray(layer.kernel), size // 2
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0), (0, 0)))
    for row, column in np.ndindex(4, 3):
        window = padded[:, row : row + size, column : column + size]
        np.testing.assert_allclose(
            answer[:, row, column], np.einsum("yxs,byxgs->bgs", kernel[..., 0], window), atol=1e-12
        )


@pytest.mark.parametrize("sizes", [(), (1,), (3, 1, 5), (9,)])
def test_locality_injection_is_one_linear_layer_for_all_branches(sizes):
    """On a tile that is no square, and with kernels larger than it."""
    tiles = keras.Input((4, 3, 3, 2), dtype="float64")
    mixing = [perceptrons.ChannelPerceptron, *(functools.partial(perceptrons.LocalPerceptron, size) for size in sizes)]
    branches = [
        keras.layers.BatchNormalization(dtype="float64")(make(dtype="float64", name=f"branch_{i}")(tiles))
        for i, make in enumerate(mixing)
    ]
    total = keras.layers.Add(dtype="float64")(branches) if sizes else branches[0]
    model = keras.Model(tiles, total)
    model.set_weights([np.abs(random(*weight.shape)) for weight in model.get_weights()])
    injected = fusion.fuse_layers(model, [layer.name for layer in model.layers], biased=["branch_0"])
    assert [layer.name for layer in injected.layers[1:]] == ["branch_0"]
    x = random(5, *tiles.shape[1:])
    np.testing.assert_allclose(injected(x), model(x), rtol=1e-9, atol=1e-12)


def test_layers_that_are_not_chosen_stay_as_they_are():
    x = keras.Input((3,))
    y = keras.layers.Dropout(0.5, name="drop")(keras.layers.BatchNormalization(name="norm")(x))
    for i in (1, 2):
        y = keras.layers.BatchNormalization(name=f"norm{i}")(keras.layers.Dense(3, use_bias=False, name=f"fc{i}")(y))
    model = keras.Model(x, y)
    fused = fusion.fuse_layers(model, ["fc1", "norm1"], biased=["fc1"])
    assert [layer.name for layer in fused.layers[1:]] == ["norm", "drop", "fc1", "fc2", "norm2"]
    assert fused.get_layer("fc1").use_bias and not fused.get_layer("fc2").use_bias
    np.testing.assert_array_equal(fused.get_layer("fc1").bias, 0)
