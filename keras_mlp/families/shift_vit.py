"""ShiftViT: a vision transformer whose attention is replaced by a shift of a few channels, without any parameter.

Four small groups of channels move by one pixel, to the left, right, top and bottom; the others stay. The shifted map is
both the residual and the input of the channel MLP, which is all else that a block has. All norms are over a whole
image: group norm with one group, not layer norm. Any image size works.
"""

from keras import initializers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.layers import (
    MAP_NORMS,
    PixelShift,
    channel_mlp,
    drop_path_rates,
    norm_named,
    residual,
    whole_patches,
)

__all__ = [
    "ShiftViT",
    "ShiftViTLightT",
    "ShiftViTLightS",
    "ShiftViTLightB",
    "ShiftViTR2T",
    "ShiftViTR2S",
    "ShiftViTR2B",
    "ShiftViTR4T",
    "ShiftViTR4S",
    "ShiftViTR4B",
]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)

family = Family(
    "shift_vit",
    title="ShiftViT",
    paper=Paper(
        "When Shift Operation Meets Vision Transformer: An Extremely Simple Alternative to Attention Mechanism",
        "Wang et al.",
        2022,
        "https://arxiv.org/abs/2201.10801",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="microsoft/SPACH, main.py's defaults (DeiT style); rates of stochastic depth: its models/registry.py",
        learning_rate=5e-4,
        batch_size=512,
        epochs=300,
        warmup_epochs=20,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        repeated_augmentation=3,
        drop_path_rate=0.2,
        ema_decay=0.99996,
    ),
    per_stage=("depths",),
)


def shift_block(x, shift_parts, mlp_ratio, activation, norm, drop_path_rate, dropout_rate, name):
    """A block: `s = shift(x)`, then `s + mlp(norm(s))`; nothing goes around the shift."""
    x = PixelShift(shift_parts, name=f"{name}_shift")(x)
    hidden = int(mlp_ratio * x.shape[-1])
    y = norm(f"{name}_norm")(x)
    y = channel_mlp(y, hidden, activation, f"{name}_channel_mixing", dropout_rate, kernel_initializer=_NORMAL)
    return residual(x, y, drop_path_rate, name)


@family.token_mixing
def _mixing(x):
    """A third of the channels moves, as in all published models."""
    return PixelShift(12)(x)


@family.builder
def ShiftViT(
    x,
    patch_size=4,
    dim=96,
    depths=(6, 8, 18, 6),
    shift_parts=12,
    mlp_ratio=2,
    stem_norm=True,
    norm="image",
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """ShiftViT of any size, for images of any size: what does not fill a patch is left out.

    Args:
        patch_size: side of a patch in pixels.
        dim: width of the first stage; every further one is twice as wide at half the height and width.
        depths: number of blocks of each stage.
        shift_parts: into how many parts the channels are cut, of which four move, each to another side; at least 4
            (`n_div` in the authors' code).
        mlp_ratio: hidden width of the channel MLP, in multiples of the stage's width.
        stem_norm: whether a norm follows the patch embedding.
        norm: "image" for group norm with one group, as in all published models, "batch" for batch norm, or a function
            that makes a layer of its name.
        activation: "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    norm = norm_named(MAP_NORMS, norm)
    activation = activation or "gelu"
    x = whole_patches(x, dim, patch_size, "stem", kernel_initializer=_NORMAL)
    if stem_norm:
        x = norm("stem_norm")(x)
    for stage, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
        for i, rate in enumerate(rates):
            name = f"stages_{stage}_{i}"
            x = shift_block(x, shift_parts, mlp_ratio, activation, norm, rate, dropout_rate, name)
        if stage + 1 < len(depths):
            width = 2 * x.shape[-1]
            x = norm(f"down_{stage}_norm")(x)
            x = whole_patches(x, width, 2, f"down_{stage}", use_bias=False, kernel_initializer=_NORMAL)
    return norm("norm")(x)


_SOURCE = "the README of microsoft/SPACH"
_OLDER = "an older README of microsoft/SPACH"
_UNKNOWN = "The settings are the authors' code's, which publish no accuracy."

ShiftViTLightT = family.variant(
    "ShiftViTLightT", "shift_vit_light_t", title="Shift-T/light", dim=96, depths=(2, 2, 6, 2), mlp_ratio=4,
    drop_path_rate=0.2, parameters=19_608_328, macs=2_963_159_040, scores=imagenet(79.4, _SOURCE),
)  # fmt: skip
ShiftViTLightS = family.variant(
    "ShiftViTLightS", "shift_vit_light_s", title="Shift-S/light", dim=96, depths=(2, 2, 18, 2), mlp_ratio=4,
    drop_path_rate=0.4, parameters=33_796_360, macs=5_737_691_136, scores=imagenet(81.6, _SOURCE),
)  # fmt: skip
ShiftViTLightB = family.variant(
    "ShiftViTLightB", "shift_vit_light_b", title="Shift-B/light", dim=128, depths=(2, 2, 18, 2), shift_parts=16,
    mlp_ratio=4, drop_path_rate=0.5, parameters=59_708_776, macs=10_193_575_936, note=_UNKNOWN,
)  # fmt: skip
ShiftViTR2T = family.variant(
    "ShiftViTR2T", "shift_vit_r2_t", title="Shift-T", dim=96, depths=(6, 8, 18, 6), mlp_ratio=2, drop_path_rate=0.2,
    parameters=28_566_664, macs=4_581_636_096, scores=imagenet(81.7, _SOURCE),
)  # fmt: skip
ShiftViTR2S = family.variant(
    "ShiftViTR2S", "shift_vit_r2_s", title="Shift-S", dim=96, depths=(10, 18, 36, 10), mlp_ratio=2, drop_path_rate=0.4,
    parameters=50_304_136, macs=8_743_434_240, scores=imagenet(82.8, _SOURCE),
)  # fmt: skip
ShiftViTR2B = family.variant(
    "ShiftViTR2B", "shift_vit_r2_b", title="Shift-B", dim=128, depths=(10, 18, 36, 10), shift_parts=16, mlp_ratio=2,
    drop_path_rate=0.6, parameters=89_026_408, macs=15_537_119_232, scores=imagenet(83.3, _OLDER),
)  # fmt: skip
ShiftViTR4T = family.variant(
    "ShiftViTR4T", "shift_vit_r4_t", title="Shift-T/r4", dim=96, depths=(2, 2, 12, 3), mlp_ratio=4, drop_path_rate=0.2,
    parameters=31_426_312, macs=4_581_636_096, note=_UNKNOWN,
)  # fmt: skip
ShiftViTR4S = family.variant(
    "ShiftViTR4S", "shift_vit_r4_s", title="Shift-S/r4", dim=96, depths=(2, 6, 24, 4), mlp_ratio=4, drop_path_rate=0.4,
    parameters=51_523_336, macs=8_512_223_232, note=_UNKNOWN,
)  # fmt: skip
ShiftViTR4B = family.variant(
    "ShiftViTR4B", "shift_vit_r4_b", title="Shift-B/r4", dim=128, depths=(4, 6, 22, 4), shift_parts=16, mlp_ratio=4,
    drop_path_rate=0.5, parameters=87_271_528, macs=15_126_077_440, note=_UNKNOWN,
)  # fmt: skip


family.layout(
    "shift_vit",
    convention="torch",
    names=(
        ("patch_embed.proj", "stem"),
        ("patch_embed.norm", "stem_norm"),
        ("layers.{}.blocks.{}.norm2", "stages_{}_{}_norm"),
        ("layers.{}.blocks.{}.mlp.fc{}", "stages_{}_{}_channel_mixing_fc{}"),
        ("layers.{}.downsample.norm", "down_{}_norm"),
        ("layers.{}.downsample.reduction", "down_{}"),
        ("norm", "norm"),
        ("head", "head"),
    ),
)

_RELEASE = "https://github.com/microsoft/SPACH/releases/download/v1.0/shiftvit_"
_AVERAGED = (
    'The file also has averaged weights, as "model_ema"; the accuracy is that of the plain ones, which are loaded.'
)

family.publish(
    *(
        Weights(
            f"shift_vit_{form}_{size[0]}", "imagenet1k", f"{_RELEASE}{size}_{form}.pth", "pth", "shift_vit",
            "ImageNet-1k", 1000, "MIT", preprocessing=_IMAGENET, scores=imagenet(top1, _SOURCE), key="model",
            note=_AVERAGED,
        )
        for form, size, top1 in (
            ("light", "tiny", 79.4), ("r2", "tiny", 81.7), ("light", "small", 81.6), ("r2", "small", 82.8)
        )
    )
)  # fmt: skip
