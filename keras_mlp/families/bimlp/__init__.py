"""BiMLP: Wave-MLP with weights of one bit and activations of two or three levels.

A binary linear layer can give few distinct numbers only. Three things make up for it: several branches wherever
Wave-MLP has one, shortcuts around every binary layer (even where the width changes), and biases that move each
channel's thresholds. Stem, downsampling, norms and classifier are in real numbers. Any image size works.

The released code rounds activations to -1, 0 and 1, and has no gradient for it. The paper takes their signs, as
`activation_levels="binary"` does here. Both train here, by gradients that pass the rounding straight through.
"""

import functools
import itertools

import keras
import numpy as np
from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, imagenet
from keras_mlp.families.bimlp.binary import (
    BinaryAggregation,
    BinaryDense,
    ChannelBias,
    ClipWeights,
    RPReLU,
    check_levels,
)
from keras_mlp.family import Family
from keras_mlp.layers import Dense, batch_norm, image_norm, norm_named, overlapping_patches, precision, residual, stages
from keras_mlp.layers.configs import registered
from keras_mlp.layers.normalization import at_least_float32

__all__ = ["BiMLP", "BiMLPS", "BiMLPM"]

_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # MindSpore's default, which the authors keep
_NORMS = {"batch": batch_norm, "image": image_norm}

family = Family(
    "bimlp",
    title="BiMLP",
    paper=Paper(
        "BiMLP: Compact Binary Architectures for Vision Multi-Layer Perceptrons",
        "Xu et al.",
        2022,
        "https://arxiv.org/abs/2212.14158",
    ),
    preprocessing=Preprocessing(crop_pct=0.875),
    recipe=Recipe(
        source="inferred, for the authors published inference code only: the schedule of Wave-MLP, the full-precision "
        "parent; the mild augmentation that binary networks are trained with (ReActNet); no weight decay, which would "
        "pull binary weights to their thresholds. The paper adds a teacher: keras_mlp.training.distill",
        learning_rate=1e-3,
        batch_size=1024,
        epochs=300,
        warmup_epochs=5,
        weight_decay=0.0,
    ),
    per_stage=("dims", "depths", "transitions"),
)


@registered
class UniversalShortcut(layers.Layer):
    """A shortcut to another width, without parameters: channels repeated, or averaged with their neighbours.

        wider:     y = [x, x, …, x]
        narrower:  y_o = mean of x_(n o), …, x_(n o + n - 1)

    Source: Xu et al. 2022, section 3.2 (Uni-shortcut).

    Args:
        units: width of the output, a multiple or a divisor of the input's.

    Input shape: `(..., channels)`. Output shape: `(..., units)`.

    Raises:
        ValueError: neither width divides the other.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.units and self.units % channels:
            raise ValueError(f"`units` must be a multiple or a divisor of {channels}. Received: units={self.units}")
        super().build(input_shape)

    def call(self, x):
        channels = x.shape[-1]
        if channels <= self.units:
            return ops.concatenate([x] * (self.units // channels), axis=-1)
        return ops.mean(ops.reshape(x, (*ops.shape(x)[:-1], self.units, channels // self.units)), axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)


@registered
class Wave(layers.Layer):
    """The real and the imaginary part of a wave, `[amplitude * cos(phase), amplitude * sin(phase)]`.

    Source: Tang et al. 2021 (Wave-MLP), equation 4.

    Input shape: amplitude and phase, `(..., channels)` each.
    Output shape: `(..., 2 * channels)`.
    """

    def call(self, waves):
        amplitude, phase = waves
        return ops.concatenate([amplitude * ops.cos(phase), amplitude * ops.sin(phase)], axis=-1)

    def compute_output_shape(self, input_shape):
        *others, channels = input_shape[0]
        return (*others, 2 * channels)


@registered
class SoftmaxSum(layers.Layer):
    """Maps summed with the softmax of given scores, a score for each channel and map.

    Input shape: n maps `(batch, height, width, channels)` and scores `(batch, 1, 1, channels * n)`, the map fastest.
    Output shape: that of one of the maps.
    """

    def call(self, inputs):
        *maps, scores = inputs
        weights = ops.softmax(ops.reshape(scores, (-1, 1, 1, maps[0].shape[-1], len(maps))), axis=-1)
        return sum(x * weights[..., i] for i, x in enumerate(maps))

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@registered
class BranchSum(layers.Layer):
    """`g1 x1 + … + gn xn + (1 - g1 - … - gn) x`, with learned numbers g that start at zero.

    Source: the authors' code; section 3.1 (multi-branch block).

    Input shape: the maps x, x1, …, xn, all of one shape. Output shape: the same.
    """

    def build(self, input_shape):
        self.weight = self.add_weight(name="weight", shape=(len(input_shape) - 1,), initializer="zeros")
        super().build(input_shape)

    def call(self, maps):
        x, *branches = maps
        return sum(self.weight[i] * y for i, y in enumerate(branches)) + (1 - ops.sum(self.weight)) * x

    def compute_output_shape(self, input_shape):
        return input_shape[0]


class Products:
    """The two kinds of products of a model, `x -> x` by the layer of that name, with its levels."""

    def __init__(self, **options):
        self.options = options | {"kernel_initializer": _UNIFORM}

    def dense(self, units):
        return functools.partial(BinaryDense, units, **self.options)

    def aggregation(self, side, inputs, size=7):
        limit = (inputs * size) ** -0.5
        options = self.options | {"kernel_initializer": initializers.RandomUniform(-limit, limit)}
        return functools.partial(BinaryAggregation, side, size, inputs, **options)


def moved_product(x, product, name):
    """The input with its thresholds moved, and its product, normalised."""
    moved = ChannelBias(name=f"{name}_move")(x)
    return moved, batch_norm(f"{name}_norm")(product(name=name)(moved))


def add_act(y, shortcut, name):
    return RPReLU(name=f"{name}_act")(layers.Add(name=f"{name}_add")([y, shortcut]))


def unit(x, product, name):
    """A product with a shortcut around it, from behind the bias that moves its thresholds."""
    moved, y = moved_product(x, product, name)
    if moved.shape[-1] != y.shape[-1]:
        moved = UniversalShortcut(y.shape[-1], name=f"{name}_shortcut")(moved)
    return add_act(y, moved, name)


def binary_mlp(x, products, hidden_dim, dim, name, dropout_rate=0.0):
    """Section 3.2: two linear layers and shortcuts around each, from before their biases; the first has a norm and act."""
    shortcut = batch_norm(f"{name}_shortcut_norm")(UniversalShortcut(hidden_dim, name=f"{name}_fc1_shortcut")(x))
    shortcut = RPReLU(name=f"{name}_shortcut_act")(shortcut)
    _, y = moved_product(x, products.dense(hidden_dim), f"{name}_fc1")
    y = add_act(y, shortcut, f"{name}_fc1")
    if dropout_rate:
        y = layers.Dropout(dropout_rate, name=f"{name}_drop1")(y)
    shortcut = UniversalShortcut(dim, name=f"{name}_fc2_shortcut")(y)
    _, y = moved_product(y, products.dense(dim), f"{name}_fc2")
    y = add_act(y, shortcut, f"{name}_fc2")
    return layers.Dropout(dropout_rate, name=f"{name}_drop2")(y) if dropout_rate else y


def phase_aware_mixing(x, products, name):
    """Waves summed along the width and the height and a plain linear layer, joined and projected, all in `unit`s."""
    dim, branches = x.shape[-1], []
    for side in ("width", "height"):
        phase = unit(x, products.dense(dim), f"{name}_{side}_phase")
        amplitude = unit(x, products.dense(dim), f"{name}_{side}_amplitude")
        wave = Wave(name=f"{name}_{side}_wave")([amplitude, phase])
        # The first half of the output sees cosines of two neighbouring channels and the second half sines.
        branches.append(unit(wave, products.aggregation(side, inputs=2), f"{name}_{side}"))
    branches.append(unit(x, products.dense(dim), f"{name}_channels"))
    average = layers.Add(name=f"{name}_total")([*branches, x])
    average = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_average")(average)
    scores = binary_mlp(average, products, dim // 4, 3 * dim, f"{name}_reweight")
    y = SoftmaxSum(name=f"{name}_sum")([*branches, scores])
    return unit(layers.Add(name=f"{name}_add")([y, x]), products.dense(dim), f"{name}_proj")


@family.token_mixing
def _mixing(x):
    """Activations of three levels, weights of two, and sums of seven positions, as in all published models."""
    return phase_aware_mixing(x, Products(kernel_constraint=ClipWeights()), "mixing")


def block(x, products, norm, drop_path_rate, dropout_rate, name):
    """Token mixing, then channel mixing beside two aggregations along the sides, each added to the input."""
    y = phase_aware_mixing(norm(f"{name}_norm1")(x), products, f"{name}_token_mixing")
    x = residual(x, y, drop_path_rate, name, 1)
    y = norm(f"{name}_norm2")(x)
    branches = [binary_mlp(y, products, 4 * y.shape[-1], y.shape[-1], f"{name}_channel_mixing", dropout_rate)]
    branches += [unit(y, products.aggregation(side, inputs=1), f"{name}_{side}") for side in ("width", "height")]
    y = BranchSum(name=f"{name}_branches")(branches)
    return residual(x, y, drop_path_rate, name, 2)


def max_pools(x, name):
    """Half the height and width, rounded up: the average of the maxima of windows of four sizes."""
    pools = [layers.MaxPooling2D(size, 2, "same", name=f"{name}_pool{size}")(x) for size in (2, 3, 5, 7)]
    return layers.Average(name=f"{name}_pools")(pools)


def in_float32(trunk):
    """Decorator of a trunk whose layers compute at least in float32, whatever policy is in force."""

    @functools.wraps(trunk)
    def precise(*args, **kwargs):
        with precision.policy(at_least_float32(keras.config.dtype_policy().compute_dtype)):
            return trunk(*args, **kwargs)

    return precise


@family.builder
@in_float32
def BiMLP(
    x,
    patch_size=4,
    dims=(64, 128, 320, 512),
    depths=(2, 2, 4, 2),
    transitions=None,
    norm="batch",
    embedding_norm=True,
    *,
    activation_levels="ternary",
    weight_levels="binary",
    gradient="straight_through",
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """BiMLP of any size, for images of any size.

    Levels are decided at thresholds, near which 16 bits would decide otherwise: under mixed precision, too, these models
    compute in float32.

    Args:
        patch_size: distance of the patches in pixels; they are `2 * patch_size - 1` wide. Even.
        dims: width of each stage, multiples of 4.
        depths: number of blocks of each stage.
        transitions: for each stage, whether the height and width are halved after it; by default after each. The width
            changes only there.
        norm: "batch" for batch norm, "image" for group norm with one group, or a function that makes a layer of its name;
            all norms of products are batch norms.
        embedding_norm: whether a norm follows the stem and each downsampling layer.
        activation_levels: what enters the products: "ternary" for -1, 0, 1 (the released code), "binary" for -1 and 1
            (the paper), or `None` for real numbers.
        weight_levels: "binary", or `None` for real numbers. With both `None` it is the full-precision parent.
        gradient: what stands in for the gradient of the activations' rounding: "straight_through" (1 between -1 and 1) or
            "bireal" (2 - 2 |x| there).
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    check_levels(activation_levels, weight_levels, gradient)
    transitions = transitions or (True,) * len(dims)
    if any(dim % 4 for dim in dims):
        raise ValueError(f"`dims` must be multiples of 4. Received: dims={tuple(dims)}")
    for stage, (dim, following) in enumerate(itertools.pairwise(dims)):
        if dim != following and not transitions[stage]:
            raise ValueError(
                f"The width changes only where the size is halved. Received: dims={tuple(dims)} with "
                f"transitions={tuple(transitions)}; set transitions[{stage}] to True or the widths equal."
            )
    norm = norm_named(_NORMS, norm)
    products = Products(
        activation_levels=activation_levels,
        weight_levels=weight_levels,
        gradient=gradient,
        kernel_constraint=ClipWeights() if weight_levels else None,
    )

    def normalised(x, name):
        x = norm(f"{name}_norm")(x) if embedding_norm else x
        return RPReLU(name=f"{name}_act")(x)

    def embed(x, dim, stride, name):
        # The linear layer comes before the pools: `stride` is theirs, and always 2.
        return max_pools(normalised(Dense(dim, kernel_initializer=_UNIFORM, name=name)(x), name), name)

    make = functools.partial(block, products=products, norm=norm, dropout_rate=dropout_rate)
    x = normalised(overlapping_patches(x, dims[0], patch_size, "stem", kernel_initializer=_UNIFORM), "stem")
    return norm("norm")(stages(x, [[make] * depth for depth in depths], dims, transitions, embed, drop_path_rate))


_REMEMBERED = dict(source="remembered of table 2 of the paper, not checked", exact=False)

BiMLPS = family.variant(
    "BiMLPS", "bimlp_s", title="BiMLP-S", depths=(2, 2, 4, 2),
    parameters=15_840_412, macs=2_361_765_888, low_bit_macs={"binary": 2_241_835_008},
    scores=imagenet(70.0, **_REMEMBERED),
    note="The authors published no checkpoint.",
)  # fmt: skip
BiMLPM = family.variant(
    "BiMLPM", "bimlp_m", title="BiMLP-M", depths=(2, 3, 10, 3), norm="image",
    parameters=29_686_828, macs=4_429_307_904, low_bit_macs={"binary": 4_309_377_024},
    scores=imagenet(72.7, **_REMEMBERED),
    note="The authors published no checkpoint. Their MindSpore code's README has 71.56 %.",
)  # fmt: skip


def _move(reference, ours):
    return f"{reference}.bias", f"{ours}_move/bias", np.ravel


def _act(reference, ours):
    parts = (("move1.bias", "bias1"), ("act.w", "slope"), ("move2.bias", "bias2"))
    return [(f"{reference}.{theirs}", f"{ours}_act/{part}", np.ravel) for theirs, part in parts]


def _pairs(tensor):
    """`(outputs, inputs, height, width)`, the windows of an output's inputs next to each other."""
    return tensor.transpose(2, 3, 0, 1)


def _unit(reference, ours, kernel, move, norm, act, *transform):
    names = [_move(f"{reference}.{move}", ours), *_act(f"{reference}.{act}", ours)]
    return [(f"{reference}.{kernel}", ours, *transform), (f"{reference}.{norm}", f"{ours}_norm"), *names]


def _mlp(reference, ours):
    return [
        (f"{reference}.norm0", f"{ours}_shortcut_norm"),
        *_act(f"{reference}.act1", f"{ours}_shortcut"),
        *_unit(reference, f"{ours}_fc1", "fc1", "move1", "norm1", "act2"),
        *_unit(reference, f"{ours}_fc2", "fc2", "move2", "norm2", "act3"),
    ]


def _names():
    theirs, ours = "network.{}.{}", "stages_{}_{}"
    mixing, our_mixing = f"{theirs}.attn", f"{ours}_token_mixing"
    yield from _unit(mixing, f"{our_mixing}_channels", "fc_c", "move_fcc", "norm_c", "act_c")
    yield from _unit(mixing, f"{our_mixing}_proj", "proj", "move_proj", "norm_proj", "act_proj")
    yield from _mlp(f"{mixing}.reweight", f"{our_mixing}_reweight")
    yield from _mlp(f"{theirs}.mlp", f"{ours}_channel_mixing")
    # h and w in the published names say the opposite of what they do: h sums along the width, w along the height.
    for s, side, act in (("h", "width", "act1"), ("w", "height", "act2")):
        phase = f"theta_{s}_conv", f"move_theta{s}", f"theta_{s}_bn", f"theta_{s}_act"
        yield from _unit(mixing, f"{our_mixing}_{side}_phase", *phase)
        amplitude = f"fc_{s}", f"move_fc{s}", f"fc_{s}_bn", f"fc_{s}_act"
        yield from _unit(mixing, f"{our_mixing}_{side}_amplitude", *amplitude)
        yield from _unit(mixing, f"{our_mixing}_{side}", f"tfc_{s}", f"move_tfc{s}", f"norm_{s}", f"act_{s}", _pairs)
        yield from _unit(theirs, f"{ours}_{side}", f"sfc_{s}", f"move_{s}", f"norm_{s}", act, _pairs)
    yield from ((f"{theirs}.norm1", f"{ours}_norm1"), (f"{theirs}.norm2", f"{ours}_norm2"))
    yield f"{theirs}.weight", f"{ours}_branches/weight"
    for reference, name in (("patch_embed", "stem"), ("network.{}", "down_{}")):
        yield from ((f"{reference}.proj", name), (f"{reference}.norm", f"{name}_norm"), *_act(f"{reference}.act", name))
    yield from (("norm", "norm"), ("head", "head"))


family.layout("mindspore", convention="torch", names=_names(), activation=None)
