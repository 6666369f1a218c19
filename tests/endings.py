"""Classifiers of every kind of classes, with every way to end.

Models of one kind have the same logits, whatever they end in, so that all of them have to have the same probabilities,
losses and decisions.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from keras_mlp.classifiers import BINARY, EXCLUSIVE, KINDS, MULTI_LABEL
from keras_mlp.training.data import Data
from keras_mlp.training.data.broken import Broken

SHAPE = (4, 4, 3)
UNITS = {EXCLUSIVE: 3, BINARY: 1, MULTI_LABEL: 3}
ACTIVATIONS = {EXCLUSIVE: "softmax", BINARY: "sigmoid", MULTI_LABEL: "sigmoid"}
LOSSES = {
    EXCLUSIVE: keras.losses.CategoricalCrossentropy,
    BINARY: keras.losses.BinaryCrossentropy,
    MULTI_LABEL: keras.losses.BinaryCrossentropy,
}


# How a model ends: from features, its number of units and an activation to the output.
ENDINGS = {
    "an activation in the layer": lambda x, n, a: layers.Dense(n, a)(x),
    "an activation's layer": lambda x, n, a: layers.Activation(a)(layers.Dense(n)(x)),
    "an activation's function": lambda x, n, a: layers.Dense(n, keras.activations.get(a))(x),
    "an operation": lambda x, n, a: getattr(ops, a)(layers.Dense(n)(x)),
    "a reshape behind": lambda x, n, a: layers.Reshape((n,))(ops.expand_dims(layers.Dense(n, a)(x), -1)),
    "a flatten behind": lambda x, n, a: layers.Flatten()(
        layers.Conv2D(n, 1, activation=a)(layers.Reshape((1, 1, 48))(x))
    ),
    "dropout and a linear activation": lambda x, n, a: layers.Activation("linear")(
        layers.Dropout(0.5)(layers.Dense(n, a)(x))
    ),
    "casts": lambda x, n, a: ops.cast(ops.cast(layers.Dense(n, a)(x), "float64"), "float32"),
    "an average of two": lambda x, n, a: layers.Average()([layers.Dense(n, a)(x), layers.Dense(n, a)(x)]),
    "half of a sum of two": lambda x, n, a: (layers.Dense(n, a)(x) + layers.Dense(n, a)(x)) / 2,
    "weights of two": lambda x, n, a: 0.25 * layers.Dense(n, a)(x) + layers.Dense(n, a)(x) * 0.75,
    "an unknown function": lambda x, n, a: layers.Lambda(getattr(ops, a))(layers.Dense(n)(x)),
    "logits": lambda x, n, a: layers.Dense(n)(x),
    "logits after a reshape": lambda x, n, a: ops.reshape(layers.Dense(n)(x), (-1, n)),
    "an average of logits": lambda x, n, a: layers.Average()([layers.Dense(n)(x), layers.Dense(n)(x)]),
}
SOFTMAX = {"a softmax layer": lambda x, n, a: layers.Softmax()(layers.Dense(n)(x))}
SIGMOID = {"units side by side": lambda x, n, a: layers.Concatenate()([layers.Dense(1, a)(x) for _ in range(n)])}
CASES = [
    *((kind, ending) for kind in KINDS for ending in ENDINGS),
    *((EXCLUSIVE, ending) for ending in SOFTMAX),
    *((MULTI_LABEL, ending) for ending in SIGMOID),
]


def model_of(kind, ending):
    """A classifier of that kind; one that gives logits is compiled with the loss that tells their kind."""
    units, activation = UNITS[kind], ACTIVATIONS[kind]
    inputs = keras.Input(SHAPE)
    features = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, {**ENDINGS, **SOFTMAX, **SIGMOID}[ending](features, units, activation), name="given")
    kernel, bias = np.random.default_rng(0).normal(0, 0.5, (48, units)), np.linspace(-0.5, 0.4, units)
    heads = [layer for layer in model.layers if layer.weights]
    for number, layer in enumerate(heads):
        one = slice(number, number + 1) if ending in SIGMOID else slice(None)
        layer.kernel.assign(np.reshape(kernel[:, one], layer.kernel.shape))
        layer.bias.assign(bias[one])
    if "logits" in ending:
        model.compile("sgd", LOSSES[kind](from_logits=True))
    return model


def images(count=32):
    return np.random.default_rng(1).uniform(0, 255, (count, *SHAPE)).astype("float32")


def truth(kind, given):
    """Logits, and probabilities of the classes."""
    logits = np.asarray(model_of(kind, "logits")(given), "float64")
    if kind == EXCLUSIVE:
        powers = np.exp(logits)
        return logits, powers / powers.sum(-1, keepdims=True)
    found = 1 / (1 + np.exp(-logits))
    return logits, np.concatenate([1 - found, found], -1) if kind == BINARY else found


def data_of(kind, given):
    """Evaluation data, labelled at random."""
    random = np.random.default_rng(2)
    classes = 2 if kind == BINARY else UNITS[kind]
    labels = np.eye(classes)[random.integers(0, classes, len(given))]
    if kind == MULTI_LABEL:
        labels = random.integers(0, 2, labels.shape)
    dataset = tf.data.Dataset.from_tensor_slices((given, labels.astype("float32"))).batch(8)
    names, broken = [f"class {i}" for i in range(classes)], Broken(len(given), 0.0, str)
    return Data(dataset, names, len(given), len(given) // 8, 8, broken, multi_label=kind == MULTI_LABEL), labels


def nested_twice(model):
    inner = keras.Sequential([keras.Input(SHAPE), model, layers.Dropout(0.1)])
    inputs = keras.Input(SHAPE)
    tail = keras.Sequential([keras.Input(model.output_shape[1:]), layers.Identity()])
    outer = keras.Model(inputs, tail(inner(inputs)))
    if model.compiled:
        outer.compile("sgd", model.loss)
    return outer
