"""The perceptrons of a RepMLP block and the tiles they work on."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp import layers


def random(*shape):
    return np.random.RandomState(0).standard_normal(shape)


def cut(x, tile, share_sets):
    """Tiles by definition, image by image: `(batch, rows, columns, height, width, groups, share_sets)`."""
    rows = [np.split(image, x.shape[1] // tile[0]) for image in x]
    tiles = [[np.split(row, x.shape[2] // tile[1], axis=1) for row in image] for image in rows]
    return np.array(tiles).reshape(len(x), len(rows[0]), -1, *tile, x.shape[-1] // share_sets, share_sets)


def test_tiles_are_cut_and_put_back_in_place():
    x = random(2, 8, 9, 6)
    tiles = layers.TilePartition((4, 3), 2, dtype="float64")(x)
    np.testing.assert_array_equal(tiles, cut(x, (4, 3), 2).reshape(-1, 4, 3, 3, 2))
    np.testing.assert_array_equal(layers.TileMerge((4, 3), in_place=True, dtype="float64")([tiles, x]), x)


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
    cutting = layers.TilePartition((4, 2), share_sets, dtype="float64")
    merging = layers.TileMerge((4, 2), dtype="float64")
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
        layers.TilePartition(4, 1)(random(1, 8, 10, 2))
    with pytest.raises(ValueError, match="must divide the 6 channels. Received: share_sets=4"):
        layers.TilePartition(4, 4)(random(1, 4, 4, 6))
    with pytest.raises(ValueError, match="odd and positive. Received: kernel_size=4"):
        layers.LocalPerceptron(4)


def test_the_channel_perceptron_is_its_equation():
    layer, x = layers.ChannelPerceptron(use_bias=True, dtype="float64"), random(3, 2, 4, 5, 2)
    layer.build(x.shape)
    layer.bias.assign(random(2, 8))
    kernel, bias = np.asarray(layer.kernel), np.asarray(layer.bias)
    expected = np.einsum("sio,bigs->bogs", kernel, x.reshape(3, 8, 5, 2)) + bias.T[:, None]
    np.testing.assert_allclose(layer(x), expected.reshape(x.shape), atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_local_perceptron_never_looks_beyond_its_tile(size):
    layer, x = layers.LocalPerceptron(size, dtype="float64"), random(2, 4, 3, 2, 3)
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
    tile, share_sets, random = (4, 3), 2, np.random.RandomState(0).standard_normal

    def norm():
        return *random((3, share_sets)), np.exp(random(share_sets)), 1e-5

    def normalise(x, gamma, beta, mean, variance, epsilon):
        return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta

    x = random((5, *tile, 3, share_sets))
    channel = layers.ChannelPerceptron(dtype="float64")
    branches = [layers.LocalPerceptron(size, dtype="float64") for size in sizes]
    norms = [norm() for _ in range(len(sizes) + 1)]
    expected = sum(normalise(layer(x), *n) for layer, n in zip([channel, *branches], norms, strict=True))

    local = [(np.asarray(layer.kernel), n) for layer, n in zip(branches, norms[1:], strict=True)]
    kernel, bias = layers.locality_injection(np.asarray(channel.kernel), norms[0], local, tile)
    injected = layers.ChannelPerceptron(use_bias=True, dtype="float64")
    injected.build(x.shape)
    injected.set_weights([kernel, bias])
    np.testing.assert_allclose(injected(x), expected, rtol=1e-9, atol=1e-12)
