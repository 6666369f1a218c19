"""ViT: other files and other readers of the same encoder."""

import json

import golden
import keras
import numpy as np
import pytest

import keras_mlp


@pytest.fixture
def double():
    keras.config.set_dtype_policy("float64")


def test_heads_of_queries_keys_and_values_are_joined_from_what_flax_names_today_too():
    case = golden.load("vit/tiny_npz.json")
    today = {"LayerNorm_2": "LayerNorm_1", "MlpBlock_3": "MlpBlock_0", "Attention_1": "Attention_0"}
    state = {}
    for name, value in case.state_dict().items():
        for old, new in today.items():
            name = name.replace(old, new)
        state[name] = value
    model = golden.build(case, load=False)
    keras_mlp.load_checkpoint(model, state)
    assert case.error(model(case.images())) < 1e-5
    del state["Transformer/encoderblock_1/MultiHeadDotProductAttention_0/key/bias"]
    with pytest.raises(ValueError, match="blocks_1_attention/qkv/bias' is made of 3 tensors.*query/bias"):
        keras_mlp.load_checkpoint(model, state)


def test_a_model_without_a_head_leaves_that_of_old_files_aside():
    """They have a layer more in it."""
    case = golden.load("vit/tiny_npz.json")
    builder, arguments = golden.arguments(case)
    state = case.state_dict() | {"pre_logits/kernel": np.ones((32, 32), "float32"), "pre_logits/bias": np.ones(32)}
    model = builder(**arguments, include_top=False)
    report = keras_mlp.load_checkpoint(model, state)
    assert {name.partition("/")[0] for name in report.ignored} == {"head", "head_pre_logits"}
    with pytest.raises(ValueError, match="Left over.*head_pre_logits"):
        keras_mlp.load_checkpoint(golden.build(case), state)


def test_a_backbone_without_a_class_token_leaves_that_of_a_checkpoint_aside():
    """As SETR's encoder for MLA begins with the weights of a classifier."""
    case = golden.load("vit/tiny_npz.json")
    builder, arguments = golden.arguments(case)
    state = case.state_dict()
    model = builder(**arguments | {"class_token": False}, include_top=False)
    report = keras_mlp.load_checkpoint(model, state)
    assert {"position/class_token", "head/kernel"} <= set(report.ignored)
    embedding = state["Transformer/posembed_input/pos_embedding"][0]
    np.testing.assert_array_equal(model.get_layer("position").get_weights()[0], embedding[1:])
    with pytest.raises(ValueError, match="Left over.*position/class_token"):
        keras_mlp.load_checkpoint(builder(**arguments | {"class_token": False}), state)


def segmentor(name):
    """A case of SETR: its tensors, and `(shape, sampled map)` of each of its maps for each image."""
    case = golden.Case(json.loads((golden.ROOT / "vit" / f"_setr_{name}.json").read_text()))
    sizes = [
        [-(-(n - o) // s) for n, o, s in zip(m["shape"][:2], m["offset"], m["stride"], strict=True)]
        for m in case.outputs
    ]
    ends = np.cumsum([h * w * m["shape"][2] for (h, w), m in zip(sizes, case.outputs, strict=True)])[:-1]
    maps = [
        part.reshape(len(part), *size, -1) for part, size in zip(np.split(case.logits, ends, 1), sizes, strict=True)
    ]
    return case, maps


def naive_head(tokens, state, prefix, side):
    """SETR-Naive's head in NumPy, up to the classes, and Keras' bilinear resize."""
    x = tokens - tokens.mean(-1, keepdims=True)
    x = (
        x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * state[f"{prefix}.norm.weight"]
        + state[f"{prefix}.norm.bias"]
    )
    x = x @ state[f"{prefix}.conv_0.weight"][:, :, 0, 0].T + state[f"{prefix}.conv_0.bias"]
    norm = f"{prefix}.syncbn_fc_0"
    x = (x - state[f"{norm}.running_mean"]) / np.sqrt(state[f"{norm}.running_var"] + 1e-5)
    x = np.maximum(x * state[f"{norm}.weight"] + state[f"{norm}.bias"], 0)
    x = x @ state[f"{prefix}.conv_1.weight"][:, :, 0, 0].T + state[f"{prefix}.conv_1.bias"]
    return np.asarray(keras.ops.image.resize(x.reshape(len(x), 4, 4, -1), (side, side), antialias=False))


def test_blocks_of_the_encoder_are_those_that_setr_reads(double):
    """Each of its heads takes another block, and the published file holds the heads beside the encoder."""
    case, maps = segmentor("tiny_naive")
    config, state = case.config["backbone"], {k: v.astype("float64") for k, v in case.state_dict().items()}
    model = keras_mlp.ViT(
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depth=config["depth"],
        heads=config["num_heads"],
        final_norm=False,
        include_top=False,
        include_preprocessing=False,
        input_shape=(64, 64, 3),
    )
    report = keras_mlp.load_checkpoint(model, state, key="backbone")
    assert report.layout == "vit/timm" and not report.ignored
    heads = [case.config["decode_head"], *case.config["auxiliary_head"]]
    blocks = keras.Model(model.input, [model.get_layer(f"blocks_{head['in_index']}_add2").output for head in heads])
    for tokens, output, expected in zip(blocks(case.images()), case.outputs, maps, strict=True):
        logits = naive_head(np.asarray(tokens)[:, 1:], state, output["name"], 64)
        (top, left), (down, right) = output["offset"], output["stride"]
        assert np.abs(logits[:, top::down, left::right] - expected).max() < 1e-6 * expected.std()
    last = np.asarray(blocks(case.images())[0])[:, 1:]
    np.testing.assert_allclose(model(case.images()), last.reshape(2, 4, 4, -1), atol=1e-12)


def test_the_default_weights_are_the_best_for_images_of_the_default_size():
    weights = keras_mlp.model_card("vit_b16").weights
    assert weights["imagenet"] is weights["imagenet21k_1k"]
    assert weights["imagenet21k_1k_384"].top1 > weights["imagenet"].top1
    assert keras_mlp.ViTB16.__doc__.count("imagenet21k_1k_384")
