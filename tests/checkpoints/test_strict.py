"""Loading is all or nothing: whatever is wrong, wherever it is, in whatever format, the model stays as it was."""

import functools
import re
import shutil
import warnings

import golden
import h5py
import keras
import numpy as np
import pytest
from checkpoints.torch_writer import save_legacy, save_zip
from safetensors.numpy import save_file

import keras_mlp
from keras_mlp.checkpoints import keras_weights, naming
from keras_mlp.checkpoints.layouts import CheckpointError
from keras_mlp.cli.main import main
from keras_mlp.export import checks
from keras_mlp.layers import activations

TIMM = golden.load("mlp_mixer/tiny.json")
CASES = [golden.small(name) for name in sorted(keras_mlp.zoo.FAMILIES)]
few = pytest.mark.parametrize("case", golden.chosen(CASES, golden.FEW, *golden.HUGE))


def tiny(**arguments):
    return keras_mlp.MLPMixer(
        **{"patch_size": 8, "dim": 8, "depth": 1, "input_shape": (16, 16, 3), "classes": 3} | arguments
    )


def state(model):
    """All that loading may change."""
    forms = [activations.gelu_form(getattr(layer, "activation", None)) for layer in model._flatten_layers()]
    return [np.asarray(variable).copy() for variable in model.variables], forms


def assert_unchanged(model, before):
    arrays, forms = state(model)
    assert forms == before[1]
    for new, old in zip(arrays, before[0], strict=True):
        np.testing.assert_array_equal(new, old)


def assert_equal(model, other):
    for ours, theirs in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def tensors_of(model):
    return {name: np.asarray(variable) for name, (_, variable) in naming.named_variables(model).items()}


# Every format, from the tensors by our names ------------------------------------------------------------------------


def write_npz(tensors, path):
    with open(path, "wb") as file:
        np.savez(file, **tensors)


def write_old_h5(tensors, path):
    """As Keras 2 does: a group for each layer, in which the names of the weights repeat the layer's."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = sorted({name.partition("/")[0] for name in tensors})
        file.attrs["keras_version"] = "2.15.0"
        for name, array in tensors.items():
            file[f"{name.partition('/')[0]}/{name}:0"] = array


@functools.cache
def keras_file(folder):
    """A file of Keras 3, and where in it the variables are by our names."""
    model = tiny()
    model.save_weights(folder / "template.weights.h5")
    return folder / "template.weights.h5", keras_weights.keys(model, naming.named_variables(model))


def write_keras(tensors, path):
    """As Keras 3 does, with the tensors in place of a model's weights."""
    template, places = keras_file(path.parent)
    shutil.copy(template, path)
    with h5py.File(path, "r+") as file:
        for place, name in places.items():
            del file[place]
            if name in tensors:
                file[place] = tensors[name]


FORMATS = {
    "dictionary": None,
    "npz": write_npz,
    "safetensors": lambda tensors, path: save_file({n: np.ascontiguousarray(a) for n, a in tensors.items()}, path),
    "pth": save_zip,
    "legacy pth": save_legacy,
    "weights.h5": write_keras,
    "old h5": write_old_h5,
}


def source_of(form, tensors, path):
    if FORMATS[form] is None:
        return tensors
    FORMATS[form](tensors, path)
    return path


def spoilt(array):
    """Tensors of each kind that is not to be loaded in place of `array`."""
    first = np.zeros(array.shape, bool)
    first.flat[0] = True
    yield np.where(first, np.float32(np.nan), array)
    yield np.where(first, np.float32(-np.inf), array)
    yield np.where(first, np.float64(1e300), array.astype("f8"))  # beyond float32
    yield from (np.ones(array.shape, dtype) for dtype in ("i1", "i8", "?", "c8"))
    yield np.concatenate([array, array])
    yield array[:0]


@pytest.mark.parametrize("form", FORMATS)
def test_a_wrong_tensor_at_any_place_in_any_format_changes_nothing(form, tmp_path):
    model = tiny()
    right = {name: np.full(array.shape, 0.5, "f4") for name, array in tensors_of(model).items()}
    before = state(model)
    for i, name in enumerate(right):
        kinds = list(spoilt(right[name]))
        # Every place, every kind: the kinds take turns over the places, and the last place sees them all.
        for array in kinds if i == len(right) - 1 else [kinds[i % len(kinds)]]:
            source = source_of(form, right | {name: array}, tmp_path / "a")
            with pytest.raises(CheckpointError, match=re.escape(name)):
                keras_mlp.load_checkpoint(model, source)
            assert_unchanged(model, before)
        missing = {key: array for key, array in right.items() if key != name}
        with pytest.raises(CheckpointError, match=f"Missing.*{name}"):
            keras_mlp.load_checkpoint(model, source_of(form, missing, tmp_path / "a"))
        assert_unchanged(model, before)
    keras_mlp.load_checkpoint(model, source_of(form, right, tmp_path / "a"))
    assert all(np.all(np.asarray(variable) == 0.5) for variable in model.weights)


NO_ARRAYS = {
    "None": None,
    "text": "x",
    "texts": np.full(3, "x"),
    "bytes": np.full(3, b"x"),
    "objects": np.ones(3, object),
    "dates": np.zeros(3, "M8[s]"),
    "void": np.zeros(3, "V4"),
    "records": np.zeros(3, [("x", "f4")]),
    "ragged": [[1], [1, 2]],
    "masked": np.ma.masked_all(3, "f4"),
    "a number": 1.0,
    "expanded": np.broadcast_to(np.float32(1), (10**6, 10**6)),
}


@pytest.mark.parametrize("what", NO_ARRAYS)
def test_what_a_dictionary_holds_in_place_of_weights_is_refused(what):
    model = tiny()
    before = state(model)
    with pytest.raises(CheckpointError, match="head/bias"):
        keras_mlp.load_checkpoint(model, tensors_of(model) | {"head/bias": NO_ARRAYS[what]})
    assert_unchanged(model, before)


def test_names_that_are_no_texts_are_refused():
    model = tiny()
    for source in (dict(enumerate(tensors_of(model).values())), tensors_of(model) | {5: 1.0}):
        with pytest.raises(CheckpointError, match="must be texts"):
            keras_mlp.load_checkpoint(model, source)


@pytest.mark.parametrize("activation", ["relu", "", "nonsense", "gelu\n", "linear"])
def test_a_header_may_ask_for_a_gelu_only(activation, tmp_path):
    model = tiny()
    before = state(model)
    keras_mlp.save_checkpoint(tiny(), tmp_path / "a.safetensors", activation=activation)
    with pytest.raises(CheckpointError, match="none of gelu, gelu_tanh"):
        keras_mlp.load_checkpoint(model, tmp_path / "a.safetensors")
    assert_unchanged(model, before)


def test_an_assignment_that_fails_midway_is_undone(monkeypatch):
    source = tiny()
    for variable in source.weights:
        variable.assign(keras.random.normal(variable.shape))
    model = tiny()
    before, assign = state(model), type(model.weights[0]).assign
    for last in range(len(model.weights)):
        left = [last]

        def failing(variable, value, left=left):
            left[0] -= 1
            if left[0] == -1:
                raise MemoryError
            return assign(variable, value)

        with monkeypatch.context() as patch:
            patch.setattr(type(model.weights[0]), "assign", failing)
            with pytest.raises(MemoryError):
                keras_mlp.load_checkpoint(model, tensors_of(source))
        assert_unchanged(model, before)


def test_a_warning_that_is_an_error_comes_before_anything_is_changed():
    gray = tiny(input_shape=(16, 16, 1))
    before = state(gray)
    with pytest.warns(UserWarning, match="summed"):
        keras_mlp.load_checkpoint(tiny(input_shape=(16, 16, 1)), tensors_of(tiny()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            keras_mlp.load_checkpoint(gray, tensors_of(tiny()))
    assert_unchanged(gray, before)


# Keras' own weights -------------------------------------------------------------------------------------------------


@few
def test_keras_weights_load_strictly_in_every_family(case, tmp_path):
    """What fits loads; a head that the model has not is left out and said; a layer more or less is an error."""
    path, expected = tmp_path / "a.weights.h5", golden.build(case)
    expected.save_weights(path)
    model = golden.build(case, load=False)
    assert keras_mlp.load_checkpoint(model, path).layout == "Keras weights"
    assert_equal(model, expected)
    builder, arguments = golden.arguments(case)
    backbone = builder(**arguments, include_top=False)
    report = keras_mlp.load_checkpoint(backbone, path)
    assert {"head/kernel", "head/bias"} <= set(report.ignored) and len(report.loaded) == len(backbone.weights)
    before = state(backbone)
    with h5py.File(path, "r+") as file:  # as a deeper model would have it
        layer = next(name for name in file["layers"] if len(file["layers"][name].get("vars", ())))
        file.copy(f"layers/{layer}", f"layers/{layer}_99")
        file[f"layers/{layer}_99/vars"].attrs["name"] = "blocks_99_norm1"
    for new_head in (False, True):
        with pytest.raises(CheckpointError, match=f"Left over.*layers/{layer}_99"):
            keras_mlp.load_checkpoint(backbone, path, new_head=new_head)
    assert_unchanged(backbone, before)


@pytest.mark.parametrize("named", [True, False], ids=["with names", "without names, as older versions"])
@pytest.mark.parametrize("top", [True, False])
@pytest.mark.parametrize("options", [{"include_top": False}, {"new_head": True}], ids=["no top", "new head"])
def test_a_deeper_models_weights_do_not_load_into_a_shallower_one(named, top, options, tmp_path):
    path = tmp_path / "deep.weights.h5"
    tiny(depth=3, include_top=top).save_weights(path)
    if not named:
        with h5py.File(path, "r+") as file:
            file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    with pytest.raises(CheckpointError, match="Left over.*token_mlp_2") as error:
        tiny(depth=2, weights=path, **options)
    assert len(str(error.value)) < 2000  # names, not arrays
    tiny(depth=3, weights=path, **options)
    with pytest.raises(CheckpointError, match="Missing.*blocks_3"):
        tiny(depth=4, weights=path, **options)


def test_what_keras_keeps_beside_weights_is_no_surplus(tmp_path):
    model = tiny(dropout_rate=0.1, drop_path_rate=0.1)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.zeros((2, 16, 16, 3)), np.zeros(2), verbose=0)
    model.save_weights(tmp_path / "a.weights.h5")
    other = tiny()
    keras_mlp.load_checkpoint(other, tmp_path / "a.weights.h5")
    assert_equal(other, model)


def test_keras_weights_load_whatever_their_file_is_called(tmp_path):
    write_keras(tensors_of(tiny()), tmp_path / "no_suffix")
    assert keras_mlp.load_checkpoint(tiny(), tmp_path / "no_suffix").layout == "Keras weights"


def test_an_adapted_normalization_computes_with_what_is_loaded(tmp_path):
    def model(images):
        norm = keras.layers.Normalization(name="normalization")
        norm.adapt(images)
        return tiny(input_shape=None, input_tensor=norm(keras.Input((16, 16, 3))), include_top=False)

    images = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype("float32")
    source, other = model(images), model(np.zeros_like(images))
    source.save_weights(tmp_path / "a.weights.h5")
    keras_mlp.load_checkpoint(other, tmp_path / "a.weights.h5")
    np.testing.assert_allclose(other(images), source(images), rtol=1e-5, atol=1e-6)


def test_whole_models_in_the_old_format_give_their_weights(tmp_path):
    model, other = tiny(), tiny()
    model.save(tmp_path / "whole.h5")
    assert keras_mlp.load_checkpoint(other, tmp_path / "whole.h5").layout == "keras_mlp/own names"
    assert_equal(other, model)


def test_keras_2_files_load_by_the_published_layouts(tmp_path):
    """keras_cv_attention_models names the layers of its Mixers as the authors do, with slashes."""
    case = golden.load("mlp_mixer/tiny_npz.json")
    with h5py.File(tmp_path / "mixer.h5", "w") as file:
        file.attrs["layer_names"] = sorted({name.rpartition("/")[0] for name in case.state_dict()})
        for name, array in case.state_dict().items():
            file[f"{name.rpartition('/')[0]}/{name}:0"] = array
    model = golden.build(case, load=False)
    assert keras_mlp.load_checkpoint(model, tmp_path / "mixer.h5").layout == "mlp_mixer/flax"
    assert_equal(model, golden.build(case))


# Prefixes -----------------------------------------------------------------------------------------------------------

PREFIXES = ("module.", "_orig_mod.", "backbone.", "state_dict.model.", "module._orig_mod.", "model.backbone.encoder.")
PLACES = {"safetensors": save_file, "pth": save_zip, "legacy pth": save_legacy, "npz": write_npz}


@few
def test_a_prefix_of_all_names_is_found_and_said_in_every_family(case):
    expected = golden.build(case)
    for prefix in ("model.", "module.net."):
        model = golden.build(case, load=False)
        report = keras_mlp.load_checkpoint(model, {prefix + n: a for n, a in case.state_dict().items()})
        assert report.prefix == prefix and f"under the prefix {prefix!r}" in str(report)
        assert_equal(model, expected)


@pytest.mark.parametrize("form", PLACES)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_are_found_in_every_format(form, prefix, tmp_path):
    PLACES[form]({prefix + name: array for name, array in TIMM.state_dict().items()}, tmp_path / "a")
    report = keras_mlp.load_checkpoint(golden.build(TIMM, load=False), tmp_path / "a")
    assert report.prefix == prefix and len(report.loaded) == len(TIMM.tensors)


def test_modules_around_inner_modules_are_taken_off():
    state = {name.replace(".mlp_tokens.", ".mlp_tokens._orig_mod."): a for name, a in TIMM.state_dict().items()}
    model = golden.build(TIMM, load=False)
    keras_mlp.load_checkpoint(model, state)
    assert_equal(model, golden.build(TIMM))


@pytest.mark.parametrize("form", ["dictionary", *PLACES])
def test_what_is_beside_the_prefix_is_listed_unless_the_key_names_it(form, tmp_path):
    tensors = {f"model.{name}": array for name, array in TIMM.state_dict().items()}
    tensors["criterion.weight"] = np.ones(3, "f4")
    lightning = form.endswith("pth")
    if form == "dictionary":
        source = tensors
    else:
        source = tmp_path / "a"
        PLACES[form]({"state_dict": tensors, "epoch": 3} if lightning else tensors, source)
    key = "state_dict.model" if lightning else "model"
    model = golden.build(TIMM, load=False)
    before = state(model)
    with pytest.raises(CheckpointError, match=rf"Left over in the checkpoint \(1\): criterion.weight.\n.*key='{key}'"):
        keras_mlp.load_checkpoint(model, source)
    assert_unchanged(model, before)
    keras_mlp.load_checkpoint(model, source, key=key)
    assert_equal(model, golden.build(TIMM))


def test_two_prefixes_that_fit_alike_are_named():
    state = {f"{prefix}.{name}": a for prefix in ("student", "teacher") for name, a in TIMM.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"as well under 'student\.' as under 'teacher\.'.*`key`"):
        keras_mlp.load_checkpoint(golden.build(TIMM, load=False), state)
    keras_mlp.load_checkpoint(golden.build(TIMM, load=False), state, key="teacher")


def test_paths_may_begin_with_a_tilde(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    model = tiny()
    keras_mlp.save_checkpoint(model, "~/own.safetensors")
    assert (tmp_path / "own.safetensors").is_file()
    keras_mlp.load_checkpoint(tiny(), "~/own.safetensors")
    tiny(weights="~/own.safetensors")
    main(["convert", "~/own.safetensors", "--model=mlp_mixer_s32", "--output=~/none.safetensors"])
    assert str(tmp_path / "own.safetensors") in capsys.readouterr().err
    assert checks.checked_path("~/a.tflite", ".tflite") == tmp_path / "a.tflite"
