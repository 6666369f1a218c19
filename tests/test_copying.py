"""A copy of a model has all that the model has, whatever layers stand in front of our models and behind them."""

import dataclasses
import tempfile
import typing

import golden
import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_mlp
from keras_mlp import export
from keras_mlp.checkpoints import naming
from keras_mlp.checkpoints.load import save_checkpoint
from keras_mlp.copying import copied
from keras_mlp.export.portable import portable
from keras_mlp.training import probe
from keras_mlp.zoo import FAMILIES

SCALE = 1.25


def leaky(x):
    """A function that nobody registered; `SCALE` is known in this file alone."""
    return ops.maximum(x, 0.3 * x) * SCALE


class Shifted(layers.Layer):
    """A user's layer that nobody registered, with a number beside its weights that only `finalize_state` sets."""

    shift = 0.0

    def build(self, shape):
        self.offset = self.add_weight((shape[-1],), "zeros", trainable=False, name="offset")

    def adapt(self, values):
        self.offset.assign(values)
        self.finalize_state()

    def finalize_state(self):
        self.shift = ops.convert_to_numpy(self.offset)

    def call(self, x):
        return x + self.shift


def normalization(draw):
    layer = layers.Normalization()
    layer.adapt(draw.normal(1, 2, (8, 4, 4, 3)))
    return layer


def shifted(draw):
    layer = Shifted()
    layer.build((None, 3))
    layer.adapt(draw.normal(size=3))
    return layer


def lambda_layer(draw):
    factor = draw.uniform(0.5, 1.5)
    return layers.Lambda(lambda x: ops.tanh(factor * x) * SCALE)


def adapted(draw, units=3):
    """A dense layer with an adapter, which needs its input's width."""

    def call(x):
        layer = layers.Dense(units, activation=draw.choice([None, leaky]))
        y = layer(x)
        layer.enable_lora(2, lora_alpha=3)
        return y

    return call


def twice(draw):
    layer = layers.Dense(3, activation="tanh")
    return lambda x: layer(layer(x))


def nested(draw):
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, stack(draw, inputs, PIXELS, 2))


def nested_twice(draw):
    model = nested(draw)
    return lambda x: model(model(x))


def sequential(draw):
    return keras.Sequential(
        [keras.Input((None, None, 3)), normalization(draw), layers.Conv2D(3, 1), lambda_layer(draw)]
    )


def two_inputs(draw):
    """Layers called with a list and with tensors as keywords, models with a dictionary and with two outputs."""
    left, right = keras.Input((None, None, 3), name="left"), keras.Input((None, None, 3), name="right")
    model = keras.Model({"left": left, "right": right}, [layers.Add()([left, right]), left * right])

    def call(x):
        total, product = model({"left": x, "right": layers.Conv2D(3, 1)(x)})
        return layers.Concatenate()([total, ops.where(product > 0, product, 0.1 * total)])[..., 1:4]

    return call


PIXELS = {
    "adapted normalisation": normalization,
    "normalisation": lambda draw: layers.Normalization(mean=draw.normal(size=3), variance=draw.uniform(1, 2, 3)),
    "state beside weights": shifted,
    "rescaling": lambda draw: layers.Rescaling(draw.uniform(0.5, 2), offset=[0.1, -0.2, 0.3]),
    "flip": lambda draw: layers.RandomFlip(),
    "rotation": lambda draw: layers.RandomRotation(0.2),
    "contrast": lambda draw: layers.RandomContrast(0.5),
    "convolution": lambda draw: layers.Conv2D(3, 3, padding="same", activation=leaky),
    "depthwise": lambda draw: layers.DepthwiseConv2D(3, padding="same"),
    "batch norm": lambda draw: layers.BatchNormalization(),
    "layer norm": lambda draw: layers.LayerNormalization(),
    "lambda": lambda_layer,
    "arithmetic": lambda draw: lambda x: x / 127.5 * 128 - 0.5,
    "flipped by an operation": lambda draw: lambda x: ops.flip(x, axis=2),
    "channels turned": lambda draw: lambda x: x[..., ::-1],
    "dropout": lambda draw: layers.Dropout(0.5),
    "noise": lambda draw: layers.GaussianNoise(0.5),
    "told not to train": lambda draw: lambda x: layers.SpatialDropout2D(0.5)(x, training=False),
    "activation": lambda draw: layers.Activation(leaky),
    "lambda as activation": lambda draw: layers.Dense(3, activation=lambda x: ops.sin(x) * SCALE),
    "adapter": adapted,
    "rows": lambda draw: layers.TimeDistributed(layers.Conv1D(3, 3, padding="same")),
    "lambda of rows": lambda draw: layers.TimeDistributed(lambda_layer(draw)),
    "shared twice": twice,
    "two inputs": two_inputs,
    "identity": lambda draw: layers.Identity(),
}
NESTED = PIXELS | {"nested": nested, "nested twice": nested_twice, "sequential": sequential}
FEATURES = {
    "dense": lambda draw: layers.Dense(5, activation=leaky),
    "batch norm": lambda draw: layers.BatchNormalization(),
    "lambda": lambda_layer,
    "dropout": lambda draw: layers.Dropout(0.5),
    "adapter": lambda draw: adapted(draw, 6),
    "two rows": lambda draw: lambda x: layers.Reshape((-1,))(ops.stack([x, 2 * layers.Dense(x.shape[-1])(x)], axis=1)),
    "softmax": lambda draw: layers.Softmax(),
    "operation": lambda draw: lambda x: ops.log_softmax(x) + 1,
    "there and back": lambda draw: lambda x: layers.Bidirectional(layers.SimpleRNN(3))(x[:, None]),
    "activation": lambda draw: layers.Activation("gelu"),
}


def stack(draw, x, kinds, count):
    """`count` layers of random kinds."""
    for name in draw.choice(list(kinds), count):
        x = kinds[name](draw)(x)
    return x


def randomise(model, draw):
    """No weight is left at a value that would hide its loss, no flag at its default."""
    for variable in model.variables:
        name = variable.name
        fixed = name in ("mean", "variance", "offset")  # these are kept beside them, too
        if keras.backend.is_float_dtype(variable.dtype) and not fixed:
            values = ops.convert_to_numpy(variable)
            if name.endswith("variance"):
                values = values * draw.uniform(0.8, 1.25, values.shape)
            else:
                values = values + 0.1 * draw.normal(size=values.shape)
            variable.assign(values)


def parts(model):
    """All layers in a model that hold no others, those of its composite layers among them."""
    return [layer for layer in model._flatten_layers() if not layer._layers]


def adapt(model, draw, most=4):
    """Low-rank adapters in dense layers of a model, inside its composite layers."""
    fit = [part for part in parts(model) if type(part).__name__ == "Dense" and part.built and not part.lora_enabled]
    for part in draw.permutation(np.array(fit, object))[:most]:
        part.enable_lora(2)
        part.lora_kernel_b.assign(0.2 * draw.normal(size=part.lora_kernel_b.shape))


def freeze(model, draw, count=3):
    for part in draw.permutation(np.array(parts(model), object))[:count]:
        part.trainable = False


def around(case, draw, count=3, adapters=True):
    """A random model around a family's small one."""
    base = golden.build(case)
    if adapters:
        adapt(base, draw)
    inputs = keras.Input(case.input_shape[1:])
    x = inputs
    if len(case.input_shape) == 4:  # else a film
        x = stack(draw, x, NESTED, count)
    x = ops.clip(x, -4, 4)
    kind = draw.integers(4)
    if kind == 0:  # one model in another
        middle = keras.Input(case.input_shape[1:])
        base = keras.Model(middle, layers.Dense(6)(base(2 * middle)))
    if kind == 1:
        base = keras.Sequential([keras.Input(case.input_shape[1:]), layers.Dense(3), base])
    y = base(x)
    if kind > 1:
        y = layers.Average()([y, base(x[..., ::-1])])
    model = keras.Model(inputs, stack(draw, y, FEATURES, count), name="around")
    randomise(model, draw)
    freeze(model, draw)
    return model


def difference(model, other, images):
    """Largest difference of what two models give in inference, in standard deviations of the first's."""
    ours, theirs = (np.asarray(m(images, training=False), np.float64) for m in (model, other))
    assert np.isfinite(ours).all()
    return np.abs(ours - theirs).max() / (ours.std() or 1)


def flags(model):
    return [(variable.trainable, tuple(variable.shape)) for variable in model.weights]


@dataclasses.dataclass
class Copy:
    """One way to copy a model."""

    make: typing.Callable
    whole: bool = True  # adapters and flags are carried along
    tolerance: float = 1e-4


def there_and_back(model):
    """Resized to twice the size and back. What is interpolated does not come back by itself: it is put back."""
    height, width = model.inputs[0].shape[-3:-1]
    back = keras_mlp.resize(keras_mlp.resize(model, (2 * height, 2 * width)), (height, width))
    for layer, copy in zip(naming.weighted_layers(model), naming.weighted_layers(back), strict=True):
        axes = [over for axes in getattr(layer, "grid_axes", {}).values() for over in axes if over]
        if any(over.endswith(("spectrum", "embedding")) for over in axes):
            copy.set_weights(layer.get_weights())
    return back


def encoder(model):
    """The copy in a classifier, without the classifier."""
    copy = probe.classifier(model, 3)
    return keras.Model(copy.inputs, copy.layers[-1].input)


def through_a_file(model):
    """A checkpoint of the model, loaded into what has its layers and other weights."""
    copy = copied(model)
    randomise(copy, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(model, f"{folder}/model.safetensors")
        keras_mlp.load_checkpoint(copy, f"{folder}/model.safetensors")
    return copy


def exported(function, run):
    """The file of an export, as a model."""

    def make(model):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/model.{function.__name__.removeprefix('to_')}"
            function(model, path)
            loaded = run(path)
        return lambda images, training: loaded(images)

    return make


def run_onnx(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]


def run_saved_model(path):
    serve = tf.saved_model.load(path).signatures["serving_default"]
    return lambda images: serve(tf.constant(images))["outputs"].numpy()


COPIES = {
    "fuse": Copy(keras_mlp.fuse, whole=False),
    "copied": Copy(copied),
    "resize there and back": Copy(there_and_back),
    "portable": Copy(lambda model: portable(model, (None, *model.inputs[0].shape[1:])), whole=False),
    "probe": Copy(encoder),
    "checkpoint": Copy(through_a_file),
}
QUICK = ["fuse", "resize there and back", "portable", "probe", "checkpoint"]
EXPORTS = {
    "tflite": Copy(exported(export.to_tflite, export.Runner), whole=False),
    "onnx": Copy(exported(export.to_onnx, run_onnx), whole=False),
    "saved model": Copy(exported(export.to_saved_model, run_saved_model), whole=False),
}


def check(case, seed, copies):
    draw = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    model = around(case, draw)
    images, kept, faults = case.images(), model.get_weights(), []
    expected = np.asarray(model(images, training=False), np.float64)
    assert np.isfinite(expected).all()
    for name, copy in copies.items():
        try:
            made = copy.make(model)
            found = np.abs(made(images, training=False) - expected).max() / (expected.std() or 1)
            if not found < copy.tolerance:
                faults.append(f"{name}: off by {found:.2g}")
            if copy.whole and flags(made) != flags(model):
                faults.append(f"{name}: other variables, or trained otherwise")
        except Exception as error:
            faults.append(f"{name}: {type(error).__name__} {str(error)[:300]}")
    assert not faults, "\n".join([f"seed {seed}: {[layer.name for layer in model.layers]}", *faults])
    keras.tree.map_structure(np.testing.assert_array_equal, model.get_weights(), kept)


@pytest.mark.parametrize("family", golden.chosen(sorted(FAMILIES), golden.FEW, *golden.HUGE))
def test_a_copy_of_a_random_model_computes_like_it(family):
    """Of each family one random model, of which one kind of copy is made; the kinds take turns."""
    seed = sorted(FAMILIES).index(family)
    name = QUICK[seed % len(QUICK)]
    check(golden.small(family), seed, {name: COPIES[name]})


@pytest.mark.slow
@pytest.mark.parametrize("seed", [100, 101, *(pytest.param(seed, marks=pytest.mark.huge) for seed in range(102, 112))])
def test_every_copy_of_more_random_models_computes_like_them(seed):
    check(golden.small(sorted(FAMILIES)[seed % len(FAMILIES)]), seed, COPIES)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.huge) for seed in (1, 2, 3))])
def test_every_export_of_random_models_computes_like_them(seed):
    check(golden.small(golden.FEW[seed]), seed, EXPORTS)


def test_copies_have_what_layers_keep_in_tables_and_layers_with_many_inputs_and_outputs():
    words, numbers = keras.Input((1,), dtype="string", name="words"), keras.Input((1,), name="numbers")
    lookup, bins = layers.StringLookup(output_mode="one_hot"), layers.Discretization(num_bins=3, output_mode="one_hot")
    text = layers.TextVectorization(output_mode="count")
    lookup.adapt(["a", "b", "c"])
    bins.adapt(np.arange(20.0)[:, None])
    text.adapt(["a b", "b c"])
    encoded = layers.Concatenate()([lookup(words), bins(numbers), layers.Flatten()(text(words))])
    attended = layers.MultiHeadAttention(2, 3)(query=encoded[:, None], value=encoded[:, None], key=encoded[:, None])
    backward = layers.GRU(2, go_backwards=True)
    recurrent = layers.Bidirectional(layers.LSTM(2), backward_layer=backward)(attended)
    cells = layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_state=True)(attended)
    model = keras.Model({"words": words, "numbers": numbers}, {"recurrent": recurrent, "cells": cells})
    randomise(model, np.random.default_rng(0))
    given = {"words": tf.constant([["a"], ["none"], ["c"]]), "numbers": tf.constant([[1.0], [8.0], [18.0]])}
    for copy in (copied(model), keras_mlp.fuse(model)):
        keras.tree.map_structure(np.testing.assert_array_equal, model(given), copy(given))


def test_copies_draw_the_same_random_numbers_and_have_their_own_variables():
    case = golden.small("mlp_mixer")
    model = golden.build(case, drop_path_rate=0.5, dropout_rate=0.5)
    model(case.images(), training=True)
    copy = copied(model)
    np.testing.assert_array_equal(model(case.images(), training=True), copy(case.images(), training=True))
    assert not {id(variable) for variable in model.variables} & {id(variable) for variable in copy.variables}


@pytest.mark.parametrize("family", golden.chosen(golden.FEW, ("mlp_mixer",), golden.SLOW))
def test_quantised_layers_are_copied_as_they_are_or_refused(family, tmp_path):
    """Those inside composite layers, some of them with adapters."""
    draw = np.random.default_rng(0)
    case = golden.small(family)
    model = golden.build(case)
    adapt(model, draw)
    for part in [part for part in parts(model) if type(part).__name__ == "Dense"][:4]:
        part.quantize("int8", type_check=False)
    for copy in (copied(model), keras_mlp.fuse(model), keras_mlp.resize(model, model.inputs[0].shape[1:3])):
        assert difference(model, copy, case.images()) < 1e-4
    with pytest.raises(ValueError, match="quantised by Keras"):
        save_checkpoint(model, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="quantised by Keras"):
        export.to_tflite(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_a_grid_of_quantised_weights_cannot_be_resampled():
    model = golden.build(golden.small("mlp_mixer"))
    model.get_layer("blocks_0_token_mixing").fc1.quantize("int8", type_check=False)
    with pytest.raises(ValueError, match="'blocks_0_token_mixing' was quantised by Keras.*Resize the model first"):
        keras_mlp.resize(model, (64, 64))


class Grown(layers.Layer):
    """Gets a layer that its configuration does not tell of."""

    def call(self, x):
        return self.inner(x) if hasattr(self, "inner") else x


def test_what_no_configuration_tells_is_an_error_that_says_so():
    image = keras.Input((4,))
    grown = Grown(name="grown")
    grown.inner = layers.Dense(4)
    model = keras.Model(image, grown(image))
    for copy in (copied, keras_mlp.fuse):
        with pytest.raises(ValueError, match=r"Layer 'grown' \(Grown\) cannot be copied: it holds the layers \['dense"):
            copy(model)
