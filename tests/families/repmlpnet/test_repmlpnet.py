"""RepMLPNet's two forms, and its tiles: what the golden cases do not tell."""

import re

import golden
import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.families.repmlpnet import inject_locality

CASE = golden.load("repmlpnet/tiny.json")
SMALL = dict(dims=(8, 12), depths=(1, 2), tiles=(4, (2, 2)), share_sets=(2, 3), kernel_sizes=(1, 3), classes=5)


def trained(**options):
    """A small model in the form to train whose norms and other weights are none that a fresh one has."""
    keras.config.set_dtype_policy("float64")
    model = keras_mlp.RepMLPNet(**SMALL | options)
    random = np.random.RandomState(0)
    model.set_weights(
        [
            np.abs(random.standard_normal(w.shape)) if w.ndim == 1 else random.standard_normal(w.shape)
            for w in model.get_weights()
        ]
    )
    return model


@pytest.mark.parametrize(
    "options",
    [
        dict(input_shape=(16, 16, 3)),
        dict(input_shape=(32, 16, 3), tiles_in_place=True, classifier_activation=None),
        dict(input_shape=(None, None, 3), drop_path_rate=0.2, dropout_rate=0.1),
        dict(input_shape=(16, 16, 1), include_top=False, kernel_sizes=(3, 7), name="features"),
        dict(input_shape=(16, 16, 3), kernel_sizes=()),
    ],
)
def test_the_two_forms_agree(options):
    """In float64 to 1e-9, whatever the model's top, input and name, which are kept."""
    model = trained(**options)
    deploy = inject_locality(model)
    images = np.random.RandomState(1).uniform(0, 255, (2, *(side or 32 for side in options["input_shape"])))
    expected = np.asarray(model(images))
    assert np.abs(deploy(images) - expected).max() < 1e-9 * np.abs(expected).max()
    assert (deploy.name, deploy.input_shape, deploy.output_shape) == (model.name, model.input_shape, model.output_shape)
    same = keras_mlp.RepMLPNet(**SMALL | options, deploy=True)
    assert [w.shape for w in deploy.weights] == [w.shape for w in same.weights]
    assert sorted(layer.name for layer in deploy.layers[1:]) == sorted(layer.name for layer in same.layers[1:])


def test_a_deployed_model_is_an_ordinary_model(tmp_path):
    """It saves and loads; what it was made of still trains, and has nothing left to inject."""
    model = trained(input_shape=(16, 16, 3))
    deploy = inject_locality(model)
    images = np.random.RandomState(1).uniform(0, 255, (2, 16, 16, 3))
    expected = np.asarray(deploy(images))
    deploy.save(tmp_path / "deploy.keras")
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "deploy.keras")(images), expected)
    with pytest.raises(ValueError, match="in the form to deploy nothing is left to inject"):
        inject_locality(deploy)
    with pytest.raises(ValueError, match="functional model with RepMLP blocks"):
        inject_locality(None)


def test_checkpoints_of_one_form_never_load_into_the_other():
    train, deploy = CASE, golden.load("repmlpnet/tiny_deploy_native.json")
    for model, other in ((train, deploy), (deploy, train)):
        with pytest.raises(keras_mlp.checkpoints.layouts.CheckpointError, match="fc3_norm/gamma") as error:
            keras_mlp.load_checkpoint(golden.build(model), other.state_dict())
        assert "fc3/bias" in str(error.value)


def test_tiles_in_place_give_another_output_for_several_tiles_only():
    for case, same in ((CASE, True), (golden.load("repmlpnet/tiny_partitions.json"), False)):
        error = case.error(golden.build(case, tiles_in_place=True)(case.images()))
        assert error < 1e-4 if same else error > 1e-2


def test_openmmlabs_copies_load_by_their_own_names():
    """The names are those of mmpretrain's modules."""
    rules = (
        (r"^conv_embedding\.conv", "patch_embed.projection"),
        (r"^conv_embedding\.bn", "patch_embed.norm"),
        (r"^embeds", "downsample_layers"),
        (r"^head_norm", "final_norm"),
        (r"prebn", "norm"),
        (r"gp\.fc(\d)", r"gp.conv\1.conv"),
    )
    state = {}
    for name, array in CASE.state_dict().items():
        for pattern, ours in rules:
            name = re.sub(pattern, ours, name)
        state[name.replace("head.", "head.fc.") if name.startswith("head.") else f"backbone.{name}"] = array
    model = golden.build(CASE, load=False)
    assert keras_mlp.load_checkpoint(model, state).layout == "repmlpnet/mmpretrain"
    assert CASE.error(model(CASE.images())) < 1e-4


def test_patches_need_not_be_square():
    model = keras_mlp.RepMLPNet(**SMALL, patch_size=(2, 4), input_shape=(16, 32, 3), include_preprocessing=False)
    stem = keras.Model(model.input, model.get_layer("stem").output)
    images = np.random.RandomState(0).standard_normal((2, 16, 32, 3)).astype("float32")
    kernel = keras.ops.convert_to_numpy(model.get_layer("stem").kernel)
    patches = images.reshape(2, 8, 2, 8, 4, 3)
    np.testing.assert_allclose(stem(images), np.einsum("nhywxc,yxcd->nhwd", patches, kernel), atol=1e-5)
    with pytest.raises(ValueError, match="=20. The nearest that work: 16 and 32"):
        keras_mlp.RepMLPNet(**SMALL, patch_size=(2, 4), input_shape=(16, 20, 3))
