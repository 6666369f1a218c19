"""A copy of a model has all that the model has, whatever layers stand in front of our models and behind them."""

import dataclasses
import typing

import golden
import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_mlp
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
        self.offset = self.add_weight((shape[-1],), "zeros", trainable=False)

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
        fixed = name in ("mean", "variance") or name.startswith("variable")  # these are kept beside them, too
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
    height, width = model.inputs[0].shape[-3:-1]
    return keras_mlp.resize(keras_mlp.resize(model, (2 * height, 2 * width)), (height, width))


def encoder(model):
    """The copy in a classifier, without the classifier."""
    copy = probe.classifier(model, 3)
    return keras.Model(copy.inputs, copy.layers[-1].input)


COPIES = {
    "fuse": Copy(keras_mlp.fuse, whole=False),
    "resize": Copy(lambda model: keras_mlp.resize(model, model.inputs[0].shape[-3:-1])),
    "resize there and back": Copy(there_and_back),
    "portable": Copy(lambda model: portable(model, (None, *model.inputs[0].shape[1:])), whole=False),
    "probe": Copy(encoder),
}


def check(case, seed, copies=COPIES):
    draw = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    model = around(case, draw)
    images = case.images()
    before = model(images, training=False)
    faults = []
    for name in copies:
        try:
            copy = COPIES[name].make(model)
            found = difference(model, copy, images)
            if not found < COPIES[name].tolerance:
                faults.append(f"{name}: off by {found:.2g}")
            if COPIES[name].whole and flags(copy) != flags(model):
                faults.append(f"{name}: other variables, or trained otherwise")
        except Exception as error:
            faults.append(f"{name}: {type(error).__name__} {str(error)[:300]}")
    assert not faults, "\n".join([f"seed {seed}: {[layer.name for layer in model.layers]}", *faults])
    np.testing.assert_array_equal(model(images, training=False), before)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_copy_of_a_random_model_computes_like_it(family):
    check(golden.small(family), seed=sorted(FAMILIES).index(family))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_every_copy_of_more_random_models_computes_like_them(seed):
    check(golden.small(sorted(FAMILIES)[seed % len(FAMILIES)]), seed)
