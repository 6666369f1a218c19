"""Attention, and what token sequences need around it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp.checkpoints import resample
from keras_mlp.layers import (
    MapAttention,
    PositionEmbedding,
    RelativeAttention,
    SelfAttention,
    SequenceSplit,
    SequenceToMap,
    TokenSequence,
    attend,
    relative_bias,
    split_heads,
)


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("bias", ["none", "tensor", "function"])
def test_attention_is_its_equation_for_keys_of_another_number_and_values_of_another_width(bias):
    q, k, v, added = normal(2, 3, 4, 5), normal(2, 3, 6, 5), normal(2, 3, 6, 7), normal(3, 4, 6)
    given = {"none": None, "tensor": added, "function": lambda scores: scores + added}[bias]
    scores = np.einsum("ghnd,ghmd->ghnm", q, k) * 0.3 + (0 if bias == "none" else added)
    expected = np.einsum("ghnm,ghmd->gnhd", softmax(scores), v).reshape(2, 4, 21)
    np.testing.assert_allclose(attend(q, k, v, 0.3, given), expected, rtol=1e-10)


def test_heads_are_split_part_by_part():
    x = normal(2, 4, 2 * 3 * 5)
    q, k = split_heads(x, 3, 2)
    np.testing.assert_array_equal(q[:, 1], x[..., 5:10])
    np.testing.assert_array_equal(k[:, 2], x[..., 25:30])


def test_attention_treats_a_map_as_the_sequence_of_its_positions():
    layer, x = SelfAttention(2), normal(2, 3, 4, 6).astype("float32")
    y = np.asarray(layer(x))
    np.testing.assert_allclose(np.asarray(layer(x.reshape(2, 12, 6))).reshape(y.shape), y, rtol=1e-5, atol=1e-6)
    unknown = keras.Model(source := keras.Input((None, 6)), layer(source))
    np.testing.assert_allclose(np.asarray(unknown(x.reshape(2, 12, 6))).reshape(y.shape), y, rtol=1e-5, atol=1e-6)


def heads_of(x, heads):
    """`(batch, heads, positions, depth)` of a map."""
    batch, *_, channels = x.shape
    return x.reshape(batch, -1, heads, channels // heads).transpose(0, 2, 1, 3)


def test_maps_attend_to_maps_of_another_size_and_width():
    q, k, v, bias = normal(2, 3, 4, 6), normal(2, 2, 2, 6), normal(2, 2, 2, 8), normal(2, 12, 4)
    scores = np.einsum("bhnd,bhmd->bhnm", heads_of(q, 2), heads_of(k, 2)) * 0.3
    values = heads_of(v, 2)
    for more, added in (([], 0), ([bias], bias)):
        expected = np.einsum("bhnm,bhmd->bnhd", softmax(scores + added), values).reshape(2, 3, 4, 8)
        found = MapAttention(2, scale=0.3, dtype="float64")([q, k, v, *more])
        np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("window", [None, 2])
def test_maps_that_lie_in_one_are_taken_apart_and_sizes_may_be_unknown(window):
    q, k, v = parts = [normal(2, 4, 6, 8) + i for i in range(3)]
    layer = MapAttention(2, window, dtype="float64")
    found = np.asarray(layer(np.concatenate(parts, -1)))
    if window:
        corner = [part[:, 2:4, 4:6] for part in parts]
        np.testing.assert_allclose(found[:, 2:4, 4:6], MapAttention(2, dtype="float64")(corner), rtol=1e-10)
    else:
        np.testing.assert_allclose(found, layer(parts), rtol=1e-10)
        np.testing.assert_allclose(found, layer([q, np.concatenate([k, v], -1)]), rtol=1e-10)
    unknown = keras.Model(source := keras.Input((None, None, 24), dtype="float64"), layer(source))
    np.testing.assert_allclose(unknown(np.concatenate(parts, -1)), found, rtol=1e-10)


def test_windows_never_hold_positions_of_two_images():
    """Four images of 3 x 3 positions make whole windows, but one of them does not."""
    unknown = keras.Model(source := keras.Input((None, None, 6)), MapAttention(1, 2)(source))
    with pytest.raises(ValueError, match="height=3. The nearest that work: 2 and 4"):
        unknown(np.zeros((4, 3, 3, 6)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="reshape"):
        tf.function(unknown, input_signature=[tf.TensorSpec((None, None, None, 6))])(np.zeros((4, 3, 3, 6)))


@pytest.mark.parametrize(
    "arguments, shapes, message",
    [
        (dict(heads=2, scale=0.0), [(1, 2, 2, 6)], "`scale` of attention must be positive, or None. Received: scale=0"),
        (dict(heads=2), [(1, 2, 2, 9)], "heads=2, 9 channels of 3 of them"),
        (dict(heads=2, window=2), [(1, 4, 6, 6), (1, 4, 6, 12)], "must be one map. Received: 2 inputs.*window=2"),
        (
            dict(heads=2, window=2),
            [(1, 4, 5, 6)],
            "window's side, 2. Received: width=5. The nearest .*: 4 and 6",
        ),
    ],
)
def test_maps_that_cannot_attend_are_refused(arguments, shapes, message):
    with pytest.raises(ValueError, match=message):
        MapAttention(**arguments)([np.zeros(shape) for shape in shapes] if len(shapes) > 1 else np.zeros(shapes[0]))


def test_relative_positions_add_the_number_of_the_offset():
    table = normal(5 * 7, 2)
    bias = np.asarray(relative_bias(table, (3, 4), "float64"))
    for query in np.ndindex(3, 4):
        for key in np.ndindex(3, 4):
            dy, dx = query[0] - key[0] + 2, query[1] - key[1] + 3
            pair = query[0] * 4 + query[1], key[0] * 4 + key[1]
            np.testing.assert_array_equal(bias[(slice(None), *pair)], table[dy * 7 + dx])


def test_attention_with_relative_positions_adds_them_to_the_products():
    layer, plain = RelativeAttention(2, dtype="float64"), SelfAttention(2, dtype="float64")
    x = normal(2, 3, 4, 6)
    np.testing.assert_array_equal(layer(x).shape, x.shape)
    table, *dense = layer.weights
    plain.build(x.shape)
    plain.set_weights([np.asarray(weight) for weight in dense])
    table.assign(np.zeros(table.shape))
    np.testing.assert_allclose(layer(x), plain(x), rtol=1e-12)
    table.assign(normal(*table.shape))
    q, k, v = split_heads(layer.qkv(x.reshape(2, 12, 6)), 2, 3)
    y = attend(q, k, v, bias=relative_bias(table, (3, 4), "float64"))
    np.testing.assert_allclose(layer(x), layer.proj(np.asarray(y).reshape(x.shape)), rtol=1e-12)
    with pytest.raises(ValueError, match="known height, width"):
        RelativeAttention(2)(keras.Input((None, None, 6)))


def test_a_sequence_has_its_tokens_in_front_and_leads_back_to_the_map():
    layer, x = TokenSequence(("class_token", "distillation_token")), normal(2, 3, 4, 6).astype("float32")
    y = np.asarray(layer(x))
    first, second, embedding = (np.asarray(weight) for weight in layer.weights)
    np.testing.assert_allclose(y[1, :2], np.stack([first, second]) + embedding[:2], rtol=1e-6)
    there = np.asarray(SequenceToMap()([y, x]))
    np.testing.assert_allclose(there, x + embedding[2:].reshape(3, 4, 6), rtol=1e-5, atol=1e-6)
    parts = [np.asarray(part) for part in SequenceSplit(2)([y, x])]
    for part, expected in zip(parts, (there, y[:, 0], y[:, 1]), strict=True):
        np.testing.assert_array_equal(part, expected)


def test_what_belongs_to_tokens_in_front_stays_when_positions_are_resampled():
    embedding = normal(1 + 4 * 4, 3)
    moved = resample.resample(embedding, ("embedding", None), (4, 4), (6, 8), in_front=1)
    assert moved.shape == (49, 3)
    np.testing.assert_array_equal(moved[0], embedding[0])
    alone = resample.resample(embedding[1:], ("embedding", None), (4, 4), (6, 8))
    np.testing.assert_array_equal(moved[1:], alone)


def test_embeddings_may_be_interpolated_linearly():
    """As PyTorch's `interpolate(mode="bilinear")` does, whose answers these are."""
    column = np.array([0.0, 1.0, 5.0, 2.0])
    larger = resample.resample(column[:, None], ("linear", None), (4, 1), (6, 1))[:, 0]
    np.testing.assert_allclose(larger, [0, 0.5, 5 / 3, 13 / 3, 3.5, 2], rtol=1e-12)
    smaller = resample.resample(column[:, None], ("linear", None), (1, 4), (1, 3))[:, 0]
    np.testing.assert_allclose(smaller, [1 / 6, 3, 2.5], rtol=1e-12)
    for layer in PositionEmbedding("linear"), TokenSequence(interpolation="linear"):
        assert layer.grid_axes == {"embedding": ("linear", None)}
    with pytest.raises(ValueError, match='"cubic" or "linear". Received: \'nearest\''):
        TokenSequence(interpolation="nearest")
    with pytest.raises(ValueError, match='"joint", "separable" or None. Received: \'sine\''):
        TokenSequence(positions="sine")


def test_tables_of_offsets_are_interpolated_to_those_of_the_new_window():
    moved = resample.resample(np.full((7 * 7, 2), 3.0), ("offsets embedding", None), (4, 4), (6, 3))
    assert moved.shape == (11 * 5, 2)
    np.testing.assert_allclose(moved, 3.0)
