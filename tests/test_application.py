"""The `keras.applications` contract: arguments, their errors, preprocessing, features, channels."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp import zoo
from keras_mlp.export.portable import portable

SMALL = dict(patch_size=8, dim=16, depth=1, input_shape=(32, 32, 3), classes=10)
PUBLIC = sorted(zoo.BUILDERS)
KERAS_ORDER = [
    "include_top",
    "weights",
    "input_tensor",
    "input_shape",
    "pooling",
    "classes",
    "classifier_activation",
    "include_preprocessing",
    "name",
]


@pytest.mark.parametrize("name", PUBLIC)
def test_builders_are_public_functions_with_a_real_signature_and_documentation(name):
    builder = getattr(keras_mlp, name)
    assert name in keras_mlp.__all__
    assert builder.__name__ == builder.__qualname__ == name
    parameters = inspect.signature(builder).parameters
    positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    keyword = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert positional[-len(KERAS_ORDER) :] == KERAS_ORDER
    assert {"drop_path_rate", "dropout_rate", "new_head", "dtype"} <= set(keyword)
    for parameter in parameters:
        assert f"\n    {parameter}: " in builder.__doc__, f"{parameter} is not documented"
    for tag in zoo.model_card(parameters["name"].default).weights if parameters["weights"].default else ():
        assert repr(tag) in builder.__doc__


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(weights="imagnet"), r"Did you mean 'imagenet'"),
        (dict(weights="imagnet"), r"there are: 'imagenet', 'imagenet1k', .*Received: weights='imagnet'"),
        (dict(weights="no/such/file.npz"), r"path of an existing weights file.*no/such/file"),
        (dict(weights="imagenet", classes=10), r"`classes` should be 1000. Received: classes=10.*new_head=True"),
        (dict(weights="imagenet21k"), r"`classes` should be 21843. Received: classes=1000"),
        (dict(weights="imagenet", classifier_activation="relu"), r"Only `None` and `softmax`.*'relu'"),
        (dict(weights=None, classes=0), r"positive integer. Received: classes=0"),
        (dict(weights=None, classes=-1), r"Received: classes=-1"),
        (dict(weights=None, classes=2.5), r"Received: classes=2.5"),
        (dict(weights=None, include_top="yes"), r"True or False. Received: include_top='yes'"),
        (dict(weights=None, include_top=False, pooling="bad"), r'None, "avg" or "max". Received: pooling=\'bad\''),
        (dict(weights=None, input_shape=(224, 224)), r"tuple of 3 integers.*Received: input_shape=\(224, 224\)"),
        (dict(weights=None, input_shape=224), r"tuple of 3 integers.*Received: input_shape=224"),
        (dict(weights=None, input_shape=(224, -16, 3)), r"positive integers"),
        (dict(weights=None, input_shape=(224, 224, None)), r"number of channels"),
        (dict(weights=None, input_shape=(220, 224, 3)), r"height=220. The nearest that work: 208 and 224"),
        (dict(weights=None, input_shape=(224, 8, 3)), r"width=8. The nearest that work: 16\."),
        (dict(weights=None, input_shape=(None, None, 3)), r"static `input_shape`, such as \(224, 224, 3\)"),
        (dict(weights=None, input_tensor=np.zeros((1, 224, 224, 3))), r"must be a KerasTensor. Received: ndarray"),
        (dict(weights=None, drop_path_rate=1.0), r"`drop_path_rate` must be in \[0, 1\).*1.0"),
        (dict(weights=None, dropout_rate=-0.1), r"`dropout_rate` must be in \[0, 1\).*-0.1"),
        (dict(weights=None, activation="no_such"), r"no_such"),
        (dict(weights=None, name="my model"), r"`name` must begin with a letter or digit.*name='my model'"),
        (dict(weights=None, name="_mine"), r"Received: name='_mine'"),
        (dict(weights=None, name="modèle"), r"only letters, digits.*Received: name='modèle'"),
        (dict(weights=None, name=5), r"Received: name=5"),
        (dict(weights=None, layer_prefix="a/b"), r"Received: layer_prefix='a/b'"),
        (dict(weights=None, layer_prefix=""), r"Received: layer_prefix=''"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_allowed(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_mlp.MLPMixerB16(**arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(weights="imagenet"), r"For morph_mlp_video_b16 there are: 'k400', 'ssv1'"),
        (dict(weights="ssv1"), r"`classes` should be 174. Received: classes=400"),
        (dict(weights=None, input_shape=(224, 224, 3)), r"tuple of 4 integers, such as \(16, 224, 224, 3\)"),
        (dict(weights=None, input_shape=(None, 224, 224, 3)), r"known number of frames"),
        (dict(weights=None, input_shape=(16, 256, 256, 3)), r"The nearest that work: \(224, 224\)"),
    ],
)
def test_wrong_arguments_of_video_models_are_refused_too(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_mlp.MorphMLPVideoB16(**arguments)


def test_a_model_without_published_weights_says_so_and_is_never_silently_random():
    with pytest.raises(ValueError, match="For mlp_mixer_h14 no weights are published"):
        keras_mlp.MLPMixerH14()


def test_unknown_arguments_are_python_errors_that_name_the_builder():
    with pytest.raises(TypeError, match=r"MLPMixerB16\(\).*data_format"):
        keras_mlp.MLPMixerB16(data_format="channels_first")


def test_an_input_tensor_that_contradicts_the_shape_is_refused():
    images = keras.Input((64, 64, 3))
    with pytest.raises(ValueError, match="contradict each other.*64.*32"):
        keras_mlp.MLPMixer(**SMALL, input_tensor=images)


def test_an_input_tensor_is_used_with_the_layers_before_it():
    images = keras.Input((32, 32, 3))
    flipped = keras.layers.Rescaling(-1.0, 255.0)(images)
    model = keras_mlp.MLPMixer(**SMALL, input_tensor=flipped, include_top=False, pooling="avg")
    plain = keras_mlp.MLPMixer(**SMALL, include_top=False, pooling="avg")
    plain.set_weights(model.get_weights())
    assert model.input is images
    pixels = np.random.RandomState(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(model(pixels), plain(255 - pixels), atol=1e-4)


def test_a_shape_may_be_a_list_and_need_not_be_square():
    model = keras_mlp.MLPMixer(**SMALL | {"input_shape": [16, 40, 3]}, include_top=False)
    assert model.output.shape == (None, 2, 5, 16)


def test_the_name_is_the_users_and_changes_nothing_else():
    model = keras_mlp.MLPMixerS32(weights=None, name="mine")
    assert model.name == "mine"
    assert keras_mlp.MLPMixerS32(weights=None).name == "mlp_mixer_s32"


LISTS = [(family, argument) for family in zoo.FAMILIES.values() for argument in family.per_stage]


@pytest.mark.parametrize("family, argument", LISTS, ids=[f"{family.name}-{argument}" for family, argument in LISTS])
def test_lists_that_do_not_fit_the_stages_are_refused_by_name(family, argument):
    build = family.builders[family.name]
    defaults = {parameter.name: parameter.default for parameter in (*family.architecture, *family.options)}
    stages = next(len(defaults[name]) for name in family.per_stage if defaults[name])
    given = {name: defaults[name] or (1,) * stages for name in family.per_stage}
    for wrong in (3, "twice", ()):
        with pytest.raises(ValueError, match=f"`{argument}` must be a tuple or list.*Received: {argument}="):
            build(**given | {argument: wrong})
    if len(given) > 1:
        for wrong in (given[argument][:1] * (stages - 1), given[argument] * 2):
            with pytest.raises(ValueError, match=f"`{argument}`.*must|must.*{argument}=.* of length {len(wrong)}"):
                build(**given | {argument: wrong})


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(heads=(1, 1), merge_kernels=()), r"`merge_kernels` must have one value between.* 2 stages.*=\(\)"),
        (dict(heads=None, merge_kernels=(3,)), r"`heads` must have one value for each stage.*swin"),
    ],
)
def test_swat_asks_for_the_lists_that_its_kind_of_block_needs(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_mlp.SWAT(kind="swin", depths=(1, 1), token_kernels=(1, 1), channel_kernels=(3, 3), **arguments)


def test_every_list_that_is_one_a_stage_says_so():
    """A default of four values is one for each of the four stages that the families of pyramids have."""
    for family in zoo.FAMILIES.values():
        lists = {p.name for p in family.architecture if isinstance(p.default, tuple) and len(p.default) == 4}
        assert lists <= set(family.per_stage), family.name


def random_head(model):
    """The head starts at zero, as published; give it something to tell images apart by."""
    kernel = model.get_layer("head").kernel
    kernel.assign(np.random.RandomState(0).standard_normal(kernel.shape))
    return model


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_preprocessing_in_the_graph_is_the_cards_preprocessing_outside(dtype):
    """For every published normalisation, from integer and from float pixels."""
    pixels = np.random.RandomState(0).randint(0, 256, (2, 32, 32, 3)).astype(dtype)
    inside = keras_mlp.MLPMixer(**SMALL, include_top=False)
    outside = keras_mlp.MLPMixer(**SMALL, include_top=False, include_preprocessing=False)
    outside.set_weights(inside.get_weights())
    before = pixels.copy()
    prepared = keras_mlp.model_card("mlp_mixer_b16").preprocess(pixels)
    np.testing.assert_array_equal(pixels, before)
    assert prepared.dtype == "float32" and prepared.min() >= -1 and prepared.max() <= 1
    np.testing.assert_allclose(prepared, pixels / np.float32(127.5) - 1, atol=1e-6)
    np.testing.assert_allclose(inside.predict(pixels, verbose=0), outside(prepared), atol=1e-5)


def test_each_checkpoint_has_its_own_preprocessing():
    card = keras_mlp.model_card("mlp_mixer_b16")
    pixels = np.full((1, 2, 2, 3), 255, "uint8")
    assert card.preprocess(pixels, "imagenet").max() == pytest.approx(1.0)
    assert card.preprocess(pixels, "imagenet_miil").max() == pytest.approx(1.0)
    assert card.preprocess(pixels * 0, "imagenet").min() == pytest.approx(-1.0)
    assert card.preprocess(pixels * 0, "imagenet_miil").min() == pytest.approx(0.0)


def test_channels_are_reversed_for_a_checkpoint_that_wants_them_so(monkeypatch, tmp_path):
    """As OpenCV's users train; in the model, outside it, and in what is made of the model."""
    family = zoo.FAMILIES["mlp_mixer"]
    bgr = dataclasses.replace(family.preprocessing, bgr=True)
    pixels = np.random.RandomState(0).randint(0, 256, (2, 32, 32, 3)).astype("float32")
    plain = keras_mlp.MLPMixer(**SMALL, include_top=False, include_preprocessing=False)
    expected = plain(family.preprocessing(pixels[..., ::-1]))
    np.testing.assert_allclose(plain(bgr(pixels)), expected, atol=1e-5)
    np.testing.assert_allclose(plain(bgr(keras.ops.convert_to_tensor(pixels))), expected, atol=1e-5)
    monkeypatch.setattr(family, "preprocessing", bgr)
    model = keras_mlp.MLPMixer(**SMALL, include_top=False)
    model.set_weights(plain.get_weights())
    model.save(tmp_path / "model.keras")
    loaded, resized = keras.saving.load_model(tmp_path / "model.keras"), keras_mlp.resize(model, (32, 32))
    for each in (model, loaded, resized, portable(model, (2, 32, 32, 3))):
        np.testing.assert_allclose(each(pixels), expected, atol=1e-5)


def test_preprocessing_takes_tensors_and_keeps_float64():
    preprocess = keras_mlp.model_card("mlp_mixer_b16").preprocess
    pixels = np.arange(12.0).reshape(1, 2, 2, 3)
    assert preprocess(pixels).dtype == "float64"
    tensor = preprocess(keras.ops.convert_to_tensor(pixels.astype("uint8")))
    np.testing.assert_allclose(tensor, preprocess(pixels), atol=1e-6)


def test_the_head_computes_in_float32_under_mixed_precision():
    model = random_head(keras_mlp.MLPMixer(**SMALL, dtype="mixed_float16"))
    assert model.get_layer("blocks_0_channel_mixing_fc1").compute_dtype == "float16"
    answer = model(np.random.RandomState(0).uniform(0, 255, (2, 32, 32, 3)))
    assert answer.dtype == "float32"
    np.testing.assert_allclose(np.sum(answer, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_published_weights_take_other_channels_and_the_user_is_told(channels, tmp_path):
    published = random_head(keras_mlp.MLPMixer(**SMALL, include_preprocessing=False))
    keras_mlp.save_checkpoint(published, tmp_path / "published.safetensors")
    shape = SMALL | {"input_shape": (32, 32, channels)}
    with pytest.warns(UserWarning, match=f"3 input channels and the model has {channels}: stem/kernel was summed"):
        model = keras_mlp.MLPMixer(**shape, weights=tmp_path / "published.safetensors", include_preprocessing=False)
    grey = np.random.RandomState(1).standard_normal((2, 32, 32, 1)).astype("float32")
    # What is grey answers as before, whatever the number of channels, if they are repeated in whole.
    if channels in (1, 6):
        expected = published(np.repeat(grey, 3, axis=-1))
        np.testing.assert_allclose(model(np.repeat(grey, channels, axis=-1)), expected, atol=1e-5)
    kernel, wide = (np.asarray(m.get_layer("stem").kernel) for m in (published, model))
    if channels > 1:
        for c in range(channels):
            np.testing.assert_allclose(wide[:, :, c], kernel[:, :, c % 3] * 3 / channels, atol=1e-6)
