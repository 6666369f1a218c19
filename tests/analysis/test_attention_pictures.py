"""Pictures of attention are of the weights that the layers multiply values by."""

import golden
import keras
import numpy as np
import pytest

from keras_mlp.analysis.mixing import mixings
from keras_mlp.families.gc_vit.attention import GlobalQueryAttention, WindowAttention
from keras_mlp.families.levit import DistanceAttention
from keras_mlp.families.mvit.layers import PoolingAttention
from keras_mlp.families.swat.structured import StructuredAttention
from keras_mlp.layers import RelativeAttention, SelfAttention, showing

HEADS = 2


def drawn(layer, inputs, query):
    """A layer's picture, and the output for the query that it is of: the weights, where each value is a one.

    The linear layers leave the values as they are, and all other weights are random.
    """
    inputs = keras.tree.map_structure(lambda x: keras.ops.convert_to_tensor(x, "float32"), inputs)
    layer(inputs)
    generator = np.random.default_rng(0)
    for variable in layer.weights:
        variable.assign(generator.normal(size=variable.shape))
    for name in ("qkv", "proj"):
        dense = getattr(layer, f"{name}_dense", None) or getattr(layer, name, None)
        if dense is not None:
            kernel = np.array(dense.kernel)
            kernel[:, -len(kernel) :] = np.eye(len(kernel))
            dense.kernel.assign(kernel)
            dense.bias.assign(np.zeros(dense.bias.shape))
    output = keras.ops.convert_to_numpy(layer(inputs))[0]
    return showing.made(layer, inputs).values, output[query].reshape(HEADS, -1)


def each_its_channel(height, width, side=None, shift=0):
    """A map in which each position, or each of a window, has a channel of its own that is 1, for every head."""
    if side is None:
        number, count = np.arange(height * width).reshape(height, width), height * width
    else:
        rows, columns = ((np.arange(length) - shift) % length % side for length in (height, width))
        number, count = rows[:, None] * side + columns, side * side
    return np.tile(np.eye(count)[number], HEADS)[None]


@pytest.mark.parametrize(
    ("layer", "sides", "window", "shift"),
    [
        (SelfAttention(HEADS), (3, 4), None, 0),
        (RelativeAttention(HEADS), (3, 4), None, 0),
        (StructuredAttention(HEADS), (3, 4), None, 0),
        (StructuredAttention(HEADS, window=2), (4, 6), 2, 0),
        (StructuredAttention(HEADS, window=2, shift=1), (4, 6), 2, 1),
        (WindowAttention(HEADS, window=2), (5, 5), 2, 0),
        (WindowAttention(HEADS, parts=2), (6, 6), 3, 0),
        (GlobalQueryAttention(HEADS, window=2), (4, 6), 2, 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.layers.Layer) else None,
)
def test_a_picture_has_the_weights_of_the_values_in_the_output_of_the_centre(layer, sides, window, shift):
    """Of windows, in that of the centre of the window in the middle."""
    x = inputs = each_its_channel(*sides, window, shift)
    if isinstance(layer, GlobalQueryAttention):
        inputs = [x, np.random.default_rng(1).normal(size=(1, window, window, x.shape[-1]))]
    grid = (window, window) if window else sides
    whole = [-(-length // side) * side for length, side in zip(sides, grid, strict=True)]
    centre = tuple(
        (length // side // 2 * side + side // 2 + shift) % length for length, side in zip(whole, grid, strict=True)
    )
    picture, weights = drawn(layer, inputs, centre)
    assert np.ptp(weights) > 0.01
    np.testing.assert_allclose(picture, weights.reshape(HEADS, *grid), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("grid", [(3, 4), (2, 3, 4)], ids=["image", "clip"])
def test_of_a_sequence_with_a_map_the_positions_are_drawn_and_the_frames_of_a_clip_beside_each_other(grid):
    """The class token in front is left out."""
    count = 1 + int(np.prod(grid))
    tokens = np.tile(np.eye(count), HEADS)[None]
    layer = PoolingAttention(count * HEADS, HEADS, relative=True)
    centre = 1 + np.ravel_multi_index([side // 2 for side in grid], grid)
    picture, weights = drawn(layer, [tokens, np.zeros((1, *grid, 1))], centre)
    beside = np.moveaxis(weights[:, 1:].reshape(HEADS, -1, *grid[-2:]), 1, 2)
    np.testing.assert_allclose(picture, beside.reshape(HEADS, grid[-2], -1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("strides", [1, 2])
def test_where_few_positions_ask_the_picture_is_of_all_that_they_see(strides):
    key_dim, grid, generator = 3, (3, 4), np.random.default_rng(0)
    asking = tuple(-(-side // strides) for side in grid)
    queries = generator.normal(size=(1, *asking, HEADS, key_dim))
    keys = generator.normal(size=(1, *grid, HEADS, key_dim))
    values = np.broadcast_to(np.eye(12).reshape(1, *grid, 1, 12), (1, *grid, HEADS, 12))
    maps = [[queries], [keys, values]] if strides > 1 else [[queries, keys, values]]
    maps = [np.concatenate(parts, axis=-1).reshape(*parts[0].shape[:3], -1) for parts in maps]
    layer = DistanceAttention(HEADS, key_dim, strides)
    centre = tuple(side // 2 for side in asking)
    picture, weights = drawn(layer, maps if strides > 1 else maps[0], centre)
    np.testing.assert_allclose(picture, weights.reshape(HEADS, *grid), rtol=1e-4, atol=1e-6)


def test_a_table_of_offsets_is_drawn_with_each_key_where_it_is_around_the_query():
    height, width = 2, 3
    layer = RelativeAttention(HEADS)
    layer(each_its_channel(height, width))
    added, picture = np.asarray(layer._bias()), showing.weights(layer).values
    assert picture.shape == (HEADS, 3, 5)
    for query, key in np.ndindex(6, 6):
        row, column = key // width - query // width, key % width - query % width
        np.testing.assert_array_equal(added[:, query, key], picture[:, height - 1 + row, width - 1 + column])


def test_what_a_layer_has_learnt_and_what_it_makes_of_an_image_are_both_drawn():
    x = keras.Input((4, 4, 4))
    model = keras.Model(x, RelativeAttention(HEADS, name="mixing")(x))
    assert list(mixings(model)) == ["mixing"]
    both = mixings(model, np.ones((4, 4, 4)))
    assert [(name, one.values.shape) for name, one in both.items()] == [
        ("mixing", (HEADS, 7, 7)),
        ("mixing of the image", (HEADS, 4, 4)),
    ]


@pytest.mark.parametrize("case", ["swat/tiny_swin", "mvit/tiny_v2_video", "dynamic_vit/tiny_deit", "cmt/tiny"])
def test_what_heads_look_at_in_an_image_are_shares(case):
    case = golden.load(f"{case}.json")
    found = mixings(golden.build(case, load=False), case.images()[0]).values()
    heads = [pictures for pictures in found if pictures.caption.startswith("what a head looks at")]
    assert heads
    for pictures in heads:
        lines = (1, 2) if "from the centre" in pictures.caption else -1  # else a line for each token
        shares = pictures.values.sum(lines)
        assert pictures.values.min() >= 0 and shares.min() > 0 and shares.max() < 1 + 1e-5
