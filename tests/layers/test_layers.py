"""The shared layers: what they compute, what they refuse; and that all layers survive their config, families' too."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp import layers
from keras_mlp.families import as_mlp, cmt, feed_forward, g_mlp, hire_mlp, levit, lit, ms_mlp, sequencer2d
from keras_mlp.families.bimlp import binary
from keras_mlp.families.repmlpnet import perceptrons
from keras_mlp.families.sparse_mlp import experts
from keras_mlp.layers import activations, configs, products, windows


def public_layers():
    found = [thing for thing in vars(layers).values() if isinstance(thing, type)]
    bases = (layers.Composite, layers.GridLayer)
    return [cls for cls in found if issubclass(cls, keras.layers.Layer) and cls not in bases]


EXAMPLES = {
    layers.AdaptiveAveragePooling: dict(size=5),
    layers.JoinedConv2D: dict(filters=3, kernel_size=3, padding="same"),
    layers.Resize: dict(factor=2, interpolation="nearest"),
    layers.Activation: dict(activation=layers.gelu),
    layers.Affine: dict(initial_scale=0.5),
    layers.AxialShift: dict(side="width", size=3, dilation=2),
    perceptrons.ChannelPerceptron: dict(use_bias=True),
    sequencer2d.AxialRecurrence: dict(units=3, side="height", kind="gru"),
    layers.CycleShift: dict(side="height", size=5),
    levit.DistanceAttention: dict(heads=1, key_dim=3, strides=2),
    lit.DeformableMerging: dict(dim=5, kernel_initializer="lecun_normal"),
    perceptrons.LocalPerceptron: dict(kernel_size=3),
    as_mlp.PadToPatches: dict(patch_size=5),
    as_mlp.PatchMerging: dict(),
    perceptrons.TileMerge: dict(tile=(4, 6), in_place=True),
    perceptrons.TilePartition: dict(tile=(4, 6), share_sets=2),
    layers.WindowMerge: dict(size=2),
    layers.WindowPartition: dict(size=4),
    layers.Rescaling: dict(scale=[0.5, 2, -1, 3], offset=[1, -2, 0, 1]),
    layers.GlobalFilter: dict(size=(6, 5)),
    hire_mlp.RegionMerge: dict(side="height", size=2, shift=1),
    hire_mlp.RegionPartition: dict(side="width", size=5, shift=2, shift_border="zeros", border="replicate"),
    layers.AxisDense: dict(side="height", bias_initializer="random_normal"),
    binary.BinaryAggregation: dict(side="width", size=3, inputs=2, activation_levels="binary", gradient="bireal"),
    binary.BinaryDense: dict(units=5, kernel_initializer="lecun_normal", kernel_constraint=binary.ClipWeights(0.5)),
    layers.BicubicResize: dict(size=(5, 20)),
    binary.ChannelBias: dict(),
    layers.LayerScale: dict(initial_scale=0.5),
    ms_mlp.MixShift: dict(shifts=(-1, 2), kernel_sizes=(1, 3)),
    experts.MixtureOfExperts: dict(
        hidden_dim=6, num_experts=3, k=2, items="channels", images_per_group=2, bias_initializer="random_normal"
    ),
    layers.PaddedMaxPooling: dict(size=5, stride=3),
    layers.PositionEmbedding: dict(),
    binary.RPReLU: dict(),
    layers.MapAttention: dict(heads=2, scale=0.5),
    layers.RelativeAttention: dict(heads=2, kernel_initializer="lecun_normal"),
    cmt.PairPositions: dict(heads=2, reduction=4),
    layers.SelfAttention: dict(scale=0.5, heads=2, qkv_bias=False, kernel_initializer="lecun_normal"),
    layers.SplitAttention: dict(reduction=2, kernel_initializer="lecun_normal", pooling="sum", branch_major=True),
    g_mlp.SpatialGatingUnit: dict(epsilon=1e-5, kernel_initializer="lecun_normal"),
    layers.TokenDense: dict(kernel_initializer="lecun_normal", bias_initializer="random_normal"),
    layers.LayerNormalization: dict(epsilon=1e-6, center=False, gamma_initializer="random_normal"),
    layers.Dense: dict(units=5, activation=layers.gelu, bias_initializer="random_normal"),
    layers.PixelShift: dict(parts=4, moves=("down", "left", "up"), border="replicate"),
    layers.PatchEmbedding: dict(dim=8, patch_size=4, use_bias=False, kernel_initializer="lecun_normal"),
    layers.GatedLinearUnit: dict(activation="gelu_tanh"),
    feed_forward.NormedSequenceMLP: dict(
        hidden_dim=6, activation="gelu_tanh", epsilon=1e-5, dropout_rate=0.1, kernel_initializer="lecun_normal"
    ),
    layers.HeldProduct: dict(equation="bhwi,io->bhwo", output_shape=(8, 12, 5), own_kernel=True),
    layers.SequenceSplit: dict(tokens=2),
    layers.SequenceToMap: dict(),
    feed_forward.SequenceWithTable: dict(size=(3, 5)),
    layers.TokenSequence: dict(tokens=("class_token", "distillation_token"), interpolation="linear"),
    layers.TokenMLP: dict(
        gated=True, hidden_dim=6, activation="gelu_tanh", dropout_rate=0.1, kernel_initializer="lecun_normal"
    ),
}


def test_every_shared_layer_has_an_example():
    assert set(public_layers()) <= set(EXAMPLES)


@pytest.mark.parametrize("cls", EXAMPLES, ids=lambda cls: cls.__name__)
def test_every_layer_is_registered_and_survives_its_config(cls):
    layer = cls(**EXAMPLES[cls], name="mine")
    assert keras.saving.get_registered_name(cls) == f"keras_mlp>{cls.__name__}"
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is cls and copy.get_config() == layer.get_config()
    x = np.random.RandomState(0).standard_normal((2, 8, 12, 4)).astype("float32")
    x = {layers.SplitAttention: [x, 2 * x, 1 - x], hire_mlp.RegionMerge: [x, 2 * x]}.get(cls, x)
    x = [x, np.concatenate([x, 2 * x], axis=-1)[:, ::2]] if cls is layers.MapAttention else x
    x = [x, x[:, ::2, ::2]] if cls is layers.JoinedConv2D else x
    x = [x.reshape(2, 24, 4, 4), x] if cls is layers.WindowMerge else x
    x = [x.reshape(8, 4, 6, 2, 2), x] if cls is perceptrons.TileMerge else x
    in_front = {layers.SequenceToMap: 2, layers.SequenceSplit: 2, feed_forward.NormedSequenceMLP: 1}
    if cls in in_front:
        x = [np.concatenate([x[:, 0, : in_front[cls]], x.reshape(2, 96, 4)], axis=1), x]
    x = x.reshape(2, 8, 12, 2, 2) if cls in (perceptrons.ChannelPerceptron, perceptrons.LocalPerceptron) else x
    x = [x[:, ::2, ::2, :3], x] if cls is levit.DistanceAttention else x
    x = x.reshape(2, 96, 4) if cls is experts.MixtureOfExperts else x
    expected = layer(x)
    copy(x)
    copy.set_weights(layer.get_weights())
    keras.tree.map_structure(np.testing.assert_array_equal, copy(x), expected)
    shape = [part.shape for part in x] if isinstance(x, list) else x.shape
    shapes = [part.shape for part in expected] if isinstance(expected, list) else expected.shape
    assert layer.compute_output_shape(shape) == shapes


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


@pytest.mark.parametrize("cls", [layers.Dense, layers.TokenDense, layers.AxisDense, layers.PatchEmbedding])
def test_layers_that_share_an_initializer_do_not_start_alike(cls):
    """Nor do they repeat themselves from model to model; a seed does repeat them."""
    shared = keras.initializers.TruncatedNormal(stddev=0.02)
    arguments = EXAMPLES[cls] | {"kernel_initializer": shared}

    def start(seed=None):
        if seed is not None:
            keras.utils.set_random_seed(seed)
        layer = cls(**arguments)
        layer.build((None, 8, 12, 4))
        return np.asarray(layer.weights[0])

    first, second = start(1), start()
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_array_equal(start(1), first)


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


@pytest.mark.parametrize("shape", [(None, None, None, 3), (None, 4, None, 3), (None, 16, 3)])
def test_grid_layers_need_a_known_grid(shape):
    with pytest.raises(ValueError, match=r"TokenMLP mixes the positions of a fixed grid.*static `input_shape`"):
        layers.TokenMLP(4)(keras.Input(shape[1:]))


def test_patch_embedding_is_a_linear_map_of_each_patch():
    layer = layers.PatchEmbedding(5, 2)
    x = np.random.RandomState(0).standard_normal((1, 4, 6, 3)).astype("float32")
    answer = layer(x)
    patch = x[0, 2:4, 4:6].reshape(-1)
    np.testing.assert_allclose(answer[0, 1, 2], patch @ np.asarray(layer.kernel).reshape(-1, 5), atol=1e-5)


@pytest.mark.parametrize("size, near", [((30, 32), "height=30. The nearest that work: 28 and 32"), ((32, 3), "4")])
def test_patch_embedding_refuses_sizes_that_would_be_cut(size, near):
    with pytest.raises(ValueError, match=near):
        layers.PatchEmbedding(8, 4)(keras.Input((*size, 3)))


@pytest.mark.parametrize("patch_size", [0, 2.0, (4,), (4, 0), True])
@pytest.mark.parametrize("cls, dim", [(layers.PatchEmbedding, (8,)), (as_mlp.PadToPatches, ())])
def test_patches_have_a_height_and_a_width(cls, dim, patch_size):
    with pytest.raises(ValueError, match=r"`patch_size` must be a positive integer or a pair.*Received: "):
        cls(*dim, patch_size)


def test_patches_that_are_not_square_name_the_side_that_does_not_fit():
    layer = layers.PatchEmbedding(8, (4, 6))
    assert layer(keras.Input((None, 12, 3))).shape == (None, None, 2, 8)
    with pytest.raises(ValueError, match=r"patch size \(4, 6\). Received: width=16. The nearest that work: 12 and 18"):
        layer(keras.Input((8, 16, 3)))
    x = np.ones((1, 5, 7, 2), "float32")
    assert (
        as_mlp.PadToPatches((4, 6))(x).shape
        == as_mlp.PadToPatches((4, 6)).compute_output_shape(x.shape)
        == (1, 8, 12, 2)
    )


def test_patch_embedding_takes_unknown_sizes():
    assert layers.PatchEmbedding(8, 4)(keras.Input((None, None, 3))).shape == (None, None, None, 8)


@pytest.mark.parametrize("size, stride", [(3, 2), (3, 1), (5, 3), (1, 2)])
def test_maxima_at_the_border_are_those_of_what_lies_inside(size, stride):
    """On maps of odd and of even size, known and unknown."""
    x, half = np.random.RandomState(0).standard_normal((2, 7, 6, 3)) - 5, size // 2
    rows, columns = range(0, 7, stride), range(0, 6, stride)
    around = [
        [x[:, max(i - half, 0) : i + half + 1, max(j - half, 0) : j + half + 1].max((1, 2)) for j in columns]
        for i in rows
    ]
    expected = np.moveaxis(around, 2, 0)
    for shape in ((7, 6, 3), (None, None, 3)):
        inputs = keras.Input(shape, dtype="float64")
        pooled = layers.PaddedMaxPooling(size, stride, dtype="float64")(inputs)
        np.testing.assert_array_equal(keras.Model(inputs, pooled)(x), expected)
    with pytest.raises(ValueError, match="odd number. Received: size=4"):
        layers.PaddedMaxPooling(4)


@pytest.mark.parametrize("size", [3, (2, 3), (6, 1), (6, 9)])
def test_windows_need_not_be_square_and_lead_back_to_the_map(size):
    x, (rows, columns) = (
        np.random.RandomState(0).standard_normal((2, 6, 9, 4)),
        size if isinstance(size, tuple) else (3, 3),
    )
    cut = np.asarray(windows.cut_windows(x, size))
    first = [
        x[:, i : i + rows, j : j + columns].reshape(2, -1, 4) for i in range(0, 6, rows) for j in range(0, 9, columns)
    ]
    np.testing.assert_array_equal(cut, np.stack(first, axis=1))
    np.testing.assert_array_equal(windows.join_windows(cut, size, 6, 9), x)


def test_stochastic_depth_drops_samples_whole_and_keeps_the_mean():
    x = keras.Input((4, 4, 2))
    model = keras.Model(x, layers.stochastic_depth(x, 0.25, "drop"))
    ones = np.ones((4000, 4, 4, 2), "float32")
    kept = np.asarray(model(ones, training=True)).reshape(4000, -1)
    assert (kept.min(axis=1) == kept.max(axis=1)).all()
    assert set(np.round(np.unique(kept), 4)) == {0.0, np.float32(1.3333)}
    assert kept.mean() == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(model(ones[:1]), ones[:1])
    assert layers.stochastic_depth(x, 0.0, "none") is x


def test_layer_normalization_is_keras_own_and_keeps_more_digits():
    x = np.random.RandomState(0).standard_normal((2, 3, 4, 64))
    both = (layers.LayerNormalization, keras.layers.LayerNormalization)
    ours, keras_own = (cls(epsilon=1e-5, dtype="float64") for cls in both)
    keras_own.build(x.shape)
    ours.build(x.shape)
    for layer in (ours, keras_own):
        layer.set_weights(np.random.RandomState(1).standard_normal((2, 64)))
    np.testing.assert_allclose(ours(x), keras_own(x), atol=1e-12)
    shifted = (x + 1000).astype("float32")
    exact = np.asarray(layers.LayerNormalization(epsilon=1e-5, dtype="float64")(shifted.astype("float64")))
    ours_error, keras_error = (np.abs(np.asarray(cls(epsilon=1e-5)(shifted)) - exact).max() for cls in both)
    assert ours_error < keras_error
    half = layers.LayerNormalization(epsilon=1e-5, dtype="mixed_float16")(shifted)
    assert half.dtype == "float16" and np.isfinite(half).all()
    with pytest.raises(ValueError, match="Only the last axis"):
        layers.LayerNormalization(epsilon=1e-5, axis=1)


def test_the_two_forms_of_gelu_differ_as_they_should():
    x = np.linspace(-4, 4, 101)
    exact, tanh = (np.asarray(activations.get(form)(x)) for form in activations.GELU_FORMS)
    assert 1e-4 < np.abs(exact - tanh).max() < 1e-3
    np.testing.assert_allclose(exact, keras.activations.gelu(x), atol=1e-7)
    np.testing.assert_allclose(tanh, 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), atol=1e-6)
    assert [activations.gelu_form(activations.get(form)) for form in activations.GELU_FORMS] == ["gelu", "gelu_tanh"]
    assert activations.gelu_form(activations.get("relu")) is None
    assert layers.Activation("gelu").activation is activations.gelu


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Activation(layers.gelu, dtype="float64"),
        lambda: layers.Activation(layers.gelu_tanh, dtype="float64"),
        lambda: layers.Dense(7, activation=layers.gelu, dtype="float64"),
        lambda: layers.LayerNormalization(epsilon=1e-5, center=False, dtype="float64"),
    ],
    ids=["gelu", "gelu_tanh", "dense", "layer_norm"],
)
def test_in_training_the_gradient_is_the_same_and_keeps_fewer_arrays(make):
    layer = make()
    x, upstream = (tf.constant(3 * np.random.RandomState(seed).standard_normal((5, 7))) for seed in (0, 1))
    layer.build(x.shape)

    def gradient(training):
        @tf.function
        def compute():
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.identity(layer(x, training=training), name="answer")
            # What a branch takes from outside is what the gradient needs of the forward pass.
            return tf.cond(tf.reduce_all(y < 99), lambda: tape.gradient(y, x, upstream), lambda: x)

        branch = next(op for op in compute.get_concrete_function().graph.get_operations() if op.type.endswith("If"))
        names = ("Placeholder", "Const", "Identity", "IdentityN")  # further names of arrays that are there anyway
        kept = [tensor for tensor in branch.inputs if tensor.shape == x.shape and tensor.op.type not in names]
        return compute(), len(kept)

    (plain, several), (own, few) = gradient(training=False), gradient(training=True)
    # TensorFlow rounds a constant of the tanh form to float32.
    np.testing.assert_allclose(own, plain, rtol=1e-6, atol=1e-8)
    assert few <= 1 < several, (few, several)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "channels, size, dilation", [(7, 3, 1), (7, 3, 2), (4, 5, 1), (16, 5, 1), (5, 7, 1), (6, 1, 1)]
)
def test_axial_shift_moves_each_group_by_its_own_distance(channels, size, dilation, known):
    x = np.random.RandomState(0).standard_normal((2, 6, 5, channels)).astype("float32")
    for axis, side in ((1, "height"), (2, "width")):
        expected = np.zeros_like(x)
        for c in range(channels):
            shift = (c // -(-channels // size) - size // 2) * dilation
            for i in range(x.shape[axis]):
                if 0 <= i - shift < x.shape[axis]:
                    expected[(slice(None),) * axis + (i, ..., c)] = x[(slice(None),) * axis + (i - shift, ..., c)]
        inputs = keras.Input(x.shape[1:] if known else (None, None, channels))
        answer = keras.Model(inputs, layers.AxialShift(side, size, dilation)(inputs))(x)
        np.testing.assert_array_equal(answer, expected)
    for wrong in (dict(side="depth", size=3), dict(side="width", size=4)):
        with pytest.raises(ValueError, match="must be"):
            layers.AxialShift(**wrong)


@pytest.mark.parametrize("side, axis", [("height", 1), ("width", 2)])
def test_cycle_shift_reads_the_channels_in_turn_further_on(side, axis):
    """Channel by channel against the definition, at known sizes and unknown ones."""
    x = np.random.RandomState(0).standard_normal((2, 4, 6, 7)).astype("float32")
    for size in (1, 3, 5):
        expected = np.zeros_like(x)
        for c in range(7):
            offset = (c + size // 2) % size - size // 2
            for i in range(x.shape[axis]):
                if 0 <= i + offset < x.shape[axis]:
                    expected[(slice(None),) * axis + (i, ..., c)] = x[(slice(None),) * axis + (i + offset, ..., c)]
        for shape in (x.shape[1:], (None, None, 7)):
            inputs = keras.Input(shape)
            answer = keras.Model(inputs, layers.CycleShift(side, size)(inputs))(x)
            np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("border, pad", [("zeros", "constant"), ("replicate", "edge")])
@pytest.mark.parametrize("moves", [("left", "right", "up", "down"), ("down", "up", "right", "left"), ("up",), ()])
def test_pixel_shift_moves_each_group_to_its_side(moves, border, pad):
    """Group by group against the definition, at known sizes and unknown ones, and on maps of one row or column."""
    sides = {"left": (0, 1), "right": (0, -1), "up": (1, 0), "down": (-1, 0)}
    for size, channels, parts in (((4, 6), 11, 5), ((1, 3), 8, 4), ((5, 1), 9, 4), ((3, 3), 3, 4)):
        x = np.random.RandomState(0).standard_normal((2, *size, channels)).astype("float32")
        expected, group = x.copy(), channels // parts
        for i, (rows, columns) in enumerate(sides[move] for move in moves):
            moved = np.pad(x[..., i * group : (i + 1) * group], ((0, 0), (1, 1), (1, 1), (0, 0)), pad)
            moved = moved[:, 1 + rows : 1 + rows + size[0], 1 + columns : 1 + columns + size[1]]
            expected[..., i * group : (i + 1) * group] = moved
        for shape in (x.shape[1:], (None, None, channels)):
            inputs, layer = keras.Input(shape), layers.PixelShift(parts, moves, border)
            np.testing.assert_array_equal(keras.Model(inputs, layer(inputs))(x), expected)


@pytest.mark.parametrize(
    "wrong, said",
    [
        (dict(parts=3), "at least 4.*parts=3"),
        (dict(parts=0, moves=()), "at least 1.*parts=0"),
        (dict(parts=4, moves=("up", "on")), r"\['down', 'left', 'right', 'up'\].*moves=\('up', 'on'\)"),
        (dict(parts=4, border="circular"), "border='circular'"),
    ],
)
def test_pixel_shift_names_what_it_does_not_know(wrong, said):
    with pytest.raises(ValueError, match=said):
        layers.PixelShift(**wrong)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "layer",
    [
        layers.AxialShift("height", 3),
        layers.CycleShift("width", 3),
        layers.PixelShift(5),
        layers.PixelShift(5, border="replicate"),
        hire_mlp.RegionPartition("width", 4, shift=2),
        hire_mlp.RegionPartition("height", 4, shift=1, shift_border="zeros", border="replicate"),
        lambda x: hire_mlp.RegionMerge("height", 2, shift=2)([x, tf.repeat(x, 2, axis=1)[:, :-1]]),
    ],
    ids=[
        "axial",
        "cycle",
        "pixel",
        "pixel with its border",
        "regions around the border",
        "regions of a continued map",
        "merge",
    ],
)
def test_gradients_of_shifts_and_regions_have_no_strided_slices(layer, known):
    """TensorFlow is several times slower at the gradient of a strided slice; and `w · L z = (Lᵀ w) · z`."""
    x, z = (np.random.RandomState(seed).standard_normal((2, 6, 7, 6)).astype("float32") for seed in (0, 1))

    def weighted(x):
        y = layer(x)
        return tf.reduce_sum(y * tf.reshape(tf.cos(tf.range(tf.size(y), dtype="float32")), tf.shape(y)))

    @tf.function(input_signature=[tf.TensorSpec(x.shape if known else (None, None, None, 6))])
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            answer = weighted(x)
        return tape.gradient(answer, x)

    np.testing.assert_allclose(tf.reduce_sum(gradient(x) * z), weighted(tf.constant(z)), rtol=1e-4)
    assert "StridedSliceGrad" not in {op.type for op in gradient.get_concrete_function().graph.get_operations()}


def test_a_config_has_what_the_constructor_takes_and_what_the_bases_write():
    @configs.with_config
    class Base(keras.layers.Layer):
        def __init__(self, size, activation=None, **kwargs):
            super().__init__(**kwargs)
            self.size, self.activation = (size, size), activations.get(activation)

    @configs.with_config
    class Derived(Base):
        def __init__(self, kernel_initializer="zeros", **kwargs):
            super().__init__(**kwargs)
            self.kernel_initializer = keras.initializers.get(kernel_initializer)

    @configs.with_config
    class Same(Derived):
        pass

    for kind in (Derived, Same):
        layer = kind(size=2, activation="relu", name="one")
        config = layer.get_config()
        assert (config["name"], config["size"], config["activation"]) == ("one", (2, 2), "relu")
        assert config["kernel_initializer"] == keras.initializers.serialize(layer.kernel_initializer)


def test_a_class_that_writes_its_config_itself_goes_on_doing_so():
    @configs.with_config
    class Own(keras.layers.Layer):
        def __init__(self, size):
            super().__init__()

        def get_config(self):
            return {"size": 3}

    assert Own(2).get_config() == {"size": 3}
