"""GC ViT: attention in windows, every second time with queries that were made of the whole image.

Blocks alternate. In a local one, the positions of a window look at each other, as in Swin. In a global one, each window
is asked the same questions: a small convolutional network has shrunk the stage's map to the size of one window, and that
is the queries of all windows. So a window learns where it stands in the image, and no window has to be shifted.

A window is a part of the image, and its table of relative positions grows with the image. The authors' backbones for
detection have windows of a fixed size instead, and take images of any size: see `windows`.
"""

import functools

from keras import initializers, layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Score, Weights, imagenet
from keras_mlp.families.gc_vit.attention import NORMAL, GlobalQueryAttention, SqueezeExcitation, WindowAttention
from keras_mlp.families.gc_vit.names import AUTHORS, TIMM
from keras_mlp.family import Family
from keras_mlp.layers import (
    Activation,
    BicubicResize,
    Dense,
    PaddedMaxPooling,
    activations,
    drop_path_rates,
    layer_norm,
    mixing_block,
    padded_conv,
)
from keras_mlp.layers.initializers import own
from keras_mlp.layers.sizes import SIDES, check_known, check_length

__all__ = [
    "GCViT",
    "GCViTXXTiny",
    "GCViTXTiny",
    "GCViTTiny",
    "GCViTTiny2",
    "GCViTSmall",
    "GCViTSmall2",
    "GCViTBase",
    "GCViTLarge",
    "GCViTLarge21K224",
    "GCViTLarge21K384",
    "GCViTLarge21K512",
]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_WHOLE = Preprocessing(crop_pct=1.0, interpolation="bicubic")
_SQUASHED = Preprocessing(crop_pct=1.0, interpolation="bicubic", squash=True)
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default
_DEPTHWISE = initializers.RandomUniform(-1 / 3, 1 / 3)  # the same for a window of nine

family = Family(
    "gcvit",
    title="GC ViT",
    paper=Paper("Global Context Vision Transformers", "Hatamizadeh et al.", 2022, "https://arxiv.org/abs/2206.09959"),
    level_norm=layer_norm,
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="NVlabs/GCVit, configs/ and train.py's defaults: GC ViT-T on ImageNet-1k. The last 10 epochs stay at the "
        "final rate. Other variants have other rates of stochastic depth (their builders' defaults). The configuration "
        "has the batch of one GPU, 128; that there were 32 of them is remembered",
        learning_rate=5e-3,
        batch_size=4096,
        epochs=310,
        warmup_epochs=20,
        final_learning_rate=5e-6,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        drop_path_rate=0.2,
        gradient_clip_norm=5.0,
        ema_decay=0.9998,
    ),
    per_stage=("depths", "heads", "window_ratios", "windows", "query_halvings"),
)


def conv_unit(x, activation, squeeze_multiple, name):
    """`x + linear(squeeze(activation(depthwise(x))))`: the "fused MBConv" of the stem, of downsampling and of queries."""
    dim = x.shape[-1]
    squeezed = dim // 4
    if squeeze_multiple is not None:
        squeezed = max(int(dim / 4 + squeeze_multiple / 2) // squeeze_multiple, 1) * squeeze_multiple
    kernel = dict(use_bias=False, depthwise_initializer=own(_DEPTHWISE), padding="same")
    y = layers.DepthwiseConv2D(3, **kernel, name=f"{name}_conv")(x)
    y = Activation(activation, name=f"{name}_act")(y)
    y = SqueezeExcitation(squeezed, activation, name=f"{name}_se")(y)
    y = Dense(dim, use_bias=False, kernel_initializer=_UNIFORM, name=f"{name}_proj")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def downsample(x, dim, norm, unit, name):
    """Half the height and width, with a norm before and one after."""
    x = unit(norm(f"{name}_norm1")(x), name=f"{name}_unit")
    x = padded_conv(x, dim, 3, 2, 1, name, use_bias=False, kernel_initializer=own(_UNIFORM))
    return norm(f"{name}_norm2")(x)


def global_query(x, halvings, window, unit, name):
    """The queries of a stage: its map, shrunk to the size of a window; `window` where the map may be of any size."""
    for i in range(max(halvings, 1)):
        x = unit(x, name=f"{name}_{i}")
        x = PaddedMaxPooling(name=f"{name}_{i}_pool")(x) if i < halvings else x
    return x if window is None else BicubicResize(window, name=f"{name}_resize")(x)


def window_parts(window_ratios):
    """Into how many windows each stage cuts each side of its map."""
    parts, rests = zip(*(divmod(ratio, 4 * 2**stage) for stage, ratio in enumerate(window_ratios)), strict=True)
    if any(rests) or any(n < 1 or n & (n - 1) for n in parts):
        strides = [4 * 2**stage for stage in range(len(parts))]
        raise ValueError(
            f"Each of `window_ratios` must be the stride of its stage, {strides}, or that times a power of two. "
            f"Received: window_ratios={tuple(window_ratios)}"
        )
    return parts


def check_size(shape, parts, step):
    """Refuse a height or width of which a stage's map is no whole number of windows.

    Args:
        shape: of the images, `(batch, height, width, channels)`.
        parts: for each stage the number of windows on a side.
        step: sizes that are multiples of it are proposed.
    """
    check_known(shape, "The windows of GC ViT are parts of the image, unless `windows` has their sides")

    def works(length):
        sides = [-(-length // (4 * 2**stage)) for stage in range(len(parts))]
        return all(side % n == 0 for side, n in zip(sides, parts, strict=True))

    rule = f"Unless `windows` has their sides, the height and width of the input must be multiples of {step}"
    for side, length in zip(SIDES, shape[1:3], strict=True):
        check_length(side, length, works, rule, step)


@family.builder
def GCViT(
    x,
    dim=64,
    depths=(3, 4, 19, 5),
    heads=(2, 4, 8, 16),
    window_ratios=(32, 32, 16, 32),
    mlp_ratio=3,
    qkv_bias=True,
    qk_scale=None,
    layer_scale=None,
    norm_epsilon=1e-5,
    squeeze_multiple=None,
    *,
    windows=None,
    query_halvings=None,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """GC ViT of any size.

    Args:
        dim: width of the first stage; every further one is twice as wide at half the height and width.
        depths: number of blocks of each stage; the second, fourth, … attends with the image's queries.
        heads: number of attention heads of each stage.
        window_ratios: for each stage, how many times the image is as high and wide as a window: the stage's stride, or
            that times a power of two. The image's height and width must be multiples of these.
        mlp_ratio: hidden width of the channel MLP, in multiples of the stage's width.
        qkv_bias: whether attention's first linear layers have a bias.
        qk_scale: factor on the products of queries and keys; `None` for `1 / sqrt(channels of a head)`.
        layer_scale: what the scales of the branches' channels start from; `None` for no scales.
        norm_epsilon: added to the variance in all norms.
        squeeze_multiple: what the hidden width of squeeze and excitation, a quarter of the channels, is rounded to a
            multiple of; `None` to round it down. (timm has 8, which changes no published model.)
        windows: for each stage the side of its windows in positions, or `(height, width)`, instead of `window_ratios`.
            Then images may have any size, also an unknown one: maps are continued with zeros, and the queries are
            resized, as in the authors' backbone for detection, whose windows are `(24, 24, 24, 24)`. Tables of relative
            positions are interpolated from those of a checkpoint for other windows.
        query_halvings: for each stage how often its map is halved on the way to the queries. By default down to a
            window; with `windows`, down to 1/32 of the image, as in the authors' backbone.
        activation: of the MLPs and the convolutions. "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after the stem, after attention and after each linear layer of the MLPs.

    Raises:
        ValueError: a side of the image cannot be cut into windows, or one of `window_ratios` is none of those allowed.
    """
    activation, norm = activations.get(activation or "gelu"), functools.partial(layer_norm, epsilon=norm_epsilon)
    unit = functools.partial(conv_unit, activation=activation, squeeze_multiple=squeeze_multiple)
    if windows is None:
        parts = window_parts(window_ratios)
        check_size(x.shape, parts, max(window_ratios))
        cut = [dict(parts=n) for n in parts]
        halvings = [n.bit_length() - 1 for n in parts]
    else:
        cut = [dict(window=side) for side in windows]
        halvings = [max(3 - stage, 0) for stage in range(len(depths))]
    halvings = halvings if query_halvings is None else query_halvings

    def dropped(x, name):
        return layers.Dropout(dropout_rate, name=name)(x) if dropout_rate else x

    x = padded_conv(x, dim, 3, 2, 1, "stem", kernel_initializer=own(_UNIFORM))
    x = dropped(downsample(x, dim, norm, unit, "stem_down"), "stem_drop")
    for stage, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
        if stage:
            x = downsample(x, dim * 2**stage, norm, unit, f"down_{stage - 1}")
        attention = dict(heads=heads[stage], qkv_bias=qkv_bias, scale=qk_scale) | cut[stage]
        if len(rates) > 1:
            size = cut[stage].get("window")
            size = (size, size) if isinstance(size, int) else size
            query = global_query(x, halvings[stage], size, unit, f"stages_{stage}_0_query")
        for i, rate in enumerate(rates):

            def mixing(x, name, i=i, query=query if i else None, attention=attention):
                if i % 2:
                    y = GlobalQueryAttention(**attention, name=name)([x, query])
                else:
                    y = WindowAttention(**attention, name=name)(x)
                return dropped(y, f"{name}_drop")

            x = mixing_block(
                x,
                mixing,
                int(mlp_ratio * x.shape[-1]),
                activation,
                norm,
                rate,
                dropout_rate,
                f"stages_{stage}_{i}",
                layer_scale=layer_scale,
                kernel_initializer=NORMAL,
            )
    return norm("norm")(x)


_README = "the README of NVlabs/GCVit"
_DETECTION = "detection/README.md of NVlabs/GCVit"
_21K = "ImageNet-21k, then ImageNet-1k"


def _coco(box, mask):
    """Of a Cascade Mask R-CNN, trained three times as long as usual."""
    return tuple(
        Score(value, metric, "COCO", source=_DETECTION) for value, metric in ((box, "box AP"), (mask, "mask AP"))
    )


GCViTXXTiny = family.variant(
    "GCViTXXTiny", "gc_vit_xxtiny", title="GC ViT-XXT", depths=(2, 2, 6, 2), drop_path_rate=0.2,
    parameters=11_995_428, macs=2_120_792_320, scores=imagenet(79.9, _README),
)  # fmt: skip
GCViTXTiny = family.variant(
    "GCViTXTiny", "gc_vit_xtiny", title="GC ViT-XT", depths=(3, 4, 6, 5), drop_path_rate=0.2,
    parameters=19_981_294, macs=2_912_519_424, scores=imagenet(82.0, _README),
)  # fmt: skip
GCViTTiny = family.variant(
    "GCViTTiny", "gc_vit_tiny", title="GC ViT-T", drop_path_rate=0.2,
    parameters=28_221_974, macs=4_761_003_264, scores=(*imagenet(83.5, _README), *_coco(51.6, 44.6)),
)  # fmt: skip
GCViTTiny2 = family.variant(
    "GCViTTiny2", "gc_vit_tiny2", title="GC ViT-T2", depths=(3, 4, 29, 5), drop_path_rate=0.25,
    parameters=34_535_654, macs=6_177_973_504, scores=imagenet(83.7, _README),
)  # fmt: skip
GCViTSmall = family.variant(
    "GCViTSmall", "gc_vit_small", title="GC ViT-S", dim=96, heads=(3, 6, 12, 24), mlp_ratio=2, layer_scale=1e-5,
    drop_path_rate=0.3, parameters=51_092_173, macs=8_529_546_624,
    scores=(*imagenet(84.3, _README), *_coco(52.4, 45.4)),
)  # fmt: skip
GCViTSmall2 = family.variant(
    "GCViTSmall2", "gc_vit_small2", title="GC ViT-S2", dim=96, depths=(3, 4, 23, 5), heads=(3, 6, 12, 24),
    layer_scale=1e-5, drop_path_rate=0.35, parameters=68_615_197, macs=11_537_698_176, scores=imagenet(84.8, _README),
)  # fmt: skip
GCViTBase = family.variant(
    "GCViTBase", "gc_vit_base", title="GC ViT-B", dim=128, heads=(4, 8, 16, 32), mlp_ratio=2, layer_scale=1e-5,
    drop_path_rate=0.5, parameters=90_320_836, macs=14_816_238_080,
    scores=(*imagenet(85.0, _README), *_coco(52.9, 45.8)),
)  # fmt: skip
_LARGE = dict(dim=192, heads=(6, 12, 24, 48), mlp_ratio=2, layer_scale=1e-5)
GCViTLarge = family.variant(
    "GCViTLarge", "gc_vit_large", title="GC ViT-L", **_LARGE, drop_path_rate=0.5,
    parameters=202_075_570, macs=32_554_884_864, scores=imagenet(85.7, _README),
)  # fmt: skip
GCViTLarge21K224 = family.variant(
    "GCViTLarge21K224", "gc_vit_large_224_21k", title="GC ViT-L (21k)", **_LARGE, drop_path_rate=0.5,
    parameters=202_075_570, macs=32_554_884_864, scores=imagenet({_21K: 86.6}, _README),
    note="GC ViT-L by another name: that of its weights, which were trained on ImageNet-21k first.",
)  # fmt: skip
GCViTLarge21K384 = family.variant(
    "GCViTLarge21K384", "gc_vit_large_384_21k", title="GC ViT-L (21k) at 384", **_LARGE, drop_path_rate=0.1,
    input_shape=(384, 384, 3), parameters=202_860_610, macs=103_943_399_424, scores=imagenet({_21K: 87.4}, _README),
)  # fmt: skip
GCViTLarge21K512 = family.variant(
    "GCViTLarge21K512", "gc_vit_large_512_21k", title="GC ViT-L (21k) at 512", **_LARGE, drop_path_rate=0.1,
    input_shape=(512, 512, 3), parameters=203_795_362, macs=202_137_286_656, scores=imagenet({_21K: 87.6}, _README),
)  # fmt: skip


family.layout(
    "authors",
    convention="torch",
    names=AUTHORS,
    ignored=("levels.{}.blocks.{}.attn.relative_position_index",),
)
family.layout("timm", convention="torch", names=TIMM)


_LICENCE = "CC-BY-NC-SA-4.0"
_FIRST = "Converted from the authors' first release, which their present file has taken the place of."


def _nvidia(size, file, top1, preprocessing, tag="imagenet1k", data="ImageNet-1k", side=224):
    """One of the authors' own files, from the page of models that their README names."""
    return Weights(
        f"gc_vit_{size}", tag, f"https://huggingface.co/nvidia/GCViT/resolve/main/gcvit_{file}.pth.tar", "pth", "authors",
        data, 1000, _LICENCE, preprocessing=preprocessing, input_size=(side, side), scores=imagenet(top1, _README),
        key="state_dict",
    )  # fmt: skip


family.publish(
    *(
        _nvidia(size, f"1k_{size}", top1, preprocessing)
        for size, top1, preprocessing in (
            ("xxtiny", 79.9, _WHOLE),
            ("xtiny", 82.0, _IMAGENET),
            ("tiny", 83.5, _WHOLE),
            ("tiny2", 83.7, _IMAGENET),
            ("small", 84.3, _IMAGENET),
            ("small2", 84.8, _IMAGENET),
            ("base", 85.0, _WHOLE),
            ("large", 85.7, _WHOLE),
        )
    ),
    Weights(
        "gc_vit_large_224_21k", "imagenet21k_1k",
        "https://drive.google.com/uc?export=download&id=1maGDr6mJkLyRTUkspMzCgSlhDzNRFGEf", "pth", "authors", _21K, 1000,
        _LICENCE, preprocessing=_WHOLE, scores=imagenet(86.6, _README), key="state_dict", by_hand=True,
    ),
    _nvidia("large_384_21k", "21k_large_384", 87.4, _SQUASHED, "imagenet21k_1k", _21K, 384),
    _nvidia("large_512_21k", "21k_large_512", 87.6, _SQUASHED, "imagenet21k_1k", _21K, 512),
    *(
        Weights(
            f"gc_vit_{size}", "imagenet1k_timm",
            "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights-morevit/"
            f"gcvit_{size}_224_nvidia-{digest}.pth",
            "pth", "timm", "ImageNet-1k", 1000, _LICENCE, "timm", _IMAGENET, sha256=digest, note=_FIRST,
        )
        for size, digest in (
            ("xxtiny", "d1d86009"),
            ("xtiny", "274b92b7"),
            ("tiny", "ac783954"),
            ("small", "4e98afa2"),
            ("base", "f009139b"),
        )
    ),
)  # fmt: skip
