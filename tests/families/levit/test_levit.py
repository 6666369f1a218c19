"""What only LeViT has: numbers for distances, Facebook's numbering, two heads, batch norms that go away."""

import golden
import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.checkpoints import resample
from keras_mlp.families import levit

TINY = golden.load("levit/tiny.json")
SMALL = golden.reference("levit").DIGITS["levit"] | {"input_shape": (16, 16, 3), "classes": 4}


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


@pytest.mark.parametrize("strides", [1, 2, 3])
def test_attention_is_its_equation_with_a_number_for_each_distance(strides):
    """Position by position and head by head, on an oblong grid that the strides do not divide."""
    heads, key_dim, values, (height, width) = 2, 3, 5, (5, 4)
    before = key_dim * (2 if strides == 1 else 1)
    x = normal(2, height, width, heads * (before + values))
    asking = normal(2, -(-height // strides), -(-width // strides), heads * key_dim)
    layer = levit.DistanceAttention(heads, key_dim, strides, dtype="float64")
    inputs = x if strides == 1 else [asking, x]
    shape = np.asarray(layer(inputs)).shape
    layer.attention_biases.assign(table := normal(heads, height * width))
    y = np.asarray(layer(inputs))
    assert y.shape == shape == layer.compute_output_shape(x.shape if strides == 1 else [asking.shape, x.shape])
    of_heads = x.reshape(2, height, width, heads, -1)
    queries = of_heads[..., :key_dim] if strides == 1 else asking.reshape(*asking.shape[:3], heads, key_dim)
    keys, v = of_heads[..., before - key_dim : before], of_heads[..., before:]
    for h in range(heads):
        for row, column in np.ndindex(*shape[1:3]):
            scores = np.einsum("bd,byxd->byx", queries[:, row, column, h], keys[..., h, :]) / key_dim**0.5
            away = np.abs(np.indices((height, width)) - np.reshape([row * strides, column * strides], (2, 1, 1)))
            weights = np.exp(scores + table[h].reshape(height, width)[tuple(away)])
            expected = np.einsum("byx,byxd->bd", weights, v[..., h, :]) / weights.sum((1, 2))[:, None]
            np.testing.assert_allclose(y[:, row, column].reshape(2, heads, -1)[:, h], expected, rtol=1e-9)


def test_distances_are_interpolated_as_offsets_with_the_same_number_on_both_sides():
    axes, old, new = ("distances embedding", None), (4, 5), (7, 3)
    table = normal(4, 5, 2)
    both = [np.abs(np.arange(-n + 1, n)) for n in old]
    offsets = resample.resample(table[np.ix_(*both)].reshape(-1, 2), ("offsets embedding", None), old, new)
    expected = offsets.reshape(13, 5, 2)[6:, 2:].reshape(-1, 2)
    np.testing.assert_allclose(resample.resample(table.reshape(-1, 2), axes, old, new), expected, atol=1e-12)
    np.testing.assert_array_equal(resample.resample(table.reshape(-1, 2), axes, old, old), table.reshape(-1, 2))


def test_blocks_of_facebook_are_counted_where_there_is_no_mlp():
    """Attention alone in the first stage, and none between the stages."""
    names = [f"blocks.{i}.{part}.c.weight" for i, part in enumerate(["m.qkv", "m.qkv", "kv", "m.qkv", "m.0"])]
    assert list(levit._as_timm(names).values()) == [
        "stages.0.blocks.0.attn.qkv.linear.weight",
        "stages.0.blocks.1.attn.qkv.linear.weight",
        "stages.1.downsample.attn_downsample.kv.linear.weight",
        "stages.1.blocks.0.attn.qkv.linear.weight",
        "stages.1.blocks.0.mlp.ln1.linear.weight",
    ]


def test_fusion_leaves_no_batch_norm_and_one_head():
    model = golden.build(TINY)
    fused = keras_mlp.fuse(model)
    kinds = [[type(layer).__name__ for layer in one.layers] for one in (model, fused)]
    assert kinds[0].count("BatchNormalization") == 28 and not {"BatchNormalization", "Average"} & set(kinds[1])
    assert TINY.error(fused(TINY.images())) < 1e-4


def test_a_model_has_both_heads_that_were_trained_apart():
    """Labels teach one, a teacher the other, in one step after the other; a plain model has both."""
    keras.utils.set_random_seed(0)
    apart = keras_mlp.LeViT(**SMALL, heads_apart=True, classifier_activation=None, include_preprocessing=False)
    images, labels = normal(8, 16, 16, 3).astype("float32"), np.arange(8) % 4
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses, targets = {"head": loss, "head_dist": loss}, {"head": labels, "head_dist": (labels + 1) % 4}
    apart.compile(keras.optimizers.Adam(3e-3), losses, run_eagerly=True)  # tracing takes longer than twelve steps
    history = apart.fit(images, targets, epochs=12, verbose=0).history
    assert all(history[f"{name}_loss"][-1] < 0.5 * history[f"{name}_loss"][0] for name in targets)
    together = keras_mlp.LeViT(**SMALL, classifier_activation=None, include_preprocessing=False)
    together.set_weights(apart.get_weights())
    logits = apart(images)
    np.testing.assert_allclose(together(images), (logits["head"] + logits["head_dist"]) / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (dict(patch_size=12), "`patch_size` must be 2, 4, 8.*patch_size=12"),
        (dict(patch_size=16, dims=(28, 48)), r"divide the first width.*dims\[0\]=28"),
        (dict(downs=((4, 8, 4, 2, 2), (4, 8, 4, 2, 2))), "each of the 1 steps between stages"),
        (dict(downs=((4, 8, 4, 2, 1),)), "strides of at least 2"),
        (dict(distilled=False, heads_apart=True), "needs two heads"),
    ],
)
def test_wrong_arguments_are_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        keras_mlp.LeViT(**SMALL | wrong)


def test_attention_refuses_maps_of_other_channels_and_queries_of_another_place():
    with pytest.raises(ValueError, match="same for each head and more than 6. Received: heads=2, key_dim=3, 12"):
        levit.DistanceAttention(2, 3)(normal(1, 4, 4, 12))
    with pytest.raises(ValueError, match=r"must be \(2, 2, 6\). Received: \(2, 3, 6\)"):
        levit.DistanceAttention(2, 3, 2)([normal(1, 2, 3, 6), normal(1, 4, 4, 12)])
