"""The depthwise convolution with a fast gradient: Keras' own numbers, and when its gradient is in pieces."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mlp
from keras_mlp import layers
from keras_mlp.layers import products

WIDE = dict(kernel_size=5, padding="same", bias_initializer="random_normal", activation="relu")


def gradients(layer, x, **call):
    """The output, and the gradients of a weighted sum of it by the input, the kernel and the bias."""
    weights = [variable.value for variable in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, **call)
        total = tf.reduce_sum(y * tf.cast(tf.reshape(tf.range(tf.size(y)) % 7, y.shape), y.dtype))
    return [y, *tape.gradient(total, [x, *weights])]


@pytest.mark.parametrize(
    "options",
    [{}, {"strides": 2}, {"padding": "valid"}, {"kernel_size": (7, 5)}, {"use_bias": False}, {"kernel_size": 9}],
)
def test_in_pieces_the_gradient_is_that_of_keras(options):
    channels = 410 if options.get("kernel_size") == 9 else 256  # 410 leave a rest
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 8, 9, channels)), "float32")
    ours, theirs = layers.DepthwiseConv2D(**WIDE | options), keras.layers.DepthwiseConv2D(**WIDE | options)
    ours.build(x.shape)
    theirs.build(x.shape)
    theirs.set_weights(ours.get_weights())
    for found, expected in zip(gradients(ours, x, training=True), gradients(theirs, x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def pieces(layer, channels, training=True, compiled=False, dtype="float32"):
    """How many operators compute the gradient of the kernel."""

    @tf.function(jit_compile=compiled)
    def gradient(x):
        return gradients(layer, x, training=training)

    graph = gradient.get_concrete_function(tf.TensorSpec((1, 6, 6, channels), dtype)).graph
    return sum(operation.type.endswith("BackpropFilter") for operation in graph.get_operations())


def test_only_what_is_slow_in_training_is_in_pieces():
    assert pieces(layers.DepthwiseConv2D(**WIDE), 512) == 8
    assert pieces(layers.DepthwiseConv2D(**WIDE, dtype="mixed_bfloat16"), 512) == 8
    for options in (dict(kernel_size=3), dict(depth_multiplier=2), dict(dilation_rate=2)):
        assert pieces(layers.DepthwiseConv2D(**WIDE | options), 256) == 1
    assert pieces(layers.DepthwiseConv2D(**WIDE), 1310) == 1
    assert pieces(layers.DepthwiseConv2D(**WIDE), 1311) == 21  # 32,775 numbers
    assert pieces(layers.DepthwiseConv2D(**WIDE), 512, training=False) == 1
    assert pieces(layers.DepthwiseConv2D(**WIDE), 512, compiled=True) == 1
    with products.for_export():
        assert not products.on_processors()


def test_a_training_step_of_swat_is_in_pieces():
    model = keras_mlp.SWATMixerTi(weights=None)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(x, training=True))
        return tape.gradient(loss, model.trainable_variables)

    graph = step.get_concrete_function(tf.TensorSpec((1, 224, 224, 3))).graph
    kinds = [operation.type for operation in graph.get_operations()]
    # Eight of 1024 channels, in pieces of 64; and eight of token mixing, which have fewer channels.
    assert kinds.count("DepthwiseConv2dNativeBackpropFilter") == 8 * 16 + 8
