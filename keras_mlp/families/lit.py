"""LIT: a transformer that pays no attention in its first stages.

Blocks of the first two stages are MLPs along the channels and nothing else, because attention there looks at what is
near anyway. The last two stages attend over all positions of the map. Between stages, positions are merged where a
small convolution says: each of the four positions that become one is read at a learned distance from its own place,
between pixels too. These mergings are all that mixes positions before the third stage.

There are two designs. LIT-Ti has position embeddings and a class token, LIT-S, M and B have relative positions and
average over the positions.
"""

import dataclasses
import functools

from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.heads import average_and_classify, classify_token
from keras_mlp.layers import (
    Activation,
    Composite,
    PatchEmbedding,
    PositionEmbedding,
    RelativeAttention,
    SelfAttention,
    SequenceSplit,
    TokenSequence,
    batch_norm,
    channel_mlp,
    drop_path_rates,
    fusing,
    layer_norm,
    residual,
)
from keras_mlp.layers.configs import registered
from keras_mlp.layers.initializers import own

__all__ = ["LIT", "LITTi", "LITS", "LITM", "LITB"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default, which convolutions keep


def _head(features, classes, activation):
    """The class token's, or without one that of the average."""
    return (classify_token if isinstance(features, dict) else average_and_classify)(features, classes, activation)


_RECIPE = Recipe(
    source="ziplab/LIT, classification/code_for_lit_s_m_b: config.py and configs/lit-small.yaml. Other variants have "
    "other rates of stochastic depth (their builders' defaults). The rate of the mergings' offsets is 0.01 of the "
    "others' here throughout; there it does not fall below the floor of all",
    learning_rate=1e-3,
    batch_size=1024,
    epochs=300,
    warmup_epochs=20,
    final_learning_rate=1e-5,
    rate_factors=(("offset/kernel", 0.01),),
    weight_decay=0.05,
    no_weight_decay=("bias", "beta", "gamma", "class_token"),
    label_smoothing=0.1,
    mixup=0.8,
    cutmix=1.0,
    rand_augment=(2, 9),
    random_erasing=0.25,
    drop_path_rate=0.2,
    gradient_clip_norm=5.0,
)

family = Family(
    "lit",
    title="LIT",
    paper=Paper(
        "Less is More: Pay Less Attention in Vision Transformers",
        "Pan et al.",
        2021,
        "https://arxiv.org/abs/2105.14217",
    ),
    level_norm={"lit_ti": "raw", None: layer_norm},  # theirs of LIT-Ti have no class token, either
    preprocessing=_IMAGENET,
    recipe=_RECIPE,
    per_stage=("dims", "depths", "heads", "mlp_ratios"),
    head=_head,
)


def _between(start, distance, length):
    """The two whole positions that points of an axis lie between, and how much of each they take.

    Args:
        start: whole positions, integers.
        distance: of the points from them, of any size.
        length: of the axis. What is beyond its ends is 0, so that none is taken of it.

    Returns:
        Two pairs of positions that are inside, and the shares.
    """
    below = ops.floor(distance)
    share = distance - below
    first = start + ops.cast(below, "int32")
    pairs = []
    for position, part in ((first, 1.0 - share), (first + 1, share)):
        inside = ops.minimum(ops.maximum(position, 0), length - 1)
        pairs.append((inside, part * ops.cast(ops.equal(inside, position), distance.dtype)))
    return pairs


def sample(x, down, right):
    """A map, read at a distance from each position, between positions bilinearly.

        y[i, j] = x[i + down[i, j], j + right[i, j]]

    There are zeros around the map: a point less than one position outside of it fades to zero.

    Args:
        x: `(batch, height, width, channels)`.
        down, right: the distances in positions, `(batch, rows, columns)`; there may be fewer rows and columns than in
            the map.

    Returns:
        A tensor `(batch, rows, columns, channels)`.
    """
    batch, height, width, channels = ops.shape(x)
    _, rows, columns = ops.shape(down)
    image = ops.reshape(ops.arange(batch, dtype="int32") * (height * width), (-1, 1, 1))
    vertical = _between(ops.reshape(ops.arange(rows, dtype="int32"), (-1, 1)), down, height)
    horizontal = _between(ops.arange(columns, dtype="int32"), right, width)
    positions = ops.reshape(x, (-1, channels))
    return sum(
        ops.take(positions, (image + width * row) + column, axis=0) * ops.expand_dims(vertical_share * share, -1)
        for row, vertical_share in vertical
        for column, share in horizontal
    )


@registered
class DeformableMerging(Composite):
    """Deformable token merging: four positions become one, each read at a distance that the map itself decides on.

        d = conv_offset(x);    y[i, j] = b + sum over r, c in {0, 1} of W[r, c] x[2i + r + d_down, 2j + c + d_right],

    with the distances `d` of tap `t = 2r + c` at `(i, j)` in its channels `2t` (down) and `2t + 1` (to the right), in
    positions. They begin as zeros. Between positions, and between the border and the zeros around the map, `x` is
    bilinear. A last odd row or column begins no window.

    Source: Pan et al. 2021, https://arxiv.org/abs/2105.14217; Dai et al. 2017 (deformable convolution),
    https://arxiv.org/abs/1703.06211.

    Args:
        dim: number of output channels.
        kernel_initializer: of `W`.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: `(batch, height // 2, width // 2, dim)`.
    """

    def __init__(self, dim, kernel_initializer=_UNIFORM, **kwargs):
        super().__init__(**kwargs)
        self.dim, self.kernel_initializer = dim, own(kernel_initializer)

    def build(self, input_shape):
        conv = dict(strides=2, data_format="channels_last", input_shape=(None, None, None, input_shape[-1]))
        zeros = dict(kernel_initializer="zeros")
        self.offset = self.sublayer(layers.Conv2D, 8, 2, **conv, **zeros, name="offset")
        weights = dict(kernel_initializer=self.kernel_initializer)
        self.conv = self.sublayer(layers.Conv2D, self.dim, 2, **conv, **weights, name="conv")
        super().build(input_shape)

    def call(self, x):
        distances = self.offset(x)
        _, height, width, _ = ops.shape(distances)
        # A map of the taps, which the windows of the convolution then cut into squares again.
        distances = ops.reshape(distances, (-1, height, width, 2, 2, 2))
        distances = ops.reshape(ops.transpose(distances, (5, 0, 1, 3, 2, 4)), (2, -1, 2 * height, 2 * width))
        return self.conv(sample(x, distances[0], distances[1]))

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        return (batch, *(side and side // 2 for side in sides), self.dim)


@fusing.reads.answer(DeformableMerging)
def _both_convolutions(layer):
    """The one of the distances, and the one of what is read there, to which zeros come in from outside."""
    kernel = dict(axes="hwio", input="i", output="o")
    return (
        fusing.Linear("offset/kernel", **kernel, bias="offset/bias"),
        fusing.Linear("conv/kernel", **kernel, bias="conv/bias", padded=True),
    )


@fusing.writes.answer(DeformableMerging)
def _convolution(layer):
    return fusing.Linear("conv/kernel", "hwio", "i", "o", bias="conv/bias")


def merging(x, dim, name):
    """Between two stages: merging, batch norm, GELU, in this order."""
    x = batch_norm(f"{name}_norm")(DeformableMerging(dim, name=name)(x))
    return Activation("gelu", name=f"{name}_activation")(x)


def lit_block(x, attention, mlp_ratio, activation, norm, drop_path_rate, dropout_rate, name):
    """A block: attention, where there is one, then an MLP; each on the normalised input and added to it."""
    if attention:
        x = residual(x, attention(name=f"{name}_token_mixing")(norm(f"{name}_norm1")(x)), drop_path_rate, name, 1)
    y, hidden = norm(f"{name}_norm2")(x), int(mlp_ratio * x.shape[-1])
    y = channel_mlp(y, hidden, activation, f"{name}_channel_mixing", dropout_rate, kernel_initializer=_NORMAL)
    return residual(x, y, drop_path_rate, name, 2)


@family.builder
def LIT(
    x,
    patch_size=4,
    dims=(96, 192, 384, 768),
    depths=(2, 2, 6, 2),
    heads=(0, 0, 12, 24),
    mlp_ratios=(4, 4, 4, 4),
    positions="relative",
    class_token=False,
    qkv_bias=True,
    qk_scale=None,
    stem_norm=True,
    epsilon=1e-5,
    stem_epsilon=1e-5,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """LIT of any size, for images of one size, whose height and width are multiples of the patch.

    Args:
        patch_size: side of a patch in pixels.
        dims: width of each stage. Each stage has half the height and width of the one before, rounded down.
        depths: number of blocks of each stage.
        heads: number of attention heads of each stage; 0 for a stage of MLPs alone.
        mlp_ratios: hidden width of the MLP of each stage, in multiples of the stage's width.
        positions: "relative" for a number for each offset between two positions, in every attention and head; or
            "absolute" for an embedding of each position, before the first block of every stage.
        class_token: whether a class token is in the last stage, which then is all that the classifier sees. It needs
            absolute positions.
        qkv_bias: whether the queries, keys and values have a bias.
        qk_scale: factor on the products of queries and keys; 1 / sqrt(width of a head) by default.
        stem_norm: whether a norm follows the patch embedding.
        epsilon: of the layer norms but the stem's.
        stem_epsilon: of the stem's.
        activation: of the MLPs; "gelu" (exact) by default, as in all published models. Mergings keep GELU.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the MLPs.
    """
    if positions not in ("relative", "absolute"):
        raise ValueError(f'`positions` must be "relative" or "absolute". Received: positions={positions!r}')
    if class_token and positions != "absolute":
        raise ValueError(f'`class_token=True` needs positions="absolute". Received: positions={positions!r}')
    norm = functools.partial(layer_norm, epsilon=epsilon)
    kind = RelativeAttention if positions == "relative" else SelfAttention
    rates, last = drop_path_rates(drop_path_rate, depths), len(dims) - 1
    for stage, dim in enumerate(dims):
        name = f"down_{stage - 1}" if stage else "stem"
        if stage:
            x = merging(x, dim, name)
        else:
            x = PatchEmbedding(dim, patch_size, kernel_initializer=_UNIFORM, name=name)(x)
            x = layer_norm(f"{name}_norm", epsilon=stem_epsilon)(x) if stem_norm else x
        like = x
        if class_token and stage == last:
            x = TokenSequence(("class_token",), "linear", name=f"{name}_position")(x)
        elif positions == "absolute":
            x = PositionEmbedding("linear", name=f"{name}_position")(x)
        attention = heads[stage] and functools.partial(kind, heads[stage], qkv_bias, _NORMAL, qk_scale)
        for i, rate in enumerate(rates[stage]):
            mlp = (mlp_ratios[stage], activation or "gelu", norm)
            x = lit_block(x, attention, *mlp, rate, dropout_rate, f"stages_{stage}_{i}")
    x = norm("norm")(x)
    return dict(zip(("map", "class_token"), SequenceSplit(name="map")([x, like]), strict=True)) if class_token else x


_SOURCE = "the authors' README"

LITTi = family.variant(
    "LITTi", "lit_ti", title="LIT-Ti", dims=(64, 128, 320, 512), depths=(3, 4, 6, 3), heads=(0, 0, 5, 8),
    mlp_ratios=(8, 8, 4, 4), positions="absolute", class_token=True, epsilon=1e-6, drop_path_rate=0.1,
    parameters=19_886_272, macs=3_613_743_104, scores=imagenet(81.1, _SOURCE),
    recipe=dataclasses.replace(
        _RECIPE, source="ziplab/LIT, classification/code_for_lit_ti: params.py and config/lit-ti.json", warmup_epochs=5,
        repeated_augmentation=3, drop_path_rate=0.1, gradient_clip_norm=None,
    ),
)  # fmt: skip
LITS = family.variant(
    "LITS", "lit_s", title="LIT-S", depths=(2, 2, 6, 2), drop_path_rate=0.2,
    parameters=27_973_720, macs=4_076_614_656, scores=imagenet(81.5, _SOURCE),
)  # fmt: skip
LITM = family.variant(
    "LITM", "lit_m", title="LIT-M", depths=(2, 2, 18, 2), drop_path_rate=0.3,
    parameters=49_372_264, macs=8_592_454_656, scores=imagenet(83.0, _SOURCE),
)  # fmt: skip
LITB = family.variant(
    "LITB", "lit_b", title="LIT-B", dims=(128, 256, 512, 1024), depths=(2, 2, 18, 2), heads=(0, 0, 16, 32),
    drop_path_rate=0.5, parameters=87_292_384, macs=15_027_531_776, scores=imagenet(83.4, _SOURCE),
)  # fmt: skip


def _table(array):
    """Without the axis of the batch, `(positions, channels)`."""
    return array[0]


_BLOCK = (
    ("norm{}", "norm{}"),
    ("attn.qkv", "token_mixing/qkv"),
    ("attn.proj", "token_mixing/proj"),
    ("attn.relative_position_bias_table", "token_mixing/relative_bias"),
    ("mlp.fc{}", "channel_mixing_fc{}"),
)
_MERGING = (("dconv", "/conv"), ("dconv.conv_offset", "/offset"), ("norm_layer", "_norm"))

family.layout(
    "lit",
    convention="torch",
    names=(
        ("patch_embed.proj", "stem"),
        ("patch_embed.norm", "stem_norm"),
        *((f"layers.{{}}.blocks.{{}}.{theirs}", f"stages_{{}}_{{}}_{ours}") for theirs, ours in _BLOCK),
        *((f"layers.{{}}.downsample.{theirs}", f"down_{{}}{ours}") for theirs, ours in _MERGING),
        ("norm", "norm"),
        ("norm{}", "level_{}_norm"),  # backbones of detectors and segmentors
        ("head", "head"),
    ),
    ignored=("layers.{}.blocks.{}.attn.relative_position_index",),
)
family.layout(
    "lit_ti",
    convention="torch",
    names=(
        ("patch_embed1.proj", "stem"),
        ("patch_embed1.norm", "stem_norm"),
        ("pos_embed1", "stem_position/embedding", _table),
        # Theirs are numbered from one, and what is before a stage has the stage's number.
        *((f"block{i + 1}.{{}}.{theirs}", f"stages_{i}_{{}}_{ours}") for i in range(4) for theirs, ours in _BLOCK),
        *((f"patch_embed{i + 2}.{theirs}", f"down_{i}{ours}") for i in range(3) for theirs, ours in _MERGING),
        *((f"pos_embed{i + 2}", f"down_{i}_position/embedding", _table) for i in range(3)),
        ("cls_token", "down_2_position/class_token", lambda array: array[0, 0]),
        ("norm", "norm"),
        ("head", "head"),
    ),
)

_RELEASE = "https://github.com/ziplab/LIT/releases/download/v1.0"

family.publish(
    *(
        Weights(
            f"lit_{size}", "imagenet1k", f"{_RELEASE}/lit_{size}.pth", "pth", "lit_ti" if size == "ti" else "lit",
            "ImageNet-1k", 1000, "Apache-2.0", preprocessing=_IMAGENET, scores=imagenet(top1, _SOURCE),
        )
        for size, top1 in (("ti", 81.1), ("s", 81.5), ("m", 83.0), ("b", 83.4))
    )
)  # fmt: skip
