"""Layers whose heart is a product of matrices, each beside its equation."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp import layers
from keras_mlp.families import sequencer2d
from keras_mlp.layers import products


@pytest.mark.parametrize("side", ["height", "width"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_recurrences_see_what_lies_before_them_and_what_lies_after(kind, side):
    """One direction each in half of the channels, and rows and columns not beside them at all."""
    layer = sequencer2d.AxialRecurrence(3, side, kind)
    x = np.random.RandomState(0).standard_normal((1, 4, 5, 2)).astype("float32")
    before = np.asarray(layer(x))
    x[0, 2, 1] += 1
    changed = np.any(np.asarray(layer(x)) != before, axis=0).reshape(4, 5, 2, 3).any(-1)
    onward, backward = np.zeros((2, 4, 5), bool)
    if side == "height":
        onward[2:, 1] = backward[:3, 1] = True
    else:
        onward[2, 1:] = backward[2, :2] = True
    np.testing.assert_array_equal(changed, np.stack([onward, backward], -1))
    for wrong in (dict(side="depth"), dict(side=side, kind="lru")):
        with pytest.raises(ValueError, match="must be.*Received"):
            sequencer2d.AxialRecurrence(3, **wrong)


def test_token_mlp_is_its_equation():
    """Y[:, c] = W2 gelu(W1 X[:, c] + b1) + b2, the same for every channel, on positions in row-major order."""
    layer = layers.TokenMLP(5, dtype="float64", bias_initializer="random_normal")
    x = np.random.RandomState(0).standard_normal((2, 3, 4, 7))
    answer = layer(x)
    w1, b1, w2, b2 = (np.asarray(v) for v in (layer.fc1.kernel, layer.fc1.bias, layer.fc2.kernel, layer.fc2.bias))
    assert (layer.grid, w1.shape, w2.shape) == ((3, 4), (12, 5), (5, 12))
    for image, mixed in zip(x, np.asarray(answer), strict=True):
        for c in range(7):
            hidden = np.asarray(layers.gelu(w1.T @ image.reshape(12, 7)[:, c] + b1))
            np.testing.assert_allclose(mixed.reshape(12, 7)[:, c], w2.T @ hidden + b2, atol=1e-12)


def test_a_gated_mlp_begins_as_one_without_a_gate():
    """The second half of the hidden layer is near 1 at the start, for every input, and so is what it makes of it."""
    x = np.random.RandomState(0).standard_normal((2, 3, 4, 6)).astype("float32")
    source = keras.Input(x.shape[1:])
    model = keras.Model(source, layers.channel_mlp(source, 10, "linear", "mlp", gated=True))
    fc1, fc2 = model.get_layer("mlp_fc1"), model.get_layer("mlp_fc2")
    assert (fc1.units, fc2.kernel.shape) == (10, (5, 6))
    np.testing.assert_allclose(model(x), fc2(fc1(x)[..., :5]), atol=1e-4)
    tokens = layers.TokenMLP(10, "linear", gated=True)
    np.testing.assert_array_equal(tokens(x).shape, x.shape)
    np.testing.assert_array_equal(tokens.fc1.bias, [0] * 5 + [1] * 5)
    with pytest.raises(ValueError, match="even.*Received: 5 channels"):
        layers.GatedLinearUnit("silu")(x[..., :5])
    with pytest.raises(ValueError, match="even.*Received: hidden_dim=5"):
        layers.TokenMLP(5, gated=True)


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 3, 4, 5), (2, 3, 4, 2, 5)])
def test_dense_is_keras_dense_for_inputs_of_any_rank(shape):
    ours, keras_own = (cls(7, activation="gelu") for cls in (layers.Dense, keras.layers.Dense))
    x = np.random.RandomState(0).standard_normal(shape).astype("float32")
    answer = ours(x)
    keras_own.build(shape)
    keras_own.set_weights(ours.get_weights())
    np.testing.assert_allclose(answer, keras_own(x), atol=1e-6)


@pytest.mark.parametrize("shape", [(None, None, 5), (3, None, 5), (None, 4, 5), (3, 4, 5)])
def test_dense_takes_unknown_sizes(shape):
    x = keras.Input(shape)
    model = keras.Model(x, layers.Dense(7)(x))
    assert model.output.shape == (None, *shape[:-1], 7)
    assert model(np.zeros((2, 3, 4, 5))).shape == (2, 3, 4, 7)


def test_tensorflow_fuses_bias_and_activation_into_the_product():
    """The reason for the layer; Keras' own leaves them apart for inputs of higher rank.

    ReLU is fused on every processor, GELU only where TensorFlow computes by oneDNN.
    """
    from tensorflow.python.eager import context

    layer = layers.Dense(64, activation="relu")
    x = tf.random.normal((2, 8, 8, 32))
    layer(x)
    for _ in range(2):  # the first record of a process is empty
        run = tf.function(lambda x: layer(x))
        run(x)
        context.enable_run_metadata()
        run(x)
        graphs = context.export_run_metadata().function_graphs
        context.disable_run_metadata()
    nodes = [node for graph in graphs for node in graph.post_optimization_graph.node]
    fused = [list(node.attr["fused_ops"].list.s) for node in nodes if node.op == "_FusedMatMul"]
    assert fused == [[b"BiasAdd", b"Relu"]]


def test_token_dense_is_its_equation():
    layer = layers.TokenDense(dtype="float64", bias_initializer="random_normal")
    x = np.random.RandomState(0).standard_normal((2, 3, 4, 7))
    answer = np.asarray(layer(x)).reshape(2, 12, 7)
    w, b = np.asarray(layer.fc.kernel).T, np.asarray(layer.fc.bias)
    np.testing.assert_allclose(answer, w @ x.reshape(2, 12, 7) + b[:, None], atol=1e-12)


def test_token_dense_is_its_equation_in_files_and_with_adapted_or_rounded_weights():
    """It multiplies from the left, but not for LiteRT, nor by weights that only the dense layer itself can read."""
    x = np.random.RandomState(0).standard_normal((2, 3, 4, 5)).astype("float32")
    layer = layers.TokenDense(bias_initializer="random_normal")
    plain = layer(x)
    with products.for_litert(integers=False):
        np.testing.assert_allclose(layer(x), plain, atol=1e-5)
    layer.fc.enable_lora(2, b_initializer="ones")
    w, b = np.asarray(layer.fc.kernel).T, np.asarray(layer.fc.bias)
    adapted = (w @ x.reshape(2, 12, 5) + b[:, None]).reshape(x.shape)
    np.testing.assert_allclose(layer(x), adapted, atol=1e-5)
    layer.fc.quantize("int8", type_check=False)
    np.testing.assert_allclose(layer(x), adapted, atol=0.1)
    assert np.abs(adapted - plain).max() > 0.3


def test_products_are_spelled_for_litert_in_the_thread_that_exports_alone():
    called = []

    class Watched(layers.Dense):
        def call(self, x, training=None):
            called.append(threading.current_thread())
            return super().call(x, training=training)

    dense, x = Watched(4), np.ones((1, 3, 2), "float32")
    dense.build((None, None, 3))
    entered, other_is_done = threading.Event(), threading.Event()

    def export():
        with products.for_litert(integers=False):
            entered.set()
            assert other_is_done.wait(60)
            products.across_tokens(dense, x)
        products.across_tokens(dense, x)

    exporting = threading.Thread(target=export)
    exporting.start()
    assert entered.wait(60)
    products.across_tokens(dense, x)
    other_is_done.set()
    exporting.join()
    assert called == [exporting]


@pytest.mark.parametrize("side, equation", [("width", "ji,bhic->bhjc"), ("height", "ji,biwc->bjwc")])
def test_axis_dense_mixes_along_its_side(side, equation):
    layer = layers.AxisDense(side, dtype="float64")
    x = np.random.RandomState(0).standard_normal((2, 3, 4, 7))
    answer = layer(x)
    np.testing.assert_allclose(answer, np.einsum(equation, np.asarray(layer.fc.kernel).T, x), atol=1e-12)
    with pytest.raises(ValueError, match="'depth'"):
        layers.AxisDense("depth")


@pytest.mark.parametrize("side, equation", [("width", "wski,bhwgs->bhkgi"), ("height", "hski,bhwgs->bkwgi")])
def test_axis_dense_mixes_the_channels_of_a_segment_along_with_the_positions(side, equation):
    layer = layers.AxisDense(side, segments=2, use_bias=False, dtype="float64")
    x = np.random.RandomState(0).standard_normal((2, 3, 4, 6))
    answer = layer(x)
    length = {"height": 3, "width": 4}[side]
    (kernel,) = layer.get_weights()
    expected = np.einsum(equation, kernel.reshape(length, 3, length, 3), x.reshape(2, 3, 4, 2, 3))
    np.testing.assert_allclose(answer, expected.reshape(x.shape), atol=1e-12)
    with pytest.raises(ValueError, match="segments=4, 6 channels"):
        layers.AxisDense(side, segments=4)(x)


@pytest.mark.parametrize("shape", [(3, 4, 6), (None, None, 6), (3, None, 6)])
def test_self_attention_is_its_equation(shape):
    """At known sizes and at unknown ones, which are those of models that take any image."""
    inputs = keras.Input(shape, dtype="float64")
    layer = layers.SelfAttention(2, dtype="float64")
    model = keras.Model(inputs, layer(inputs))
    x = np.random.RandomState(0).standard_normal((2, 3, 4, 6))
    w, b, w_out, b_out = layer.get_weights()
    q, k, v = np.moveaxis((x.reshape(2, 12, 6) @ w + b).reshape(2, 12, 3, 2, 3), 2, 0)
    scores = np.exp(np.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(3))
    weights = scores / scores.sum(axis=-1, keepdims=True)
    expected = np.einsum("bhnm,bmhd->bnhd", weights, v).reshape(x.shape) @ w_out + b_out
    np.testing.assert_allclose(model(x), expected, atol=1e-12)
    with pytest.raises(ValueError, match="heads=4, 6 channels"):
        layers.SelfAttention(4)(inputs)


@pytest.mark.parametrize("pooling, branch_major", [("mean", False), ("sum", True)])
def test_split_attention_is_its_equation(pooling, branch_major):
    """Untrained it may weigh as it likes; with the MLP's second layer at zero, all branches count alike."""
    layer = layers.SplitAttention(pooling=pooling, branch_major=branch_major, dtype="float64")
    maps = list(np.random.RandomState(0).standard_normal((3, 2, 4, 5, 8)))
    answer = np.asarray(layer(maps))
    w1, b1, w2, b2 = layer.get_weights()
    scores = np.asarray(layers.gelu(getattr(np, pooling)(sum(maps), axis=(1, 2)) @ w1 + b1)) @ w2 + b2
    weights = np.exp(scores.reshape(2, 3, 8).swapaxes(1, 2) if branch_major else scores.reshape(2, 8, 3))
    weights /= weights.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(answer, np.einsum("nbhwc,bcn->bhwc", maps, weights), atol=1e-12)
    layer.set_weights([w1, b1, 0 * w2, 0 * b2])
    np.testing.assert_allclose(layer(maps), sum(maps) / 3, atol=1e-12)
    assert len(layers.SplitAttention(use_bias=False)(maps).shape) == 4
    with pytest.raises(ValueError, match="Received: pooling='max'"):
        layers.SplitAttention(pooling="max")
