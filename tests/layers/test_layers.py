"""All layers survive their config, those of families, too."""

import keras
import numpy as np
import pytest

from keras_mlp import layers
from keras_mlp.families import as_mlp, cmt, feed_forward, g_mlp, hire_mlp, levit, lit, ms_mlp, sequencer2d
from keras_mlp.families.bimlp import binary
from keras_mlp.families.repmlpnet import perceptrons
from keras_mlp.families.sparse_mlp import experts
from keras_mlp.layers import activations, configs


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
    layers.DepthwiseConv2D: dict(kernel_size=5, padding="same", bias_initializer="random_normal"),
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
