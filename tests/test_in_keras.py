"""What users of Keras and of other zoos do with a model in hand: adapters, another head, maps of its blocks."""

import golden
import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp import adapters, export, names
from keras_mlp.heads import FIRST, SECOND
from keras_mlp.layers import HeldProduct
from keras_mlp.zoo import FAMILIES

CASES = [golden.small(name) for name in sorted(FAMILIES)]
MORE = [golden.load(f"{key}.json") for key in ("posmlp/tiny_sgu_chunks3", "repmlpnet/tiny_deploy")]
"""Cases of layers that no family's small configuration has."""
few = pytest.mark.parametrize("case", golden.chosen(CASES, ("mlp_mixer", "sparse_mlp", "levit"), *golden.HUGE))
STACKED = ("sparse_mlp", "dyna_mixer", "repmlpnet/tiny", "posmlp/tiny_sgu_chunks3")
stacked = pytest.mark.parametrize("case", golden.chosen(CASES + MORE, STACKED, *golden.HUGE))
NORMED = {"deit", "feed_forward", "vit"}
"""Families that norm the sequence before it becomes a map: their pyramid has the norm of what leaves the last block."""


def answer(model, case):
    return np.asarray(model(case.images()))


def near(one, other, limit=1e-5):
    return np.abs(one - other).max() < limit * other.std()


def held(model):
    return [layer for layer in model._flatten_layers() if isinstance(layer, HeldProduct)]


@few
def test_every_block_gives_its_map_by_number_and_a_fresh_head_leaves_the_rest(case):
    model = golden.build(case)
    places = filter(None, (names.parse(layer.name) for layer in model.layers))
    blocks = {place.numbers for place in places if place.part == "block"}
    maps = keras_mlp.features(model, blocks=range(len(blocks)), layers=model.layers[1].name)(case.images())
    assert list(maps) == [*(f"block_{i}" for i in range(len(blocks))), model.layers[1].name]
    rank = len(case.input_shape)
    assert all(len(tensor.shape) == rank for name, tensor in maps.items() if name.startswith("block_"))
    last = maps[f"block_{len(blocks) - 1}"]
    normed = golden.family(case) in NORMED
    *_, expected = keras_mlp.pyramid.pyramid_of(model, final_norm=normed)(case.images()).values()
    np.testing.assert_allclose(model.get_layer("norm")(last) if normed else last, expected, atol=1e-6)
    one = keras_mlp.features(model, blocks=-1)
    assert one.name == f"{model.name}_features"
    np.testing.assert_array_equal(one(case.images())[f"block_{len(blocks) - 1}"], last)

    for given in model, keras.Sequential([keras.Input(case.input_shape[1:]), keras.layers.Identity(), model]):
        fresh = keras_mlp.replace_head(given, 7)
        assert fresh.name == given.name and fresh.output_shape == (None, 7)
        assert not np.any(fresh(case.images())), "it begins at zero"
        inside = fresh if given is model else fresh.layers[-1]
        heads = [layer for layer in inside.layers if names.local(layer.name) in (FIRST, SECOND)]
        olds = [layer for layer in model.layers if names.local(layer.name) in (FIRST, SECOND)]
        assert [layer.name for layer in heads] == [layer.name for layer in olds]
        for new, old in zip(heads, olds, strict=True):
            new.kernel.assign(np.asarray(old.kernel)[:, : case.logits.shape[1]][:, :1].repeat(7, axis=1))
            if old.use_bias:
                new.bias.assign(np.asarray(old.bias)[:1].repeat(7))
        assert near(np.asarray(fresh(case.images())), answer(model, case)[:, :1].repeat(7, axis=1))
    assert case.error(answer(model, case)) < 1e-3, "the model is as it was"


def test_features_say_what_blocks_and_layers_there_are():
    model = golden.build(golden.load("mlp_mixer/tiny.json"), load=False)
    with pytest.raises(ValueError, match=r"from -2 to 1, because the model has 2 blocks. Received: blocks=\(2,\)"):
        keras_mlp.features(model, blocks=[2])
    with pytest.raises(ValueError, match=r"no layer 'block_0_norm1'. Near it are: 'blocks_0_norm1'"):
        keras_mlp.features(model, layers=["block_0_norm1"])
    with pytest.raises(ValueError, match="Give the numbers of `blocks`"):
        keras_mlp.features(model)
    with pytest.raises(ValueError, match="'headless' has none: build it with `include_top=True`"):
        keras_mlp.replace_head(keras_mlp.MLPMixer(4, 8, 1, include_top=False, name="headless"), 3)
    with pytest.raises(ValueError, match="`classes` must be a positive integer. Received: classes=0"):
        keras_mlp.replace_head(model, 0)


def test_a_model_without_dense_layers_gets_no_adapters():
    image = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.layers.Dense(2, name="head")(pooled))
    with pytest.raises(ValueError, match="has no dense layer beside its classifier"):
        keras_mlp.enable_lora(model, rank=2)


@few
def test_adapters_are_trained_merged_saved_and_exported(case, tmp_path):
    model, images = golden.build(case), case.images()
    before = {path: np.array(variable) for path, variable in weights(model).items()}
    keras_mlp.enable_lora(model, rank=2, lora_alpha=3)
    assert near(answer(model, case), case.logits, 1e-3)
    with pytest.raises(ValueError, match="has adapters already"):
        keras_mlp.enable_lora(model, rank=2)
    kinds = {path.rpartition("/")[2].rpartition("lora_")[2] for path in map(_path, model.trainable_variables)}
    assert {"kernel_a", "kernel_b"} <= kinds
    model.compile(keras.optimizers.SGD(1e-2), "mse", run_eagerly=True)
    model.fit(images, np.ones(case.logits.shape), verbose=0)
    moved = {path for path, variable in weights(model).items() if not np.array_equal(before.get(path, 0), variable)}
    trained = {variable.path for variable in model.trainable_variables}
    assert moved <= trained and any("lora" in path for path in moved)

    for layer in model._flatten_layers():
        if adapters.is_adapted(layer):
            layer.lora_kernel_b.assign(golden.tensor(layer.path, layer.lora_kernel_b.shape) / 4)
    expected = answer(model, case)
    assert not near(expected, case.logits, 1e-2)
    merged = keras_mlp.merge_lora(model)
    assert not any(map(adapters.is_adapted, merged._flatten_layers()))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    scales = {(layer.lora_rank, layer.lora_alpha) for layer in loaded._flatten_layers() if adapters.is_adapted(layer)}
    assert scales == {(2, 3)}
    keras_mlp.save_checkpoint(model, tmp_path / "model.safetensors")
    plain = golden.build(case, load=False)
    keras_mlp.load_checkpoint(plain, tmp_path / "model.safetensors")
    for copy in merged, loaded, plain:
        assert near(answer(copy, case), expected, 1e-4)
    if case.family == "mlp_mixer":
        file = export.to_tflite(model, tmp_path / "model.tflite", verify_with=images)
        assert near(export.Runner(file.path)(images[:1]), expected[:1], 1e-3)


@stacked
@pytest.mark.parametrize(
    "mode, limit",
    [("int8", 0.3), pytest.param("int4", 3, marks=golden.HUGE), pytest.param("float8", 1, marks=golden.HUGE)],
)
def test_products_that_layers_hold_themselves_are_quantised(case, mode, limit, tmp_path):
    """Every dense layer is; in the cases of `STACKED` the kernels of several networks are in one array."""
    model = golden.build(case)
    expected, order = answer(model, case), [variable.path for variable in model.weights]
    assert held(model) or not {case.key, golden.family(case)} & set(STACKED)
    assert not any(layer.weights for layer in held(model)), "the layers around them hold the kernels"
    model.quantize(mode)
    assert {layer.quantization_mode for layer in held(model)} <= {mode}
    quantised = answer(model, case)
    assert 0 < np.abs(quantised - expected).max() < limit * expected.std()
    assert set(order) <= {variable.path for variable in model.weights}
    model.save(tmp_path / "model.keras")
    assert near(answer(keras.models.load_model(tmp_path / "model.keras"), case), quantised)


def test_preprocess_input_does_what_the_model_does_with_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    inside = keras_mlp.ResMLP12(weights=None, input_shape=(32, 32, 3))
    outside = keras_mlp.ResMLP12(weights=None, input_shape=(32, 32, 3), include_preprocessing=False)
    outside.set_weights(inside.get_weights())
    assert keras_mlp.preprocess_input(pixels, inside) is pixels
    for named in outside, "res_mlp_12":
        given = keras_mlp.preprocess_input(pixels, named)
        np.testing.assert_allclose(outside(given), inside(pixels), atol=1e-6)
    assert keras_mlp.preprocess_input(pixels, "res_mlp").shape == pixels.shape
    with pytest.raises(ValueError, match="was given the name 'mine'"):
        keras_mlp.preprocess_input(pixels, keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)], name="mine"))
    with pytest.raises(ValueError, match="there are the weights: .*Received: weights='imagnet'"):
        keras_mlp.preprocess_input(pixels, "res_mlp_12", weights="imagnet")


def weights(model):
    return {variable.path: variable for variable in model.weights}


def _path(variable):
    return variable.path
