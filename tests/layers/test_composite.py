"""A layer that holds layers behaves as one that Keras nests: every layer class of the package, in all families."""

import functools
import importlib
import pkgutil

import golden
import keras
import numpy as np
import pytest
from keras.dtype_policies import DTypePolicyMap

import keras_mlp
from keras_mlp import layers
from keras_mlp.families.mvit.layers import PositionedTokens
from keras_mlp.families.pool_former import NormOfAverage
from keras_mlp.training.probe import Frozen
from keras_mlp.zoo import FAMILIES

CASES = [golden.small(name) for name in sorted(FAMILIES)]
MORE = [
    golden.load(key + ".json")
    for key in (
        "dynamic_vit/tiny_deit",
        "dynamic_vit/tiny_swin",
        "hornet/tiny_gf",
        "mlp_mixer/tiny_glu",
        "posmlp/tiny_sgu_chunks3",
        "swat/tiny_mixer",
    )
]
"""Cases of layers that no family's small configuration has."""
WITHOUT = {Frozen, NormOfAverage, PositionedTokens, layers.AdaptiveAveragePooling, layers.JoinedConv2D, layers.Resize}
"""Layers of no small case, which hold no layer: the probe's, timm's last norm of PoolFormer, a former name in saved
models, those of segmenters."""
every_family = pytest.mark.parametrize("case", golden.chosen(CASES, golden.FEW, *golden.HUGE))
"""Some in the quick tests, all in `make test-all`."""
every_layer = pytest.mark.parametrize("case", golden.chosen(CASES + MORE, golden.FEW, golden.SLOW))
"""Some in the quick tests, all in the slow ones."""


@functools.cache
def original(key):
    return golden.build(next(case for case in CASES + MORE if case.key == key))


def copied(case):
    """A model of a case that a test may change."""
    copy = keras.models.clone_model(original(case.key))
    copy.set_weights(original(case.key).get_weights())
    return copy


def reloaded(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def all_layers(thing):
    """A layer or model and all that it holds, at any depth."""
    return list(thing._flatten_layers())


def dense_layers(thing, kind=(keras.layers.Dense, keras.layers.EinsumDense)):
    return [layer for layer in all_layers(thing) if isinstance(layer, kind)]


def with_dense_layers(case):
    """Of each class in a case's model that computes by dense layers: a layer, its copy and an input."""
    found = {type(layer): layer for layer in original(case.key).layers if dense_layers(layer, layers.Dense)}
    for layer in found.values():
        inputs = [layer.input] if keras.utils.is_keras_tensor(layer.input) else layer.input
        x = [golden.image((2, *tensor.shape[1:]), seed) for seed, tensor in enumerate(inputs)]
        yield layer, rebuilt(layer), x if len(x) > 1 else x[0]


def rebuilt(layer):
    """What is made of a layer's config, with its weights."""
    copy = type(layer).from_config(layer.get_config())
    copy.build_from_config(layer.get_build_config())
    copy.set_weights(layer.get_weights())
    return copy


def trainable(thing):
    return [variable.path for variable in thing.trainable_variables]


def close(answer, expected, limit=1e-5):
    answer, expected = np.asarray(answer), np.asarray(expected)
    return np.abs(answer - expected).max() < limit * expected.std()


def test_every_layer_class_of_the_package_is_among_the_cases():
    for module in pkgutil.walk_packages(keras_mlp.__path__, "keras_mlp."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    package = {
        thing
        for name, thing in keras.saving.get_custom_objects().items()
        if name.startswith("keras_mlp>") and isinstance(thing, type) and issubclass(thing, keras.layers.Layer)
    }
    models = [original(case.key) for case in CASES + MORE]
    here = {type(layer) for model in models for layer in all_layers(model)}
    of_tasks = {kind for kind in package if kind.__module__.startswith("keras_mlp.tasks.")}
    assert not any(issubclass(kind, layers.Composite) for kind in of_tasks), "test these as composites, too"
    assert package - here - of_tasks == WITHOUT, "add a case with these layers to MORE"
    nested = {type(layer) for model in models for layer in all_layers(model) if len(all_layers(layer)) > 1}
    # Keras itself makes recurrent layers hold their cells.
    assert all(issubclass(kind, layers.Composite | keras.Model | keras.layers.RNN) for kind in nested)


@every_layer
def test_layers_inside_are_frozen_and_thawed_with_the_outer_one(case):
    """Before the outer one is built and after."""
    for layer in original(case.key).layers:
        if not layer.weights:
            continue
        config, shapes = layer.get_config(), layer.get_build_config()
        before = type(layer).from_config(config | {"trainable": False})
        before.build_from_config(shapes)
        after = type(layer).from_config(config)
        after.build_from_config(shapes)
        expected = trainable(after)
        after.trainable = False
        for frozen in before, after:
            assert not any(inner.trainable for inner in all_layers(frozen)), layer.name
            assert not any(variable.trainable for variable in frozen.variables), layer.name
            assert "sublayers" not in frozen.get_config()
            frozen.trainable = True
            assert trainable(frozen) == expected


@every_layer
def test_layers_inside_keep_the_dtype_policy_of_the_outer_one(case):
    """Whatever the global one is when they are built; and a policy for one of them by its path."""
    for layer in original(case.key).layers:
        inside = all_layers(layer)[1:]
        if not inside:
            continue
        config, shapes = layer.get_config(), layer.get_build_config()
        keras.config.set_dtype_policy("float64")
        copy = type(layer).from_config(config)
        copy.build_from_config(shapes)
        assert {inner.dtype_policy.name for inner in all_layers(copy)} == {"float32"}
        assert {variable.dtype for variable in copy.trainable_variables} <= {"float32"}
        paths = [inner.path for inner in all_layers(copy)[1:] if inner.path]
        keras.config.set_dtype_policy("float32")
        for path in paths:
            policy = DTypePolicyMap("mixed_bfloat16", {path: keras.DTypePolicy("float64")})
            mapped = type(layer).from_config(config | {"dtype": policy})
            mapped.build_from_config(shapes)
            again = type(layer).from_config(mapped.get_config())
            again.build_from_config(shapes)
            for built in mapped, again:
                found = {inner.path: inner.compute_dtype for inner in all_layers(built)[1:] if inner.path}
                assert found == {p: "float64" if p == path else "bfloat16" for p in paths}


@every_family
def test_a_frozen_backbone_stays_frozen_in_every_copy(case, tmp_path):
    backbone = copied(case)
    backbone.trainable = False
    inputs = keras.Input(backbone.input_shape[1:])
    model = keras.Model(inputs, keras.layers.Dense(3, name="new_head")(backbone(inputs)))
    for copy in model, reloaded(model, tmp_path), keras.models.clone_model(model):
        assert [path.split("/")[-2:] for path in trainable(copy)] == [["new_head", "kernel"], ["new_head", "bias"]]
    loaded = keras.models.load_model(tmp_path / "model.keras")
    inside = loaded.get_layer(backbone.name)
    before = inside.get_weights()
    loaded.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    head = loaded.get_layer("new_head").get_weights()
    loaded.fit(case.images(), np.ones((len(case.images()), 3)), verbose=0)
    assert all(map(np.array_equal, before, inside.get_weights()))
    assert not np.array_equal(head[0], loaded.get_layer("new_head").get_weights()[0])


@every_family
def test_a_layer_inside_that_is_frozen_by_itself_stays_so_in_every_copy(case, tmp_path):
    model = copied(case)
    for layer in model.layers:
        for inner in all_layers(layer)[1:2]:
            inner.trainable = False
    expected = trainable(model)
    for copy in reloaded(model, tmp_path), keras.models.clone_model(model):
        assert trainable(copy) == expected


def adapt(thing):
    """Give adapters to all dense layers of ours; they train, their biases train, nothing else does."""
    for layer in dense_layers(thing, layers.Dense):
        layer.enable_lora(2, lora_alpha=3)
        layer.trainable = False
    for layer in all_layers(thing):
        layer.trainable = isinstance(layer, keras.Model)
    for layer in dense_layers(thing, layers.Dense):
        layer.trainable = True


def merge(adapted, plain):
    """Set the weights of a copy without adapters to what the adapters make of them."""
    for layer, other in zip(dense_layers(adapted, layers.Dense), dense_layers(plain, layers.Dense), strict=True):
        layer.lora_kernel_b.assign(golden.tensor(layer.path, layer.lora_kernel_b.shape))
        other.kernel.assign(layer._kernel + 1.5 * layer.lora_kernel_a @ layer.lora_kernel_b)
        if layer.use_bias:
            other.bias.assign(layer.bias)


@every_layer
def test_adapters_in_every_layer_are_as_if_they_were_merged(case):
    for layer, copy, x in with_dense_layers(case):
        adapt(copy)
        assert close(copy(x), layer(x))
        assert {path.split("/")[-1] for path in trainable(copy)} <= {"lora_kernel_a", "lora_kernel_b", "bias"}
        merge(copy, merged := rebuilt(layer))
        assert close(copy(x), merged(x)) and not close(copy(x), layer(x))
        again = rebuilt(copy)
        assert trainable(again) == trainable(copy)
        np.testing.assert_array_equal(again(x), copy(x))


@pytest.mark.slow
@every_layer
@pytest.mark.parametrize(
    "mode, limit",
    [("int8", 0.2), pytest.param("int4", 2, marks=golden.HUGE), pytest.param("float8", 1, marks=golden.HUGE)],
)
def test_dense_layers_in_every_layer_can_be_quantised(case, mode, limit):
    for layer, copy, x in with_dense_layers(case):
        for inner in dense_layers(copy):
            inner.quantize(mode)
        assert 0 < np.abs(copy(x) - layer(x)).max() < limit * np.std(layer(x)), layer.name
        if mode != "float8":  # of which Keras orders the weights of what is made of a config differently
            again = rebuilt(copy)
            assert {inner.quantization_mode for inner in dense_layers(again)} == {mode}
            np.testing.assert_array_equal(again(x), copy(x))


@every_family
def test_adapters_are_trained_and_stay_in_every_copy(case, tmp_path):
    model, images = copied(case), case.images()
    adapt(model)
    dense = dense_layers(model, layers.Dense)
    kernels = [np.array(layer._kernel) for layer in dense]
    model.compile(keras.optimizers.SGD(1e-2), "mse", run_eagerly=True)
    model.fit(images, np.ones(model.compute_output_shape(images.shape)), verbose=0)
    assert all(np.array_equal(layer._kernel, kernel) for layer, kernel in zip(dense, kernels, strict=True))
    assert any(np.any(layer.lora_kernel_b) for layer in dense)

    keras.config.set_dtype_policy("float64")  # in which sums in another order are alike
    double, merged = golden.build(case), golden.build(case)
    adapt(double)
    double.set_weights(model.get_weights())
    merge(double, merged)
    assert close(merged(images), double(images))  # factors are of single precision in Keras
    keras.config.set_dtype_policy("float32")
    answer = np.asarray(model(images))
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    loaded = reloaded(model, tmp_path)
    for copy in clone, loaded:
        assert close(copy(images), answer)
        assert trainable(copy) == trainable(model)
        assert {(layer.lora_rank, layer.lora_alpha) for layer in dense_layers(copy, layers.Dense)} == {(2, 3)}
    assert all(np.any(layer.lora_kernel_a) for layer in dense_layers(loaded, layers.Dense))  # or none could be trained


@pytest.mark.parametrize("case", golden.chosen(CASES, ("mlp_mixer", "sparse_mlp"), *golden.HUGE))
@pytest.mark.parametrize(
    "mode, limit",
    [("int8", 0.2), pytest.param("int4", 3, marks=golden.HUGE), pytest.param("float8", 1, marks=golden.HUGE)],
)
def test_keras_quantises_every_dense_layer(case, mode, limit, tmp_path):
    model, images = copied(case), case.images()
    expected = np.asarray(model(images))
    model.quantize(mode)
    assert {layer.quantization_mode for layer in dense_layers(model)} == {mode}
    answer = np.asarray(model(images))
    assert 0 < np.abs(answer - expected).max() < limit * expected.std()
    copies = [reloaded(model, tmp_path)]
    if mode != "float8":
        copies.append(keras.models.clone_model(model))
        copies[-1].set_weights(model.get_weights())
    for copy in copies:
        assert {layer.quantization_mode for layer in dense_layers(copy)} == {mode}
        np.testing.assert_allclose(copy(images), answer, atol=1e-5 * expected.std())
