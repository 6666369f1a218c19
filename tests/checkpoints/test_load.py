"""Strict loading: every tensor used once, every variable set once, or one error that lists what is wrong."""

import golden
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import keras_mlp
from keras_mlp.checkpoints.layouts import CheckpointError, Layout, Part
from keras_mlp.layers import activations

TIMM = golden.load("mlp_mixer/tiny.json")
FLAX = golden.load("mlp_mixer/tiny_npz.json")


def values(model):
    return [np.asarray(variable) for variable in model.weights]


def forms_of_gelu(model):
    layers = model._flatten_layers()
    return {form for layer in layers if (form := activations.gelu_form(getattr(layer, "activation", None)))}


@pytest.mark.parametrize("case", [TIMM, FLAX], ids=["timm", "flax"])
def test_both_layouts_are_recognised_by_their_tensors(case):
    model = golden.build(case, load=False)
    report = keras_mlp.load_checkpoint(model, case.state_dict())
    assert report.layout == f"mlp_mixer/{case.layout}"
    assert len(report.loaded) == len(model.weights) == len(case.tensors)
    assert f"{len(case.tensors)} variables loaded from a dictionary (mlp_mixer/{case.layout})" in str(report)


def test_every_kind_of_file_gives_the_same_model(tmp_path):
    """The published npz, our own file, safetensors, Keras' weights: recognised by content, not by name."""
    expected = golden.build(FLAX)
    np.savez(tmp_path / "published.npz", **FLAX.state_dict())
    np.savez(tmp_path / "other", **FLAX.state_dict())
    (tmp_path / "other.npz").rename(tmp_path / "no_suffix")
    keras_mlp.save_checkpoint(expected, tmp_path / "own.safetensors", activation="gelu_tanh")
    expected.save_weights(tmp_path / "keras.weights.h5")
    for name in ("published.npz", "no_suffix", "own.safetensors"):
        model = golden.build(FLAX, load=False)
        keras_mlp.load_checkpoint(model, tmp_path / name)
        np.testing.assert_array_equal(model(FLAX.images()), expected(FLAX.images()), err_msg=name)
    model = golden.build(FLAX, load=False, activation="gelu_tanh")
    keras_mlp.load_checkpoint(model, tmp_path / "keras.weights.h5")
    np.testing.assert_array_equal(model(FLAX.images()), expected(FLAX.images()))


def test_our_own_files_can_be_read_by_whoever_may_read_others(tmp_path):
    (tmp_path / "any").touch()
    keras_mlp.save_checkpoint(golden.build(TIMM), tmp_path / "own.safetensors")
    assert (tmp_path / "own.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_a_safetensors_file_of_published_names_loads(tmp_path):
    save_file(TIMM.state_dict(), tmp_path / "model.safetensors")
    model = golden.build(TIMM, load=False)
    assert keras_mlp.load_checkpoint(model, tmp_path / "model.safetensors").layout == "mlp_mixer/timm"
    assert TIMM.error(model(TIMM.images())) < 1e-4


def test_a_builder_takes_the_path_as_weights(tmp_path):
    np.savez(tmp_path / "published.npz", **FLAX.state_dict())
    builder, arguments = golden.arguments(FLAX)
    model = builder(**arguments, weights=tmp_path / "published.npz", classes=10, classifier_activation=None)
    assert FLAX.error(model(FLAX.images())) < 1e-4


def test_the_form_of_gelu_follows_the_checkpoint_and_survives_saving(tmp_path):
    model = golden.build(FLAX, load=False)
    assert forms_of_gelu(model) == {"gelu"}
    model.predict(FLAX.images(), verbose=0)  # compiles the exact form, which must not be used again
    keras_mlp.load_checkpoint(model, FLAX.state_dict())
    assert forms_of_gelu(model) == {"gelu_tanh"}
    assert FLAX.error(model.predict(FLAX.images(), verbose=0)) < 1e-4
    model.save(tmp_path / "model.keras")
    assert forms_of_gelu(keras.saving.load_model(tmp_path / "model.keras")) == {"gelu_tanh"}


def test_a_checkpoint_made_for_the_exact_form_sets_it_back():
    model = golden.build(TIMM, load=False, activation="gelu_tanh")
    keras_mlp.load_checkpoint(model, TIMM.state_dict())
    assert forms_of_gelu(model) == {"gelu"}


def test_an_argument_overrides_the_form_of_gelu(tmp_path):
    np.savez(tmp_path / "published.npz", **FLAX.state_dict())
    builder, arguments = golden.arguments(FLAX)
    model = builder(**arguments, weights=tmp_path / "published.npz", classes=10, activation="gelu")
    assert forms_of_gelu(model) == {"gelu"}
    model = golden.build(FLAX, load=False)
    keras_mlp.load_checkpoint(model, FLAX.state_dict(), keep_activation=True)
    assert forms_of_gelu(model) == {"gelu"}


def test_everything_wrong_is_listed_at_once_and_nothing_is_changed():
    model = golden.build(TIMM, load=False)
    before = values(model)
    state = TIMM.state_dict()
    del state["blocks.1.mlp_tokens.fc2.bias"]
    state["blocks.7.norm1.weight"] = np.ones(32, "float32")
    state["norm.bias"] = np.ones(33, "float32")
    with pytest.raises(CheckpointError) as error:
        keras_mlp.load_checkpoint(model, state)
    message = str(error.value)
    assert "Missing from the checkpoint (1): blocks_1_token_mixing/fc2/bias." in message
    assert "Left over in the checkpoint (1): blocks_7_norm1/gamma." in message
    assert "norm/beta is (33,) in the checkpoint, (32,) in the model" in message
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_tensor_no_rule_knows_is_left_over():
    state = TIMM.state_dict() | {"blocks.0.attention.qkv.weight": np.ones((4, 4), "float32")}
    with pytest.raises(CheckpointError, match=r"Left over in the checkpoint \(1\): blocks.0.attention.qkv.weight"):
        keras_mlp.load_checkpoint(golden.build(TIMM, load=False), state)


def test_two_tensors_for_one_variable_are_refused():
    """A file that holds a tensor under its published name and again under ours, say."""
    layout = keras_mlp.zoo.FAMILIES["mlp_mixer"].layout("twice", "torch", [("a", "norm"), ("b", "norm")])
    try:
        with pytest.raises(CheckpointError, match="'a.weight' and 'b.weight' of the checkpoint are both 'norm/gamma'"):
            layout.convert({"a.weight": np.ones(2), "b.weight": np.ones(2)})
    finally:
        del keras_mlp.checkpoints.layouts.REGISTRY["mlp_mixer"]["twice"]


def test_a_variable_is_joined_of_parts_in_their_order_whatever_that_of_the_file():
    rows = [(name, "x/kernel", Part(i, 2, np.transpose)) for i, name in enumerate("ab")]
    layout, (a, b) = Layout("family", "parts", "torch", (*rows, ("c", "x/kernel"))), np.arange(6.0).reshape(2, 3, 1)
    ours, unknown = layout.convert({"b": b, "a": a})
    assert list(ours) == ["x/kernel"] and not unknown
    np.testing.assert_array_equal(ours["x/kernel"], np.concatenate([a.T, b.T], axis=-1))
    with pytest.raises(CheckpointError, match=r"'x/kernel' is made of 2 tensors, and the checkpoint has only b"):
        layout.convert({"b": b})
    with pytest.raises(CheckpointError, match="a, b of the checkpoint do not fit each other"):
        layout.convert({"a": a, "b": b[1:].T})
    for order in ("abc", "cab"):
        with pytest.raises(CheckpointError, match="are both 'x/kernel'"):
            layout.convert(dict.fromkeys(order, a))


def test_the_file_of_another_family_is_recognised_as_such():
    with pytest.raises(CheckpointError, match=r"layer1.0.conv1.weight\) follow none of the layouts.*mlp_mixer/timm"):
        keras_mlp.load_checkpoint(golden.build(TIMM, load=False), {"layer1.0.conv1.weight": np.ones((3, 3))})


@pytest.mark.parametrize("form", ["published", "own", "keras"])
def test_another_number_of_classes_needs_new_head(form, tmp_path):
    source = {"published": TIMM.state_dict(), "own": tmp_path / "own.safetensors", "keras": tmp_path / "k.weights.h5"}
    trained = golden.build(TIMM)
    keras_mlp.save_checkpoint(trained, source["own"])
    trained.save_weights(source["keras"])
    builder, arguments = golden.arguments(TIMM)
    model = builder(**arguments, classes=4)
    before = values(model)
    with pytest.raises(CheckpointError, match="new_head=True" if form != "keras" else "does not fit"):
        keras_mlp.load_checkpoint(model, source[form])
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)
    report = keras_mlp.load_checkpoint(model, source[form], new_head=True)
    assert set(report.fresh) == {"head/kernel", "head/bias"}
    np.testing.assert_array_equal(model.get_layer("head").kernel, before[-2])
    features = [keras.Model(m.input, m.get_layer("norm").output)(TIMM.images()) for m in (model, trained)]
    np.testing.assert_array_equal(*features)


def test_new_head_keeps_a_fresh_head_of_the_same_size_too():
    model = golden.build(TIMM, load=False)
    report = keras_mlp.load_checkpoint(model, TIMM.state_dict(), new_head=True)
    assert set(report.fresh) == {"head/kernel", "head/bias"} and not np.any(model.get_layer("head").kernel)


def test_a_model_without_top_ignores_the_head_and_says_so():
    builder, arguments = golden.arguments(TIMM)
    report = keras_mlp.load_checkpoint(builder(**arguments, include_top=False), TIMM.state_dict())
    assert set(report.ignored) == {"head/kernel", "head/bias"}
    assert "2 ignored (head/bias, head/kernel)" in str(report)


def test_a_reloaded_and_renamed_model_takes_checkpoints(tmp_path):
    builder, arguments = golden.arguments(TIMM)
    builder(**arguments, classes=10, classifier_activation=None, name="mine").save(tmp_path / "mine.keras")
    model = keras.saving.load_model(tmp_path / "mine.keras")
    keras_mlp.load_checkpoint(model, TIMM.state_dict())
    assert TIMM.error(model(TIMM.images())) < 1e-4


def test_a_backbone_inside_another_model_takes_checkpoints():
    builder, arguments = golden.arguments(TIMM)
    backbone = builder(**arguments, include_top=False, pooling="avg")
    outer = keras.Sequential([backbone])
    keras_mlp.load_checkpoint(outer, TIMM.state_dict())
    np.testing.assert_array_equal(outer(TIMM.images()), backbone(TIMM.images()))


def test_converting_a_published_file_once_makes_it_our_own(tmp_path):
    from keras_mlp.checkpoints import layouts, load, readers

    np.savez(tmp_path / "published.npz", **FLAX.state_dict())
    load.convert(
        tmp_path / "published.npz", tmp_path / "own.safetensors", layouts.REGISTRY["mlp_mixer"]["flax"], tag="x"
    )
    checkpoint = readers.read(tmp_path / "own.safetensors")
    assert checkpoint.metadata["activation"] == "gelu_tanh" and checkpoint.metadata["tag"] == "x"
    model = golden.build(FLAX, load=False)
    assert keras_mlp.load_checkpoint(model, tmp_path / "own.safetensors").layout == "keras_mlp/own names"
    assert FLAX.error(model(FLAX.images())) < 1e-4
