"""sMLPNet: a convolutional pyramid whose token mixing is a linear layer along the rows and one along the columns.

Token mixing has two steps. The first is a depthwise 3 x 3 convolution. The second is the "sparse MLP", which joins three
maps: one mixed along the width, one mixed along the height, and the map itself. Each step begins with batch norm and
GELU, and the map itself is the one after those. So every position sees the whole image after two blocks, at the cost of
rows and columns.
"""

from keras import layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.layers import (
    Activation,
    AxisDense,
    Dense,
    LayerNormalization,
    PatchEmbedding,
    activations,
    batch_norm,
    channel_mlp,
    drop_path_rates,
    residual,
)

__all__ = ["SMLPNet", "SMLPNetT", "SMLPNetS", "SMLPNetB"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")

family = Family(
    "smlp",
    title="sMLPNet",
    paper=Paper(
        "Sparse MLP for Image Recognition: Is Self-Attention Really Necessary?",
        "Tang et al.",
        2021,
        "https://arxiv.org/abs/2109.05422",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="microsoft/SPACH, main.py and the README's commands (DeiT style)",
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
        ema_decay=0.99996,
    ),
    per_stage=("depths",),
)


def norm_act(x, activation, name):
    """Batch norm and activation, with which both steps of token mixing begin."""
    x = batch_norm(f"{name}_norm")(x)
    return Activation(activation, name=f"{name}_act")(x)


def sparse_mlp(x, name):
    """The map, what is mixed along its width and what is mixed along its height, joined by a linear layer."""
    along_width = AxisDense("width", name=f"{name}_width")(x)
    along_height = AxisDense("height", name=f"{name}_height")(x)
    y = layers.Concatenate(name=f"{name}_concat")([x, along_width, along_height])
    return Dense(x.shape[-1], use_bias=False, name=f"{name}_fuse")(y)


def smlp_block(x, channel_dim, activation, drop_path_rate, dropout_rate, name):
    """Section 3: a depthwise convolution and the sparse MLP, then the channel MLP; two residual branches."""
    y = norm_act(x, activation, f"{name}_local")
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_local_conv")(y)
    y = norm_act(y, activation, f"{name}_smlp")
    x = residual(x, sparse_mlp(y, f"{name}_smlp"), drop_path_rate, name, 1)
    y = LayerNormalization(epsilon=1e-5, name=f"{name}_norm")(x)
    y = channel_mlp(y, channel_dim, activation, f"{name}_channel_mixing", dropout_rate)
    return residual(x, y, drop_path_rate, name, 2)


@family.token_mixing
def _mixing(x):
    """The sparse MLP without the convolution before it."""
    return sparse_mlp(x, "mixing")


@family.builder
def SMLPNet(
    x,
    patch_size=4,
    dim=80,
    depths=(2, 8, 14, 2),
    mlp_ratio=3,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """sMLPNet of any size.

    Args:
        patch_size: side of a patch in pixels; the height and width must be multiples of it, times two for each
            further stage.
        dim: width of the first stage; every further one is twice as wide at half the height and width.
        depths: number of blocks of each stage.
        mlp_ratio: hidden width of the channel MLP, in multiples of the stage's width.
        activation: "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    activation = activations.get(activation or "gelu")
    block = 0
    for stage, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
        patch = patch_size if stage == 0 else 2
        x = PatchEmbedding(dim * 2**stage, patch, use_bias=False, name="stem" if stage == 0 else f"down_{stage}")(x)
        for rate in rates:
            x = smlp_block(x, mlp_ratio * x.shape[-1], activation, rate, dropout_rate, name=f"blocks_{block}")
            block += 1
    return batch_norm("norm")(x)


_SOURCE = "the README of microsoft/SPACH"  # of the settings, too

SMLPNetT = family.variant(
    "SMLPNetT", "smlpnet_t", title="sMLPNet-T", patch_size=4, dim=80, depths=(2, 8, 14, 2),
    parameters=24_123_584, macs=4_989_451_520, scores=imagenet(81.9, _SOURCE),
)  # fmt: skip
SMLPNetS = family.variant(
    "SMLPNetS", "smlpnet_s", title="sMLPNet-S", patch_size=4, dim=96, depths=(2, 10, 24, 2), drop_path_rate=0.2,
    parameters=48_558_136, macs=10_312_161_792, scores=imagenet(83.1, _SOURCE),
)  # fmt: skip
SMLPNetB = family.variant(
    "SMLPNetB", "smlpnet_b", title="sMLPNet-B", patch_size=4, dim=112, depths=(2, 10, 24, 2), drop_path_rate=0.3,
    parameters=65_880_408, macs=13_986_515_200, scores=imagenet(83.4, _SOURCE),
)  # fmt: skip


family.layout(
    "spach",
    convention="torch",
    names=(
        ("to_patch_embedding.0.0", "stem"),
        ("to_patch_embedding.{}.0", "down_{}"),
        ("token_mix.{}.0.conv_merge.BN", "blocks_{}_local_norm"),
        ("token_mix.{}.0.conv_merge.Conv", "blocks_{}_local_conv"),
        ("token_mix.{}.1.BN", "blocks_{}_smlp_norm"),
        # The names say the opposite of what they do: proj_h mixes along the width, proh_w along the height.
        ("token_mix.{}.1.proj_h", "blocks_{}_smlp_width/fc"),
        ("token_mix.{}.1.proh_w", "blocks_{}_smlp_height/fc"),
        ("token_mix.{}.1.fuse", "blocks_{}_smlp_fuse"),
        ("channel_mix.{}.1", "blocks_{}_norm"),
        ("channel_mix.{}.2.net.0", "blocks_{}_channel_mixing_fc1"),
        ("channel_mix.{}.2.net.3", "blocks_{}_channel_mixing_fc2"),
        ("batch_norm", "norm"),
        ("mlp_head.0", "head"),
    ),
)

_RELEASE = "https://github.com/microsoft/SPACH/releases/download/v1.0/"
_ASCEND = "https://ascend-pytorch-model-file.obs.cn-north-4.myhuaweicloud.com/%E9%AA%8C%E6%94%B6-%E6%8E%A8%E7%90%86/cv/classfication/sMLP/"

family.publish(
    Weights("smlpnet_s", "imagenet1k", f"{_RELEASE}smlp_s.pth", "pth", "spach", "ImageNet-1k", 1000, "MIT", preprocessing=_IMAGENET, scores=imagenet(83.1, _SOURCE), key="model"),
    Weights("smlpnet_b", "imagenet1k", f"{_RELEASE}smlp_b.pth", "pth", "spach", "ImageNet-1k", 1000, "MIT", preprocessing=_IMAGENET, scores=imagenet(83.4, _SOURCE), key="model"),
    Weights(
        "smlpnet_t", "imagenet_ascend", f"{_ASCEND}smlp_t.pth", "pth", "spach", "ImageNet-1k", 1000, "not stated", publisher="Ascend ModelZoo",
        preprocessing=_IMAGENET, scores=imagenet(81.9, _SOURCE), key="model", note="The authors published no file of this size; the accuracy is theirs.",
    ),
)  # fmt: skip
