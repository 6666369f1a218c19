"""GC ViT: windows of a fixed size, as the authors' backbone for detection has, and what belongs to images."""

import golden
import keras
import numpy as np
import pytest
from tasks.reference import sampled

import keras_mlp
from keras_mlp.checkpoints import resample
from keras_mlp.families.gc_vit.attention import GlobalQueryAttention, SqueezeExcitation, WindowAttention
from keras_mlp.layers import Affine, LayerNormalization, PaddedMaxPooling


def test_the_backbone_for_detection_computes_like_the_reference():
    keras.config.set_dtype_policy("float64")
    case = golden.load("gcvit/tiny_features_detection.json")
    assert case.error(golden.compute(case)["logits"]) < 1e-6


def test_the_backbone_for_detection_takes_images_of_unknown_size():
    case = golden.load("gcvit/tiny_features_detection.json")
    model = golden.reference("gcvit").features(case, input_shape=(None, None, 3))
    assert sum(variable.size for variable in map(np.asarray, model.trainable_variables)) == case.num_params
    assert case.error(sampled(case, model(case.images()))) < 1e-4


def attention(layer, x, query=None):
    """What a layer answers, position by position, from its definition; `x` is one map."""
    (table, w, b, w_out, b_out), (rows, columns) = layer.get_weights(), layer.grid
    missing = (-x.shape[0] % rows, -x.shape[1] % columns)
    padded = np.pad(x, ((0, missing[0]), (0, missing[1]), (0, 0)))
    answer, heads = np.zeros_like(padded), layer.heads
    places = [*np.ndindex(rows, columns)]
    for top in range(0, padded.shape[0], rows):
        for left in range(0, padded.shape[1], columns):
            *q, k, v = np.split(padded[top : top + rows, left : left + columns] @ w + b, len(w[0]) // len(w), axis=-1)
            q = q[0] if q else query
            q, k, v = (part.reshape(rows, columns, heads, -1) for part in (q, k, v))
            for i, head in np.ndindex(len(places), heads):
                offsets = [(places[i][0] - r + rows - 1, places[i][1] - c + columns - 1) for r, c in places]
                scores = [q[places[i]][head] @ k[place][head] * k.shape[-1] ** -0.5 for place in places]
                scores += table[[down * (2 * columns - 1) + right for down, right in offsets], head]
                shares = np.exp(scores) / np.exp(scores).sum()
                seen = sum(share * v[place][head] for share, place in zip(shares, places, strict=True))
                depth = k.shape[-1]
                answer[top + places[i][0], left + places[i][1], head * depth : (head + 1) * depth] = seen
    return (answer @ w_out + b_out)[: x.shape[0], : x.shape[1]]


def randomise(layer):
    draw = np.random.RandomState(0)
    layer.set_weights([draw.standard_normal(weight.shape) for weight in layer.get_weights()])


cuts = pytest.mark.parametrize(
    "cut, size", [(dict(parts=2), (2, 3)), (dict(window=(2, 3)), (2, 3)), (dict(window=4), (4, 4))]
)


@cuts
def test_attention_in_windows_is_its_equation(cut, size):
    layer, x = WindowAttention(2, **cut, dtype="float64"), np.random.RandomState(1).standard_normal((2, 4, 6, 4))
    layer(x)
    randomise(layer)
    assert layer.grid == size
    np.testing.assert_allclose(layer(x), [attention(layer, image) for image in x], atol=1e-12)


@cuts
def test_every_window_of_an_image_has_the_queries_of_that_image(cut, size):
    """Not those of the batch in turn, which is the same for one image only."""
    layer = GlobalQueryAttention(2, **cut, dtype="float64")
    x, queries = (np.random.RandomState(1).standard_normal((2, *sides, 4)) for sides in ((4, 6), size))
    layer([x, queries])
    randomise(layer)
    expected = [attention(layer, image, query) for image, query in zip(x, queries, strict=True)]
    np.testing.assert_allclose(layer([x, queries]), expected, atol=1e-12)


def test_windows_of_the_size_that_they_have_anyway_change_nothing():
    case = golden.load("gcvit/tiny.json")
    model = golden.build(case, windows=(2, 2, 4, 2), query_halvings=(3, 2, 0, 0))
    assert case.error(model(case.images())) < 1e-4


@pytest.mark.parametrize("told", [None, (64, 64)], ids=["", "told the size of the images"])
def test_tables_of_a_checkpoint_are_interpolated_to_other_windows(told):
    """What the images' size was matters only where windows are parts of them."""
    case = golden.load("gcvit/tiny.json")
    builder, arguments = golden.arguments(case)
    model = builder(**arguments | dict(input_shape=(None, None, 3)), windows=(4, 4, 4, 4), include_top=False)
    report = keras_mlp.load_checkpoint(model, case.state_dict(), input_size=told)
    assert set(report.resampled) == {f"stages_{stage}_{i}_token_mixing/table" for stage in (0, 1, 3) for i in (0, 1)}
    table = case.state_dict()["levels.1.blocks.1.attn.relative_position_bias_table"]
    expected = resample.resample(table, ("offsets embedding", None), (2, 2), (4, 4))
    np.testing.assert_allclose(model.get_layer("stages_1_1_token_mixing").table, expected, atol=1e-6)


@pytest.mark.slow
def test_published_builders_take_images_of_any_size_with_windows_of_one():
    model = keras_mlp.GCViTXXTiny(weights=None, include_top=False, windows=(24,) * 4, input_shape=(None, None, 3))
    pyramid = keras_mlp.feature_pyramid(model)
    assert {name: tensor.shape[-1] for name, tensor in pyramid.output.items()} == {
        "P2": 64,
        "P3": 128,
        "P4": 256,
        "P5": 512,
    }
    assert len([layer for layer in model.layers if isinstance(layer, PaddedMaxPooling)]) == 3 + 2 + 1


@pytest.mark.parametrize("ratios", [(32, 32, 16, 24), (24, 32, 16, 32), (2, 32, 16, 32)])
def test_windows_that_are_no_half_quarter_or_such_of_a_map_are_refused(ratios):
    with pytest.raises(ValueError, match=r"\[4, 8, 16, 32\], or that times a power of two. Received: window_ratios=\("):
        keras_mlp.GCViT(window_ratios=ratios)


def test_attention_says_what_does_not_fit():
    x = np.zeros((1, 4, 6, 4), "float32")
    for wrong in ({}, dict(parts=2, window=2)):
        with pytest.raises(ValueError, match="`parts` or `window`, and not both"):
            WindowAttention(2, **wrong)
    with pytest.raises(ValueError, match="heads=3, 4 channels"):
        WindowAttention(3, parts=2)(x)
    with pytest.raises(ValueError, match="Received: height=4. The nearest that work: 3 and 6"):
        WindowAttention(2, parts=3)(x)
    with pytest.raises(ValueError, match="known height, width"):
        WindowAttention(2, parts=2)(keras.Input((None, None, 4)))
    with pytest.raises(ValueError, match=r"size of a window, \(2, 3\).*Received: queries of shape \(1, 4, 6, 4\)"):
        GlobalQueryAttention(2, parts=2)([x, x])


def test_squeeze_and_excitation_is_its_equation():
    layer, x = (
        SqueezeExcitation(3, "relu", dtype="float64"),
        np.random.RandomState(1).standard_normal((2, 4, 6, 5)),
    )
    layer(x)
    randomise(layer)
    w1, w2 = layer.get_weights()
    weights = 1 / (1 + np.exp(-np.maximum(x.mean((1, 2)) @ w1, 0) @ w2))
    np.testing.assert_allclose(layer(x), x * weights[:, None, None], atol=1e-12)


@pytest.mark.parametrize("which", ["map", "queries"])
def test_a_scale_of_the_map_goes_into_attention_and_one_of_the_queries_does_not(which):
    """The queries are multiplied by nothing that could take it up."""
    source = keras.Input((4, 4, 4), dtype="float64")
    queries, scaled = PaddedMaxPooling(dtype="float64")(source), Affine(dtype="float64")
    inputs = [scaled(source), queries] if which == "map" else [source, scaled(queries)]
    model = keras.Model(source, GlobalQueryAttention(2, parts=2, dtype="float64")(inputs))
    draw = np.random.RandomState(0)
    for weight in model.weights:
        weight.assign(draw.standard_normal(weight.shape))
    fused = keras_mlp.fuse(model)
    assert any(isinstance(layer, Affine) for layer in fused.layers) == (which == "queries")
    x = draw.standard_normal((2, 4, 4, 4))
    np.testing.assert_allclose(fused(x), model(x), atol=1e-12)


@pytest.mark.parametrize("cut, taken_in", [(dict(parts=2), True), (dict(window=4), False)])
def test_attention_takes_in_the_shift_of_a_norm_unless_zeros_continue_the_map(cut, taken_in):
    source = keras.Input((4, 6, 4), dtype="float64")
    norm = LayerNormalization(epsilon=1e-5, dtype="float64")
    model = keras.Model(source, WindowAttention(2, **cut, dtype="float64")(norm(source)))
    draw = np.random.RandomState(0)
    for weight in model.weights:
        weight.assign(draw.standard_normal(weight.shape))
    fused = keras_mlp.fuse(model)
    assert (not fused.layers[1].weights) == taken_in
    x = draw.standard_normal((2, 4, 6, 4))
    np.testing.assert_allclose(fused(x), model(x), atol=1e-12)
