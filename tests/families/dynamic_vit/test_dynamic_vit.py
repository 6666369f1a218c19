"""DynamicViT: what is chosen, the training form, and what becomes of tokens that were dropped."""

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mlp
from keras_mlp.analysis import cost
from keras_mlp.checkpoints import naming
from keras_mlp.training import recipes

KINDS = ("deit", "lvvit", "convnext", "swin")
SMALL = dict(patch_size=4, dims=(8,), depths=(3,), heads=(2,), pruning=(1, 2), input_shape=(16, 16, 3), classes=3)


def choices(model):
    return [layer for layer in model.layers if layer.name.endswith("_choice")]


def without_noise(model):
    """The model whose decisions in training are those of the larger score, its statistics at rest."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    for layer in choices(model):
        layer.noise = False
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_the_training_form_decides_and_computes_like_the_reference(kind):
    """Masks, policy attention and both streams, with the decisions of each stage and what they come to in the end."""
    keras.config.set_dtype_policy("float64")
    case = golden.load(f"dynamic_vit/_train_tiny_{kind}.json")
    model = golden.build(case)
    assert sum(variable.size for variable in map(np.asarray, model.trainable_variables)) == case.num_params
    without_noise(model)
    sequences = kind in ("deit", "lvvit")
    outputs = {i: layer.output[1 if sequences else 2] for i, layer in enumerate(choices(model))}
    outputs["logits"] = model.get_layer("head").output
    outputs["features"] = {
        "deit": lambda: model.get_layer("map").output[0],
        "lvvit": lambda: model.get_layer("head_auxiliary").output,
        "convnext": lambda: model.get_layer("head_norm")(model.get_layer("avg_pool").input),
        "swin": lambda: model.get_layer("norm").output,
    }[kind]()
    found = keras.Model(model.input, outputs)(case.images(), training=True)
    assert case.error(found.pop("logits")) < 1e-6
    features = np.asarray(found.pop("features"))
    batch, *positions, channels = case.features_shape
    assert (features.size, features.shape[-1]) == (batch * np.prod(positions) * channels, channels)
    means, wanted = features.mean(tuple(range(1, features.ndim - 1))), np.asarray(case.features_token_mean)
    np.testing.assert_allclose(means, wanted, atol=1e-6 * wanted.std())
    for i, mask in found.items():
        kept = np.asarray(mask).reshape(len(mask), -1)[:, 1 if sequences else 0 :]
        np.testing.assert_array_equal(np.round(kept), case.keep[i])
    rates = case.config.get("token_ratio") or case.config["sparse_ratio"]
    weight = 2 if sequences else 10
    lost = sum(np.mean((np.mean(keep, 1) - rate) ** 2) for keep, rate in zip(case.keep, rates, strict=True))
    np.testing.assert_allclose(float(sum(model.losses)), weight * lost / len(rates), rtol=1e-6)


def test_draws_keep_a_token_as_often_as_its_score_says():
    keras.utils.set_random_seed(0)
    layer = keras_mlp.families.dynamic_vit.choices.ChoosePositions(ratio=0.5)
    scores = np.log(np.broadcast_to(np.array([0.8, 0.2], "float32"), (4, 50, 50, 2)))
    mask = np.asarray(layer(scores, training=True)[2])
    assert set(np.unique(np.round(mask, 5))) == {0.0, 1.0}
    assert abs(mask.mean() - 0.8) < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_tokens_go_on_as_in_the_reference(kind):
    case = golden.load(f"dynamic_vit/tiny_{kind}.json")
    model = golden.build(case, load=False)
    if kind in ("deit", "lvvit"):
        found = [layer.output[0].shape[1] - 1 for layer in choices(model)]
    else:
        paths = [layer for layer in model.layers if layer.name.endswith("_split")]
        found = [layer.output[0].shape[1] for layer in paths]
    assert found == case.config["kept_tokens"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "swin" else pytest.mark.huge) for kind in KINDS]
)
def test_every_kind_compiles_with_xla(kind):
    """The family's own case in the behaviour suite is of one kind alone."""
    case = golden.load(f"dynamic_vit/tiny_{kind}.json")
    model = golden.build(case)
    compiled = tf.function(lambda x: model(x, training=False), jit_compile=True)
    assert case.error(compiled(case.images())) < 1e-4


def test_a_dropped_token_stays_in_its_place_with_the_value_that_it_had():
    case = golden.load("dynamic_vit/tiny_deit.json")
    model = golden.build(case)
    first = choices(model)[0]
    outputs = [model.get_layer("map").output[0], model.get_layer("blocks_0_add2").output, first.output[2]]
    map_, before, places = (np.asarray(x) for x in keras.Model(model.input, outputs)(case.images()))
    normed = np.asarray(model.get_layer("norm")(before))[:, 1:]
    flat = map_.reshape(2, 196, -1)
    for image in range(2):
        dropped, kept = places[image, 137:], places[image, :67]
        np.testing.assert_allclose(flat[image, dropped], normed[image, dropped], atol=1e-5)
        assert np.abs(flat[image, kept] - normed[image, kept]).max(-1).min() > 0.01
    assert sorted(places[0]) == list(range(196))


def test_weights_fit_every_rate():
    case = golden.load("dynamic_vit/tiny_deit.json")
    builder, arguments = golden.arguments(case)
    models = [builder(**arguments | {"keep_rate": rate}, classes=10) for rate in (0.5, 0.9)]
    for model in models:
        keras_mlp.load_checkpoint(model, case.state_dict(), family="dynamic_vit")
    kept = [[layer.output[0].shape[1] - 1 for layer in choices(model)] for model in models]
    assert kept == [[98, 49, 24], [176, 158, 142]]


@pytest.mark.parametrize("kind", KINDS)
def test_without_choices_it_is_its_backbone(kind):
    """Of DeiT and ConvNeXt the family's own model; and all have less to compute with choices."""
    case = golden.load(f"dynamic_vit/tiny_{kind}.json")
    builder, arguments = golden.arguments(case)
    plain = arguments | dict(pruning=(), keep_rate=0.7, classes=10, classifier_activation=None)
    model = builder(**plain)
    assert cost(model).macs > cost(golden.build(case, load=False)).macs
    new = ("score_predictor", "fast_path", "fastmlp", "_gamma")
    state = {name: array for name, array in case.state_dict().items() if not any(part in name for part in new)}
    assert not keras_mlp.load_checkpoint(model, state).fresh
    if kind in ("lvvit", "swin"):
        return
    sizes = {name: plain[name] for name in ("patch_size", "input_shape", "include_preprocessing", "classes")}
    if kind == "deit":
        own = keras_mlp.DeiT(dim=plain["dims"][0], depth=plain["depths"][0], heads=plain["heads"][0], **sizes)
    else:
        own = keras_mlp.ConvNeXt(dims=plain["dims"], depths=plain["depths"], **sizes)
    named = naming.named_variables(own)
    for name, (_, variable) in naming.named_variables(model).items():
        named.pop(name)[1].assign(variable)
    assert not named
    expected = keras.ops.softmax(model(case.images()))
    np.testing.assert_allclose(own(case.images()), expected, atol=1e-6)


@pytest.mark.parametrize(
    "kind, variant, factor",
    [("deit", "deit_s", 0.01), ("lvvit", "lvvit_s", 0.01), ("convnext", "convnext_t", 0.2), ("swin", "swin_t", 0.2)],
)
def test_the_backbone_learns_slowly_and_later_than_what_is_new_beside_it(kind, variant, factor):
    """As the groups of the authors' `get_parameter_groups` do; class token and position embeddings stay as they are."""
    model = golden.build(golden.load(f"dynamic_vit/tiny_{kind}.json"), load=False)
    optimizer = recipes.optimizer(keras_mlp.model_card(f"dynamic_vit_{variant}_r70").recipe, model, steps_per_epoch=10)
    new = {v.path for v in model.trainable_variables if v.path.startswith("predictors") or "_fast" in v.path}
    held = {v.path for v in model.trainable_variables if v.path.startswith("position/")}
    assert len(new) >= 30 and len(held) == (2 if kind in ("deit", "lvvit") else 0)
    for variable in model.trainable_variables:
        path = variable.path
        assert optimizer.rate_factors[path] == (1 if path in new else 0 if path in held else factor), path
        assert optimizer.rate_delays.get(path, 0) == (0 if path in new else 50), path


@pytest.mark.parametrize(
    "wrong, said",
    [
        (dict(kind="vit"), r"`kind` must be one of \('deit', .*Received: kind='vit'"),
        (dict(keep_rate=0.0), r"between 0 and 1.*Received: keep_rate=0.0"),
        (dict(keep_rate=(0.5,)), r"a list of 2 such numbers. Received: keep_rate=\(0.5,\)"),
        (dict(keep_rate=(0.5, 0.6)), r"not more than there are.*keeps 9 of the 8"),
        (dict(keep_rate=0.1), r"must leave tokens.*keeps 0 of the 1"),
        (dict(heads=None), r"`heads` must have one value for each stage.*Received: heads=None"),
        (dict(pruning=(1, 3)), r"from 0 to 2. Received: pruning=\(1, 3\)"),
        (dict(pruning=(2, 1)), r"rising numbers of blocks"),
        (dict(kind="swin"), r"`dims` must have at least three values.*Received: dims=\(8,\)"),
        (dict(dims=(8, 8), depths=(1, 1), heads=(1, 1)), r'one value where kind is "deit"'),
        (dict(input_shape=(None, None, 3)), r"DynamicViT's tokens have places on a fixed grid"),
    ],
)
def test_wrong_values_are_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        keras_mlp.DynamicViT(**SMALL | wrong, **({"include_top": False} if "input_shape" in wrong else {}))
