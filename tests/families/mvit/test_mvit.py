"""MViT's own layers, what its builders refuse, and weights carried over to other sizes and numbers of frames."""

import golden
import keras
import numpy as np
import pytest
from in_numpy import interpolated

import keras_mlp
from keras_mlp.families.mvit import layers
from keras_mlp.layers import TokenSequence


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


EXAMPLES = {
    TokenSequence: dict(positions="separable"),
    layers.PooledTokens: dict(stride=2),
    layers.PoolingAttention: dict(
        dim=8, heads=2, query_window=(3, 3, 3), query_stride=2, key_window=(1, 5, 5), key_stride=4, relative=True,
        residual=True, qkv_bias=False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("cls", EXAMPLES, ids=lambda cls: cls.__name__)
def test_layers_are_registered_and_survive_their_config(cls):
    layer = cls(**EXAMPLES[cls], name="mine")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is cls and copy.get_config() == layer.get_config()
    like, tokens = normal(2, 3, 5, 8, 1).astype("float32"), normal(2, 1 + 120, 4).astype("float32")
    x = {TokenSequence: like, layers.PooledTokens: [like, tokens]}.get(cls, [tokens, like])
    expected = layer(x)
    copy(x)
    copy.set_weights(layer.get_weights())
    for one, other in zip(keras.tree.flatten(copy(x)), keras.tree.flatten(expected), strict=True):
        np.testing.assert_array_equal(one, other)
    shapes = layer.compute_output_shape([part.shape for part in x] if isinstance(x, list) else x.shape)
    assert shapes == keras.tree.map_structure(lambda tensor: tuple(tensor.shape), expected)


def test_a_sequence_that_was_saved_as_a_layer_of_mvits_own_loads():
    for embedding, interpolation in (("joint", "linear"), ("separable", "cubic"), (None, "cubic")):
        config = dict(name="position", trainable=True, dtype="float32", class_token=True, embedding=embedding)
        written = dict(module="x", class_name="x", config=config, registered_name="keras_mlp>PositionedTokens")
        layer = keras.saving.deserialize_keras_object(written)
        assert type(layer) is TokenSequence and layer.name == "position"
        assert (layer.tokens, layer.interpolation, layer.positions) == (("class_token",), interpolation, embedding)


@pytest.mark.parametrize("sides", [(8, 8), (4, 12), (12, 4), (7, 3), (3, 7), (14, 6), (5, 5)])
def test_offsets_are_those_of_the_authors_formula(sides):
    """Reference: `cal_rel_pos_spatial` of the authors' code, whose quotients are cut off."""
    q, k = sides
    distance = np.arange(q)[:, None] * max(k / q, 1) - np.arange(k) * max(q / k, 1) + (k - 1) * max(q / k, 1)
    found = layers.offsets(q, k)
    np.testing.assert_array_equal(found, np.floor(distance + 1e-9))
    assert found.min() == 0 and found.max() <= 2 * max(q, k) - 2


def test_pooling_keeps_the_largest_of_each_window_and_the_tokens_in_front():
    like, tokens = normal(2, 2, 5, 6, 1), normal(2, 1 + 60, 3)
    pooled, there = (np.asarray(x) for x in layers.PooledTokens(2, dtype="float64")([like, tokens]))
    np.testing.assert_array_equal(pooled[:, :1], tokens[:, :1])
    np.testing.assert_array_equal(pooled[:, 1:], there.reshape(2, -1, 3))
    maps = np.pad(
        tokens[:, 1:].reshape(2, 2, 5, 6, 3), [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf
    )
    for i, j in np.ndindex(3, 3):
        window = maps[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        np.testing.assert_array_equal(there[:, :, i, j], window.max((2, 3)))


@pytest.mark.parametrize("window, stride", [((3, 3, 3), 1), ((1, 3, 3), 2), ((3, 5, 3), 4), ((3, 3), 2), ((9, 9), 8)])
def test_depthwise_convolutions_are_sums_over_windows(window, stride):
    x, kernel = normal(2, *(4, 9, 12)[-len(window) :], 3), normal(*window, 3)
    found = np.asarray(layers.depthwise(x, kernel, stride))
    pads = [(n // 2, n // 2) for n in window]
    padded = np.pad(x, [(0, 0), *pads, (0, 0)])
    assert found.shape[1:-1] == layers.pooled_grid(x.shape[1:-1], window, stride)
    for at in np.ndindex(found.shape[1:-1]):
        start = (*at[:-2], at[-2] * stride, at[-1] * stride)
        part = padded[(slice(None), *(slice(i, i + n) for i, n in zip(start, window, strict=True)))]
        expected = (part * kernel).sum(tuple(range(1, 1 + len(window))))
        np.testing.assert_allclose(found[(slice(None), *at)], expected, atol=1e-12)


@pytest.mark.parametrize("name", ["tiny_v1_video", "tiny_v2_video"])
def test_videos_of_more_frames_and_another_size_take_the_weights_of_fewer(name):
    """Each table is found by its own length: no size that it was trained at has to be told."""
    case = golden.load(f"mvit/{name}.json")
    model = golden.build(case, load=False, input_shape=(10, 96, 96, 3))
    report = keras_mlp.load_checkpoint(model, case.state_dict())
    state = case.state_dict()
    if name == "tiny_v1_video":
        assert report.resampled == ("position/places", "position/frames")
        expected = interpolated(state["pos_embed_temporal"][0], 5)
        found = model.get_layer("position").frames
    else:
        assert len(report.resampled) == 3 * 4
        expected = interpolated(state["blocks.0.attn.rel_pos_h"], 2 * 24 - 1)
        found = model.get_layer("blocks_0_attention").tables[1]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.isfinite(model(np.zeros((1, 10, 96, 96, 3)))).all()


@pytest.mark.parametrize(
    "wrong, said",
    [
        (dict(kernel=4), "`kernel` must be odd, or None. Received: kernel=4"),
        (dict(positions="sine"), r"one of \('relative', 'joint', 'separable'\). Received: positions='sine'"),
        (dict(heads=(1, 5, 4, 8)), "must divide the width. Received: heads=5, dim=192"),
        (dict(input_shape=(None, None, 3)), "static `input_shape`"),
        (dict(depths=(1, 2)), "must have the same length"),
    ],
)
def test_what_cannot_be_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        keras_mlp.MViT(**wrong)


def test_videos_of_an_unknown_number_of_frames_are_refused():
    with pytest.raises(
        ValueError, match=r"frames before the height in a video\). Received: \(None, None, 16, 16, 96\)"
    ):
        keras_mlp.MViTVideo(input_shape=(None, 64, 64, 3))


def test_published_kernels_may_have_an_axis_for_one_frame():
    case = golden.load("mvit/tiny_v2_image.json")
    state = case.state_dict()
    for name, array in state.items():
        if array.ndim == 4:
            state[name] = array[:, :, None]
    model = golden.build(case, load=False)
    keras_mlp.load_checkpoint(model, state)
    assert case.error(model(case.images())) < 1e-4


def test_a_pyramid_ends_each_level_with_its_last_block():
    """Of a model with a class token, too, and of one with its head."""
    case = golden.load("mvit/tiny_v1_video.json")
    model = golden.build(case)
    maps = keras_mlp.feature_pyramid(model)(case.images())
    assert {name: features.shape[1:] for name, features in maps.items()} == {
        "P2": (2, 16, 16, 32),
        "P3": (2, 8, 8, 64),
        "P4": (2, 4, 4, 64),
    }
    tokens = keras.Model(model.input, model.get_layer("blocks_0_add2").output)(case.images())
    np.testing.assert_array_equal(np.asarray(maps["P2"]).reshape(2, -1, 32), np.asarray(tokens)[:, 1:])
    plain = keras_mlp.feature_pyramid(model, final_norm=False)(case.images())["P4"]
    normal = model.get_layer("norm")(np.asarray(plain))
    np.testing.assert_allclose(normal, maps["P4"], rtol=1e-5, atol=1e-5)
