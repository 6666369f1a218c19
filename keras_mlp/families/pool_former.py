"""PoolFormer: the blocks of a transformer, in which the average of the neighbours stands in for attention.

Token mixing has no weights. A block has two residual branches of norm, mixing and layer scale, and there are four stages.
The authors call this frame MetaFormer, and claim that it makes most of a transformer's accuracy. Their ablation puts other
mixings into the frame: none at all, or one linear layer along the tokens in the last stages. The norm is over the whole
map, so each position depends on all others. PoolFormer takes images of any size. A linear layer along the tokens ties a
model to its grid.
"""

import functools

import numpy as np
from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.layers import (
    LayerNormalization,
    TokenDense,
    fusing,
    image_norm,
    layer_norm,
    mixing_block,
    norm_named,
    padded_conv,
    stages,
)
from keras_mlp.layers.configs import registered

__all__ = [
    "PoolFormer",
    "PoolFormerS12",
    "PoolFormerS24",
    "PoolFormerS36",
    "PoolFormerM36",
    "PoolFormerM48",
    "MetaFormerIDS12",
    "MetaFormerPPPFS12",
    "MetaFormerPPFFS12",
]

_SMALL = Preprocessing(crop_pct=0.9, interpolation="bicubic")
_MEDIUM = Preprocessing(crop_pct=0.95, interpolation="bicubic")
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default, which the authors keep
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_NORMS = {"image": image_norm, "layer": layer_norm}

family = Family(
    "pool_former",
    title="PoolFormer",
    paper=Paper(
        "MetaFormer is Actually What You Need for Vision", "Yu et al.", 2021, "https://arxiv.org/abs/2111.11418"
    ),
    level_norm=image_norm,
    preprocessing=_SMALL,
    recipe=Recipe(
        source="sail-sg/poolformer, the README and train.py's defaults: S12 and S24. Larger variants have higher rates "
        "of stochastic depth (their builders' defaults); 10 epochs at the final rate follow",
        learning_rate=1e-3,
        batch_size=1024,
        epochs=300,
        warmup_epochs=5,
        weight_decay=0.05,
        label_smoothing=0.1,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        drop_path_rate=0.1,
    ),
    per_stage=("dims", "depths", "transitions", "mixings", "mlp_ratios"),
)


@registered
class PoolMixing(layers.Layer):
    """How far the average of a position's neighbours is from the position itself.

        y[i] = mean over j of x[j] - x[i],    j in the window around i and inside the map

    Positions outside the map are not counted: in a corner the average of 3 x 3 is over four. What is the same
    everywhere is taken away.

    Source: Yu et al. 2021; the border is that of the authors' code.

    Args:
        size: side of the window in positions, odd.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: the same.

    Raises:
        ValueError: `size` is not a positive odd number.
    """

    def __init__(self, size=3, **kwargs):
        if size < 1 or size % 2 == 0:
            raise ValueError(f"`size` must be a positive odd number. Received: size={size!r}")
        super().__init__(**kwargs)
        self.size = size

    def call(self, x):
        return ops.average_pool(x, self.size, 1, "same", data_format="channels_last") - x

    def compute_output_shape(self, input_shape):
        return input_shape


@fusing.carries.answer(PoolMixing)
def _differences(layer, scale, shift, shape):
    return scale, np.zeros_like(shift)


@registered
class NormOfAverage(LayerNormalization):
    """Layer norm with which a map's average is what layer norm makes of the average of the map it is given.

    With the average `a` over the positions, and mean and variance over the channels of `a`,

        y[i] = (x[i] - mean(a)) / sqrt(var(a) + epsilon) * gamma + beta.

    Source: timm's copy of PoolFormer, which averages before the last norm; the authors do so after it.

    Args:
        epsilon: added to the variance.
        **kwargs: of `keras_mlp.layers.LayerNormalization`.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: the same.
    """

    def _normalized(self, x):
        average = ops.mean(x, axis=(1, 2), keepdims=True)
        d = average - ops.mean(average, axis=-1, keepdims=True)
        factor = ops.rsqrt(ops.mean(d * d, axis=-1, keepdims=True) + self.epsilon)
        return (x - ops.mean(average, axis=-1, keepdims=True)) * factor, factor

    def _normalized_in_training(self, x):
        return self._normalized(x)[0]


@fusing.affine.answer(NormOfAverage)
def _norm_of_average(layer, weights, channels):
    return (weights["gamma"], weights["beta"], {"scale": False, "center": False}) if weights else None


def mixings_named(pool_size):
    """What mixes the tokens, `(x, name) -> x`, by what `PoolFormer` calls it."""
    return {
        "pool": lambda x, name: PoolMixing(pool_size, name=name)(x),
        "linear": lambda x, name: TokenDense(_NORMAL, use_bias=False, name=name)(x),
        "identity": lambda x, name: x,
    }


@family.token_mixing
def _mixing(x):
    """Averages of 3 x 3 positions, as in all published models."""
    return PoolMixing(3)(x)


@family.builder
def PoolFormer(
    x,
    dims=(64, 128, 320, 512),
    depths=(2, 2, 6, 2),
    transitions=None,
    mixings=None,
    mlp_ratios=(4, 4, 4, 4),
    pool_size=3,
    layer_scale=1e-5,
    norm="image",
    stem=(7, 4, 2),
    down=(3, 2, 1),
    average_first=False,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """PoolFormer of any size, or the same network with other mixings (MetaFormer). Images may be of any size.

    A block computes, with the mixing `M` and the scales `gamma` of the channels,

        y = x + gamma_1 * M(norm(x)),    z = y + gamma_2 * (W2 activation(W1 norm(y) + b1) + b2).

    Args:
        dims: width of each stage.
        depths: number of blocks of each stage.
        transitions: for each stage, whether the height and width are halved after it; by default after each.
        mixings: what mixes the tokens, for each stage: "pool" for the average of the neighbours, less the token itself;
            "linear" for one linear layer along the tokens, without bias, which ties the model to its grid; or
            "identity" for nothing. By default "pool" in each.
        mlp_ratios: hidden width of the channel MLP, in multiples of the stage's width.
        pool_size: side of the square that is averaged, in positions. Odd.
        layer_scale: what the scales `gamma` start from; `None` or 0 for no scales.
        norm: "image" for group norm with one group, over the height, the width and the channels, as in all published
            models; "layer" for layer norm, over the channels; or a function that makes a layer of its name.
        stem: the patches, `(window, stride, padding)` in pixels.
        down: what halves the height and width, as `stem`.
        average_first: whether the last norm is a layer norm, of the map's average, as in timm's copy of the models.
        activation: of the channel MLP; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    norm, known = norm_named(_NORMS, norm), mixings_named(pool_size)
    mixings = mixings or ("pool",) * len(dims)
    if unknown := [mixing for mixing in mixings if mixing not in known]:
        raise ValueError(f"`mixings` must be among {sorted(known)}. Received: {unknown[0]!r} in mixings={mixings!r}")
    blocks = []
    for dim, depth, mixing, ratio in zip(dims, depths, mixings, mlp_ratios, strict=True):
        block = functools.partial(
            mixing_block,
            token_mixing=known[mixing],
            channel_dim=int(ratio * dim),
            activation=activation or "gelu",
            norm=norm,
            dropout_rate=dropout_rate,
            layer_scale=layer_scale,
            kernel_initializer=_UNIFORM,
        )
        blocks.append([block] * depth)

    def embed(x, dim, stride, name):
        window, halving, padding = down
        return padded_conv(
            x, dim, window, halving if stride > 1 else 1, padding, name, kernel_initializer=_UNIFORM.clone()
        )

    x = padded_conv(x, dims[0], *stem, "stem", kernel_initializer=_UNIFORM.clone())
    x = stages(x, blocks, dims, transitions or (True,) * len(dims), embed, drop_path_rate)
    return NormOfAverage(epsilon=1e-6, name="norm")(x) if average_first else norm("norm")(x)


_SOURCE = "the paper's table of ImageNet results and the authors' README"
_REMEMBERED = "remembered from the paper's table of hybrids; the repository does not state it"
_M = dict(dims=(96, 192, 384, 768))

PoolFormerS12 = family.variant(
    "PoolFormerS12", "pool_former_s12", title="PoolFormer-S12", depths=(2, 2, 6, 2),
    parameters=11_915_176, macs=1_812_267_008, scores=imagenet(77.2, _SOURCE),
)  # fmt: skip
PoolFormerS24 = family.variant(
    "PoolFormerS24", "pool_former_s24", title="PoolFormer-S24", depths=(4, 4, 12, 4),
    parameters=21_388_968, macs=3_392_208_896, scores=imagenet(80.3, _SOURCE),
)  # fmt: skip
PoolFormerS36 = family.variant(
    "PoolFormerS36", "pool_former_s36", title="PoolFormer-S36", depths=(6, 6, 18, 6), layer_scale=1e-6,
    drop_path_rate=0.2, parameters=30_862_760, macs=4_972_150_784, scores=imagenet(81.4, _SOURCE),
)  # fmt: skip
PoolFormerM36 = family.variant(
    "PoolFormerM36", "pool_former_m36", title="PoolFormer-M36", **_M, depths=(6, 6, 18, 6), layer_scale=1e-6,
    drop_path_rate=0.3, parameters=56_172_520, macs=8_758_788_096, scores=imagenet(82.1, _SOURCE),
)  # fmt: skip
PoolFormerM48 = family.variant(
    "PoolFormerM48", "pool_former_m48", title="PoolFormer-M48", **_M, depths=(8, 8, 24, 8), layer_scale=1e-6,
    drop_path_rate=0.4, parameters=73_473_448, macs=11_533_320_192, scores=imagenet(82.5, _SOURCE),
)  # fmt: skip
MetaFormerIDS12 = family.variant(
    "MetaFormerIDS12", "meta_former_id_s12", title="MetaFormer-S12 (identity)", mixings=("identity",) * 4,
    parameters=11_915_176, macs=1_812_267_008, scores=imagenet(74.3, _REMEMBERED, exact=False),
)  # fmt: skip
MetaFormerPPPFS12 = family.variant(
    "MetaFormerPPPFS12", "meta_former_pppf_s12", title="MetaFormer-S12 (pool, pool, pool, linear)",
    mixings=("pool", "pool", "pool", "linear"), parameters=11_919_978, macs=1_814_725_632,
    scores=imagenet(77.5, _REMEMBERED, exact=False),
)  # fmt: skip
MetaFormerPPFFS12 = family.variant(
    "MetaFormerPPFFS12", "meta_former_ppff_s12", title="MetaFormer-S12 (pool, pool, linear, linear)",
    mixings=("pool", "pool", "linear", "linear"), parameters=12_150_474, macs=1_888_484_352,
    scores=imagenet(77.9, _REMEMBERED, exact=False),
)  # fmt: skip


family.layout(
    "pool_former",
    convention="torch",
    names=(
        ("patch_embed.proj", "stem"),
        ("network.{}.{}.norm{}", "stages_{}_{}_norm{}"),
        ("network.{}.{}.token_mixer.fc", "stages_{}_{}_token_mixing/fc"),
        ("network.{}.{}.layer_scale_{}", "stages_{}_{}_scale{}/gamma"),
        ("network.{}.{}.mlp.fc{}", "stages_{}_{}_channel_mixing_fc{}"),
        ("network.{}.proj", "down_{}"),
        ("norm", "norm"),
        *((f"norm{2 * level}", f"level_{level}_norm") for level in range(4)),  # backbones of detectors and segmentors
        ("head", "head"),
    ),
)


def _stage_of_timm(stage):
    """Names in a stage of timm's; here stages and what is between them are numbered in one row."""
    theirs, ours = f"stages.{stage}.blocks.{{}}", f"stages_{2 * stage}_{{}}"
    yield f"{theirs}.norm{{}}", f"{ours}_norm{{}}"
    yield f"{theirs}.layer_scale{{}}.scale", f"{ours}_scale{{}}/gamma"
    yield f"{theirs}.mlp.fc{{}}", f"{ours}_channel_mixing_fc{{}}"
    if stage:
        yield f"stages.{stage}.downsample.conv", f"down_{2 * stage - 1}"


family.layout(
    "timm",
    convention="torch",
    names=(
        ("stem.conv", "stem"),
        *(row for stage in range(4) for row in _stage_of_timm(stage)),
        ("head.norm", "norm"),
        ("head.fc", "head"),
    ),
)

_RELEASE = "https://github.com/sail-sg/poolformer/releases/download/v1.0"
_HUB = "https://huggingface.co/timm/poolformer_{}.sail_in1k/resolve/main/model.safetensors"
_SIZES = (
    ("s12", 77.2, 77.238),
    ("s24", 80.3, 80.294),
    ("s36", 81.4, 81.428),
    ("m36", 82.1, 82.104),
    ("m48", 82.5, 82.462),
)


def _authors(model, file, preprocessing, scores, note=""):
    """One of the authors' files."""
    return Weights(
        model, "imagenet1k", f"{_RELEASE}/{file}.pth.tar", "pth", "pool_former", "ImageNet-1k", 1000, "Apache-2.0",
        preprocessing=preprocessing, scores=scores, note=note,
    )  # fmt: skip


def _timm(size, top1, preprocessing):
    """timm's copy of one of them."""
    return Weights(
        f"pool_former_{size}", "imagenet1k_timm", _HUB.format(size), "safetensors", "timm", "ImageNet-1k", 1000,
        "Apache-2.0", "timm", preprocessing, scores=imagenet(top1, "timm, whose last norm is that of `average_first=True`"),
    )  # fmt: skip


_UNKNOWN = "The authors' repository does not state its accuracy."

family.publish(
    *(
        _authors(
            f"pool_former_{size}", f"poolformer_{size}", _SMALL if size[0] == "s" else _MEDIUM, imagenet(top1, _SOURCE)
        )
        for size, top1, _ in _SIZES
    ),
    *(_timm(size, top1, _SMALL if size[0] == "s" else _MEDIUM) for size, _, top1 in _SIZES),
    _authors("meta_former_id_s12", "metaformer_id_s12", _SMALL, (), _UNKNOWN),
    _authors("meta_former_pppf_s12", "metaformer_pppf_s12_224", _SMALL, (), _UNKNOWN),
    _authors("meta_former_ppff_s12", "metaformer_ppff_s12_224", _MEDIUM, (), _UNKNOWN),
)
