"""Vision Permutator (ViP): height, width and channels are each mixed by a linear layer of their own, side by side.

The channels are cut into segments. Along the height, the positions of a column and the channels of one segment make one
vector for a linear layer. Along the width, those of a row do. The third branch mixes the channels alone. The three are
joined by split attention ("weighted" Permute-MLP), or summed. So every vector belongs to one row or one column, and
positions are not lost in one long line of tokens.

In the published models the number of segments is the side of the stage's map, which makes the linear layers square in
the channels. Here the number of segments stays the same at another input size, and the linear layers are resampled
along their positions. The paper's code has no other sizes.
"""

import functools

from keras import initializers, layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.layers import (
    AxisDense,
    Dense,
    PatchEmbedding,
    SplitAttention,
    layer_norm,
    mixing_block,
    padded_conv,
    stages,
)

__all__ = ["ViP", "ViPSmall14", "ViPSmall7", "ViPMedium7", "ViPLarge7"]

_IMAGENET = Preprocessing(crop_pct=0.9, interpolation="bicubic")
_IMAGENET_L = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default, which the stems keep

family = Family(
    "vip",
    title="Vision Permutator",
    paper=Paper(
        "Vision Permutator: A Permutable MLP-Like Architecture for Visual Recognition",
        "Hou et al.",
        2021,
        "https://arxiv.org/abs/2106.12368",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="Andrew-Qibin/VisionPermutator, the README's command for Small/7 (the larger models' are not given)",
        learning_rate=2e-3,
        learning_rate_rule="constant",
        batch_size=2048,
        epochs=300,
        warmup_epochs=20,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        drop_path_rate=0.1,
    ),
    per_stage=("dims", "depths", "segments", "transitions", "mlp_ratios"),
)


def permute_mlp(x, segments, split_attention, use_bias, activation, name):
    """Section 3.1 and, with `split_attention`, 3.2: three branches, joined and projected."""
    linear = dict(kernel_initializer=_NORMAL)
    along_height = AxisDense("height", segments, use_bias, **linear, name=f"{name}_height")(x)
    along_width = AxisDense("width", segments, use_bias, **linear, name=f"{name}_width")(x)
    along_channels = Dense(x.shape[-1], use_bias=use_bias, **linear, name=f"{name}_channels")(x)
    branches = [along_height, along_width, along_channels]
    if split_attention:
        y = SplitAttention(activation, **linear, name=f"{name}_reweight")(branches)
    else:
        y = layers.Add(name=f"{name}_sum")(branches)
    return Dense(x.shape[-1], **linear, name=f"{name}_proj")(y)


def permutator_block(x, **options):
    """A block of ViP and DynaMixer, which puts another `token_mixing` in."""
    return mixing_block(x, norm=layer_norm, kernel_initializer=_NORMAL, **options)


def permutator(x, blocks, patch_size, dims, transitions, drop_path_rate, overlap=False):
    """The trunk of ViP and DynaMixer: patch embedding, stages with downsampling between them, layer norm.

    Args:
        blocks: for each stage the list of its blocks, `(x, drop_path_rate, name) -> x`.
        transitions: for each stage whether the height and width are halved after it.
        overlap: whether the patches reach over into their neighbours, in the stem and where the size is halved.

    Raises:
        ValueError: the patches overlap and are not square.
    """
    if overlap and not isinstance(patch_size, int):
        raise ValueError(f"Patches that overlap are square: `patch_size` must be a number. Received: {patch_size!r}")

    def embed(x, dim, patch, name):
        if not overlap or patch == 1:  # where the width alone changes, nothing overlaps
            return PatchEmbedding(dim, patch, kernel_initializer=_UNIFORM, name=name)(x)
        window, stride = (patch, (patch + 1) // 2) if name == "stem" else (3, 2)
        return padded_conv(x, dim, window, stride, (window - 1) // 2, name, kernel_initializer=_UNIFORM.clone())

    x = embed(x, dims[0], patch_size, "stem")
    return layer_norm("norm")(stages(x, blocks, dims, transitions, embed, drop_path_rate))


@family.token_mixing
def _mixing(x):
    """Four segments at all sizes. Published models have as many as the side of their map."""
    return permute_mlp(x, 4, split_attention=True, use_bias=False, activation="gelu", name="mixing")


@family.builder
def ViP(
    x,
    patch_size=7,
    dims=(192, 384, 384, 384),
    depths=(4, 3, 8, 3),
    segments=(32, 16, 16, 16),
    transitions=(True, False, False, False),
    mlp_ratios=(3, 3, 3, 3),
    use_bias=False,
    branch_scale=1.0,
    split_attention=True,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """Vision Permutator of any size.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`; the image's height and width must be multiples of
            it, and of twice that where the size is halved once.
        dims: width of each stage.
        depths: number of blocks of each stage.
        segments: number of segments of the channels in each stage. In the paper, the stage's side length.
        transitions: for each stage, whether the height and width are halved after it.
        mlp_ratios: hidden width of the channel MLP, in multiples of the stage's width.
        use_bias: whether the three linear layers of token mixing have a bias.
        branch_scale: factor on both residual branches (1 / `skip_lam` in the authors' code).
        split_attention: join the three branches by split attention (Weighted Permute-MLP), not by their sum.
        activation: of the MLPs and split attention; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    activation = activation or "gelu"
    blocks = []
    for dim, depth, segment_count, ratio in zip(dims, depths, segments, mlp_ratios, strict=True):
        mixing = functools.partial(
            permute_mlp,
            segments=segment_count,
            split_attention=split_attention,
            use_bias=use_bias,
            activation=activation,
        )
        block = functools.partial(
            permutator_block,
            token_mixing=mixing,
            channel_dim=int(ratio * dim),
            activation=activation,
            branch_scale=branch_scale,
            dropout_rate=dropout_rate,
        )
        blocks.append([block] * depth)
    return permutator(x, blocks, patch_size, dims, transitions, drop_path_rate)


_SOURCE = "table 3 of the paper and the authors' README"  # of the settings, too

_HALVED_FIRST = dict(segments=(32, 16, 16, 16), transitions=(True, False, False, False))

ViPSmall14 = family.variant(
    "ViPSmall14", "vip_small14", title="ViP-Small/14", patch_size=14, dims=(384, 384, 384, 384), depths=(4, 3, 8, 3),
    segments=(16, 16, 16, 16), transitions=(False, False, False, False), parameters=29_892_904, macs=6_855_613_440,
)  # fmt: skip
ViPSmall7 = family.variant(
    "ViPSmall7", "vip_small7", title="ViP-Small/7", patch_size=7, dims=(192, 384, 384, 384), depths=(4, 3, 8, 3),
    **_HALVED_FIRST, drop_path_rate=0.1, parameters=25_114_984, macs=6_901_767_168, scores=imagenet(81.5, _SOURCE),
)  # fmt: skip
ViPMedium7 = family.variant(
    "ViPMedium7", "vip_medium7", title="ViP-Medium/7", patch_size=7, dims=(256, 256, 512, 512), depths=(4, 3, 14, 3),
    segments=(32, 32, 16, 16), transitions=(False, True, False, False),
    parameters=55_272_488, macs=16_284_307_456, scores=imagenet(82.7, _SOURCE),
)  # fmt: skip
ViPLarge7 = family.variant(
    "ViPLarge7", "vip_large7", title="ViP-Large/7", patch_size=7, dims=(256, 512, 512, 512), depths=(8, 8, 16, 4),
    **_HALVED_FIRST, parameters=87_784_936, macs=24_340_320_256, scores=imagenet(83.2, _SOURCE),
)  # fmt: skip


SKELETON = (
    ("patch_embed.proj", "stem"),
    ("network.{}.proj", "down_{}"),
    ("network.{}.{}.norm{}", "stages_{}_{}_norm{}"),
    ("network.{}.{}.mlp.fc{}", "stages_{}_{}_channel_mixing_fc{}"),
    ("network.{}.{}.attn.mlp_c", "stages_{}_{}_token_mixing_channels"),
    ("network.{}.{}.attn.reweight.fc{}", "stages_{}_{}_token_mixing_reweight/fc{}"),
    ("network.{}.{}.attn.proj", "stages_{}_{}_token_mixing_proj"),
    ("norm", "norm"),
    ("head", "head"),
)
"""Names of all but the mixing along height and width; DynaMixer's are the same."""

family.layout(
    "vision_permutator",
    convention="torch",
    names=(
        *SKELETON,
        ("network.{}.{}.attn.mlp_h", "stages_{}_{}_token_mixing_height/fc"),
        ("network.{}.{}.attn.mlp_w", "stages_{}_{}_token_mixing_width/fc"),
    ),
)


def _drive(model, file, top1, preprocessing=_IMAGENET):
    """One of the authors' files, which their README names; a page for people, not for programs."""
    return Weights(
        model, "imagenet1k", f"https://drive.google.com/file/d/{file}/view?usp=sharing", "pth", "vision_permutator",
        "ImageNet-1k", 1000, "MIT; the README adds: non-commercial use only", preprocessing=preprocessing,
        scores=imagenet(top1, _SOURCE),
        by_hand=True,
    )  # fmt: skip


family.publish(
    _drive("vip_small7", "1cX6eauDrsGsLSZnqsX7cl0oiKX8Dzv5z", 81.5),
    _drive("vip_medium7", "15y5WMypthpbBFdc01E3mJCZit7q0Yn8m", 82.7),
    _drive("vip_large7", "14F5IXGXmB_3jrwK33Efae-WEb5D_G85c", 83.2, _IMAGENET_L),
)
