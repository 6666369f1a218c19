"""CycleMLP: a linear layer over the channels whose channels are read at neighbouring positions, in turn.

Cycle FC costs as much as a linear layer over the channels, and sees three positions along the width or the height. Two
of them and a plain linear layer are joined by split attention, as in Vision Permutator. The cost is linear in the
number of positions, and any image size works.
"""

import functools

from keras import initializers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.layers import (
    CycleShift,
    axial_branches,
    layer_norm,
    mixing_block,
    overlapping_patches,
    padded_conv,
    stages,
)

__all__ = ["CycleMLP", "CycleMLPB1", "CycleMLPB2", "CycleMLPB3", "CycleMLPB4", "CycleMLPB5"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default, which convolutions keep

family = Family(
    "cycle_mlp",
    title="CycleMLP",
    paper=Paper(
        "CycleMLP: A MLP-like Architecture for Dense Prediction",
        "Chen et al.",
        2021,
        "https://arxiv.org/abs/2107.10224",
    ),
    level_norm=layer_norm,
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="ShoufaChen/CycleMLP, main.py's defaults; the variants' own rates of stochastic depth are not there",
        learning_rate=1e-3,
        batch_size=1024,
        epochs=300,
        warmup_epochs=5,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        repeated_augmentation=3,
        drop_path_rate=0.1,
        ema_decay=0.99996,
    ),
    per_stage=("dims", "depths", "transitions", "mlp_ratios"),
)


def cycle_mixing(x, use_bias, activation, name):
    """Section 3.3: Cycle FC along the width and the height and a plain linear layer, joined and projected."""
    moved = [CycleShift(side, 3, name=f"{name}_along_{side}")(x) for side in ("width", "height")]
    return axial_branches(x, *moved, use_bias, activation, _NORMAL, name)


@family.token_mixing
def _mixing(x):
    """Three positions along either side, as in all published models."""
    return cycle_mixing(x, False, "gelu", "mixing")


@family.builder
def CycleMLP(
    x,
    patch_size=4,
    dims=(64, 128, 320, 512),
    depths=(2, 2, 4, 2),
    transitions=None,
    mlp_ratios=(4, 4, 4, 4),
    use_bias=False,
    branch_scale=1.0,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """CycleMLP of any size, for images of any size.

    Args:
        patch_size: distance of the patches in pixels; they are `2 * patch_size - 1` wide. Even.
        dims: width of each stage.
        depths: number of blocks of each stage.
        transitions: for each stage, whether the height and width are halved after it; by default after each.
        mlp_ratios: hidden width of the channel MLP, in multiples of the stage's width.
        use_bias: whether the plain linear layer of token mixing has a bias; the Cycle FCs always do.
        branch_scale: factor on both residual branches (1 / `skip_lam` in the authors' code).
        activation: of the MLPs and split attention; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    activation = activation or "gelu"
    blocks = []
    for dim, depth, ratio in zip(dims, depths, mlp_ratios, strict=True):
        block = functools.partial(
            mixing_block,
            token_mixing=functools.partial(cycle_mixing, use_bias=use_bias, activation=activation),
            channel_dim=int(ratio * dim),
            activation=activation,
            norm=layer_norm,
            dropout_rate=dropout_rate,
            branch_scale=branch_scale,
            kernel_initializer=_NORMAL,
        )
        blocks.append([block] * depth)

    def embed(x, dim, stride, name):
        return padded_conv(x, dim, 3, stride, 1, name, kernel_initializer=_UNIFORM.clone())

    x = overlapping_patches(x, dims[0], patch_size, "stem", kernel_initializer=_UNIFORM)
    return layer_norm("norm")(stages(x, blocks, dims, transitions or (True,) * len(dims), embed, drop_path_rate))


_SOURCE = "table 2 of the paper and the authors' README"  # of the settings, too

CycleMLPB1 = family.variant(
    "CycleMLPB1", "cycle_mlp_b1", title="CycleMLP-B1", depths=(2, 2, 4, 2),
    parameters=15_155_400, macs=2_121_523_200, scores=imagenet(78.9, _SOURCE),
)  # fmt: skip
CycleMLPB2 = family.variant(
    "CycleMLPB2", "cycle_mlp_b2", title="CycleMLP-B2", depths=(2, 3, 10, 3),
    parameters=26_802_504, macs=3_875_766_272, scores=imagenet(81.6, _SOURCE),
)  # fmt: skip
CycleMLPB3 = family.variant(
    "CycleMLPB3", "cycle_mlp_b3", title="CycleMLP-B3", depths=(3, 4, 18, 3), mlp_ratios=(8, 8, 4, 4),
    parameters=38_385_720, macs=6_830_968_832, scores=imagenet(82.4, _SOURCE),
)  # fmt: skip
CycleMLPB4 = family.variant(
    "CycleMLPB4", "cycle_mlp_b4", title="CycleMLP-B4", depths=(3, 8, 27, 3), mlp_ratios=(8, 8, 4, 4),
    parameters=51_796_552, macs=10_027_163_648, scores=imagenet(83.0, _SOURCE),
)  # fmt: skip
CycleMLPB5 = family.variant(
    "CycleMLPB5", "cycle_mlp_b5", title="CycleMLP-B5", dims=(96, 192, 384, 768), depths=(3, 4, 24, 3),
    parameters=75_747_280, macs=12_232_436_736, scores=imagenet(83.2, _SOURCE),
)  # fmt: skip


family.layout(
    "cycle_mlp",
    convention="torch",
    names=(
        ("patch_embed.proj", "stem"),
        ("network.{}.{}.norm{}", "stages_{}_{}_norm{}"),
        # The names say the opposite of what they do: sfc_h moves along the width, sfc_w along the height.
        ("network.{}.{}.attn.sfc_h", "stages_{}_{}_token_mixing_width"),
        ("network.{}.{}.attn.sfc_w", "stages_{}_{}_token_mixing_height"),
        ("network.{}.{}.attn.mlp_c", "stages_{}_{}_token_mixing_channels"),
        ("network.{}.{}.attn.reweight.fc{}", "stages_{}_{}_token_mixing_reweight/fc{}"),
        ("network.{}.{}.attn.proj", "stages_{}_{}_token_mixing_proj"),
        ("network.{}.{}.mlp.fc{}", "stages_{}_{}_channel_mixing_fc{}"),
        ("network.{}.proj", "down_{}"),
        ("norm", "norm"),
        *((f"norm{2 * level}", f"level_{level}_norm") for level in range(4)),  # backbones of detectors and segmentors
        ("head", "head"),
    ),
    ignored=("network.{}.{}.attn.sfc_h.offset", "network.{}.{}.attn.sfc_w.offset"),
)

_RELEASE = "https://github.com/ShoufaChen/CycleMLP/releases/download/v0.1/CycleMLP_"

family.publish(
    *(
        Weights(
            f"cycle_mlp_b{size}", "imagenet1k", f"{_RELEASE}B{size}.pth", "pth", "cycle_mlp", "ImageNet-1k", 1000, "MIT",
            preprocessing=_IMAGENET, scores=imagenet(top1, _SOURCE), key="model",
        )
        for size, top1 in ((1, 78.9), (2, 81.6), (3, 82.4), (4, 83.0), (5, 83.2))
    )
)  # fmt: skip
