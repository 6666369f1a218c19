"""RepMLPNet: linear layers across the positions of a map, into which trained convolutions can be merged.

A block has three parts. The channel perceptron is a linear layer across all positions of a tile, shared by groups of
channels. The local perceptron consists of depthwise convolutions on the tile. The block adds both up. The global
perceptron gates the sum by the average of the whole map.

A convolution is a linear layer, too. After training, "locality injection" adds the kernels of the convolutions to that
of the linear layer, and drops the convolutions. So there are two forms, one to train and one to deploy, with the same
output.
"""

import functools

import keras
import numpy as np
from keras import initializers, layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.checkpoints.layouts import with_weight
from keras_mlp.families.repmlpnet.perceptrons import ChannelPerceptron, LocalPerceptron, TileMerge, TilePartition
from keras_mlp.family import Family
from keras_mlp.fusion import fuse_layers
from keras_mlp.layers import Activation, Dense, activations, batch_norm, drop_path_rates, residual
from keras_mlp.layers.sizes import SIDES, check_length

__all__ = [
    "RepMLPNet",
    "RepMLPNetT224",
    "RepMLPNetT256",
    "RepMLPNetB224",
    "RepMLPNetB256",
    "RepMLPNetD256",
    "RepMLPNetL256",
]

_IMAGENET = Preprocessing(crop_pct=1.0, interpolation="bilinear")
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default, which the authors keep

family = Family(
    "repmlpnet",
    title="RepMLPNet",
    paper=Paper(
        "RepMLPNet: Hierarchical Vision MLP with Re-parameterized Locality",
        "Ding et al.",
        2021,
        "https://arxiv.org/abs/2112.11081",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="DingXiaoH/RepMLP, the README's command and the code's defaults (the paper's learning rate is 2e-3; the "
        "number of RandAugment's operations is timm's default)",
        learning_rate=1e-3,
        batch_size=256,
        epochs=100,
        warmup_epochs=10,
        final_learning_rate=0.0,
        weight_decay=0.1,
        mixup=0.4,
        cutmix=1.0,
        rand_augment=(2, 15),
        gradient_clip_norm=5.0,
    ),
    per_stage=("dims", "depths", "tiles", "share_sets"),
)


def repmlp_block(x, tile, share_sets, kernel_sizes, gate_reduction, deploy, tiles_in_place, name):
    """The channel and the local perceptron on tiles, added up, times the global perceptron of the whole map."""
    dim = x.shape[-1]
    tiles = TilePartition(tile, share_sets, name=f"{name}_tiles")(x)
    y = ChannelPerceptron(use_bias=deploy, name=f"{name}_fc3")(tiles)
    if not deploy:
        branches = [batch_norm(f"{name}_fc3_norm")(y)]
        for size in kernel_sizes:
            local = LocalPerceptron(size, name=f"{name}_repconv{size}")(tiles)
            branches.append(batch_norm(f"{name}_repconv{size}_norm")(local))
        y = layers.Add(name=f"{name}_perceptrons")(branches) if kernel_sizes else branches[0]
    y = TileMerge(tile, tiles_in_place, name=f"{name}_map")([y, x])
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_gp_pool")(x)
    gate = Dense(dim // gate_reduction, activation="relu", kernel_initializer=_UNIFORM, name=f"{name}_gp_fc1")(gate)
    gate = Dense(dim, activation="sigmoid", kernel_initializer=_UNIFORM, name=f"{name}_gp_fc2")(gate)
    return layers.Multiply(name=f"{name}_gate")([y, gate])


def ffn_block(x, mlp_ratio, activation, dropout_rate, name):
    """The channel MLP, each of its linear layers followed by a batch norm instead of a bias."""
    linear = dict(use_bias=False, kernel_initializer=_UNIFORM)
    y = batch_norm(f"{name}_fc1_norm")(Dense(int(mlp_ratio * x.shape[-1]), **linear, name=f"{name}_fc1")(x))
    y = Activation(activation, name=f"{name}_act")(y)
    if dropout_rate:
        y = layers.Dropout(dropout_rate, name=f"{name}_drop1")(y)
    y = batch_norm(f"{name}_fc2_norm")(Dense(x.shape[-1], **linear, name=f"{name}_fc2")(y))
    return layers.Dropout(dropout_rate, name=f"{name}_drop2")(y) if dropout_rate else y


def embedding(x, dim, patch_size, name):
    """Patches, embedded; a border that is narrower than a patch is cut off."""
    convolution = dict(use_bias=False, kernel_initializer=_UNIFORM.clone())
    x = layers.Conv2D(dim, patch_size, patch_size, **convolution, name=name)(x)
    return layers.ReLU(name=f"{name}_act")(batch_norm(f"{name}_norm")(x))


def check_size(size, patch_size, tiles):
    """Refuse a known height or width of which a stage's map is no whole number of tiles.

    Args:
        size: `(height, width)` of the input in pixels.
        patch_size: `(height, width)` of the stem's patches in pixels; each stage after the first halves the map, both
            rounding down.
        tiles: `(height, width)` of each stage's tiles in positions.

    Raises:
        ValueError: names the nearest sides that work.
    """

    def works(side, patch, lengths):
        sides = (side // patch // 2**stage for stage in range(len(lengths)))
        return all(n and n % length == 0 for n, length in zip(sides, lengths, strict=True))

    rule = f"The height and width of each stage's map must be multiples of its tile's, {tuple(tiles)}"
    for side, length, patch, lengths in zip(SIDES, size, patch_size, zip(*tiles, strict=True), strict=True):
        stride = patch * 2 ** (len(tiles) - 1)
        period = stride * int(np.lcm.reduce(lengths))
        check_length(side, length, functools.partial(works, patch=patch, lengths=lengths), rule, stride, period)


@family.token_mixing
def _mixing(x):
    """The form to deploy on one tile, with four share-sets."""
    options = dict(kernel_sizes=(), gate_reduction=4, deploy=True, tiles_in_place=False)
    return repmlp_block(x, x.shape[1:3], 4, **options, name="mixing")


@family.builder
def RepMLPNet(
    x,
    patch_size=4,
    dims=(64, 128, 256, 512),
    depths=(2, 2, 6, 2),
    tiles=(56, 28, 14, 7),
    share_sets=(1, 4, 16, 128),
    kernel_sizes=(1, 3),
    gate_reduction=4,
    mlp_ratio=4,
    *,
    deploy=False,
    tiles_in_place=False,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """RepMLPNet of any size, for images whose maps are whole tiles in every stage.

    A larger image has several tiles that share all weights; nothing is resampled.

    Args:
        patch_size: side of the stem's patches in pixels, or `(height, width)`.
        dims: width of each stage; each is at half the height and width of the one before.
        depths: number of blocks of each stage.
        tiles: side of the tiles in each stage in positions, or `(height, width)`; in published models, the whole map.
        share_sets: number of share-sets in each stage: channels whose linear layer across positions differs.
        kernel_sizes: sides of the local perceptrons' kernels, odd; may be empty.
        gate_reduction: what the global perceptron's hidden width is smaller by than the stage's.
        mlp_ratio: hidden width of the channel MLP, in multiples of the stage's width.
        deploy: the form to deploy, without local perceptrons, which takes checkpoints of that form;
            `keras_mlp.families.repmlpnet.inject_locality` makes it of a trained model in the form to train.
        tiles_in_place: put several tiles back where they were, which the authors' code does not (see
            `TileMerge`); it makes no difference for images of one tile. By default as in their code. Detectors and
            segmentors of images of several tiles need it, because what they say of a place is then said of another.
        activation: of the channel MLP; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first. The authors have none.
        dropout_rate: dropout after the channel MLP's activation and at its end. The authors have none.
    """
    activation = activations.get(activation or "gelu")
    patch_size, *tiles = ((side, side) if isinstance(side, int) else tuple(side) for side in (patch_size, *tiles))
    check_size(x.shape[1:3], patch_size, tiles)
    x, ramp = embedding(x, dims[0], patch_size, "stem"), drop_path_rates(drop_path_rate, depths)
    for stage, (dim, rates, tile, sets) in enumerate(zip(dims, ramp, tiles, share_sets, strict=True)):
        if stage:
            x = embedding(x, dim, 2, f"down_{stage - 1}")
        mixing = functools.partial(
            repmlp_block,
            tile=tile,
            share_sets=sets,
            kernel_sizes=kernel_sizes,
            gate_reduction=gate_reduction,
            deploy=deploy,
            tiles_in_place=tiles_in_place,
        )
        for i, rate in enumerate(rates):
            name = f"stages_{stage}_{i}"
            y = mixing(batch_norm(f"{name}_norm1")(x), name=f"{name}_token_mixing")
            x = residual(x, y, rate, name, 1)
            y = ffn_block(batch_norm(f"{name}_norm2")(x), mlp_ratio, activation, dropout_rate, f"{name}_channel_mixing")
            x = residual(x, y, rate, name, 2)
    return batch_norm("norm")(x)


def inject_locality(model: keras.Model) -> keras.Model:
    """The form to deploy of a model in the form to train, with the same output.

    In every block, the batch norms and the local perceptrons are added into the channel perceptron's linear layer, in
    float64, as `keras_mlp.fuse` adds up what is linear. All other layers and weights are copied, so the top, the input
    and the name stay.

    Args:
        model: a functional model with the blocks of this family in the form to train.

    Returns:
        A new model. `model` is unchanged. In training it would not normalise where `model` does: train first.

    Raises:
        ValueError: `model` has no block in the form to train.

    Example:
        model = keras_mlp.RepMLPNetT224(weights="RepMLPNet-T224-train.pth")
        deploy = keras_mlp.families.repmlpnet.inject_locality(model)
    """
    blocks = [layer.name.removesuffix("_fc3") for layer in getattr(model, "layers", ()) if _trains(layer)]
    if not blocks:
        raise ValueError(
            "`model` must be a functional model with RepMLP blocks in the form to train, such as "
            f"`keras_mlp.RepMLPNetT224()`; in the form to deploy nothing is left to inject. Received: {model!r}"
        )
    inside = ("fc3", "fc3_norm", "repconv", "perceptrons")
    prefixes = tuple(f"{block}_{part}" for block in blocks for part in inside)
    chosen = [layer.name for layer in model.layers if layer.name.startswith(prefixes)]
    return fuse_layers(model, chosen, biased=[f"{block}_fc3" for block in blocks])


def _trains(layer) -> bool:
    """Whether it is the channel perceptron of a block in the form to train."""
    return isinstance(layer, ChannelPerceptron) and not layer.use_bias


_T = dict(dims=(64, 128, 256, 512), depths=(2, 2, 6, 2), share_sets=(1, 4, 16, 128))
_B = dict(dims=(96, 192, 384, 768), depths=(2, 2, 12, 2), share_sets=(1, 4, 32, 128))
_D = dict(dims=(80, 160, 320, 640), depths=(2, 2, 18, 2), share_sets=(1, 4, 16, 128))
_L = dict(dims=(96, 192, 384, 768), depths=(2, 2, 18, 2), share_sets=(1, 4, 32, 256))
_256 = dict(tiles=(64, 32, 16, 8), input_shape=(256, 256, 3))

_SOURCE = "the authors' README"

# Parameters and multiply-adds are those of the form to train.
RepMLPNetT224 = family.variant(
    "RepMLPNetT224", "repmlpnet_t224", title="RepMLPNet-T224", **_T,
    parameters=38_293_608, macs=2_807_987_200, scores=imagenet(76.62, _SOURCE),
)  # fmt: skip
RepMLPNetT256 = family.variant(
    "RepMLPNetT256", "repmlpnet_t256", title="RepMLPNet-T256", **_T, **_256,
    parameters=58_687_848, macs=4_258_078_720, scores=imagenet(77.44, _SOURCE),
)  # fmt: skip
RepMLPNetB224 = family.variant(
    "RepMLPNetB224", "repmlpnet_b224", title="RepMLPNet-B224", **_B,
    parameters=68_242_712, macs=6_675_721_728, scores=imagenet(80.32, _SOURCE),
)  # fmt: skip
RepMLPNetB256 = family.variant(
    "RepMLPNetB256", "repmlpnet_b256", title="RepMLPNet-B256", **_B, **_256,
    parameters=96_447_512, macs=9_640_209_408, scores=imagenet(81.03, _SOURCE),
)  # fmt: skip
RepMLPNetD256 = family.variant(
    "RepMLPNetD256", "repmlpnet_d256", title="RepMLPNet-D256", **_D, **_256,
    parameters=86_887_648, macs=8_636_207_360, scores=imagenet(80.83, _SOURCE),
)  # fmt: skip
RepMLPNetL256 = family.variant(
    "RepMLPNetL256", "repmlpnet_l256", title="RepMLPNet-L256", **_L, **_256,
    parameters=117_641_560, macs=11_609_484_288, scores=imagenet(81.68, _SOURCE),
)  # fmt: skip


@with_weight
def _share_sets(tensor, weight):
    """A convolution of one pixel, its groups the share-sets: `(share_sets * out, in, 1, 1)`, and its bias."""
    positions = weight.shape[1]
    by_set = tensor.reshape(-1, positions, *tensor.shape[1:2])
    return by_set.swapaxes(-1, -2) if tensor.ndim > 1 else by_set


family.layout(
    "repmlpnet",
    convention="torch",
    names=(
        ("conv_embedding.conv", "stem"),
        ("conv_embedding.bn", "stem_norm"),
        ("stages.{}.{}.prebn{}", "stages_{}_{}_norm{}"),
        ("stages.{}.{}.repmlp_block.gp.fc{}", "stages_{}_{}_token_mixing_gp_fc{}"),
        ("stages.{}.{}.repmlp_block.fc3", "stages_{}_{}_token_mixing_fc3", _share_sets),
        ("stages.{}.{}.repmlp_block.fc3_bn", "stages_{}_{}_token_mixing_fc3_norm"),
        ("stages.{}.{}.repmlp_block.repconv{}.conv", "stages_{}_{}_token_mixing_repconv{}"),
        ("stages.{}.{}.repmlp_block.repconv{}.bn", "stages_{}_{}_token_mixing_repconv{}_norm"),
        ("stages.{}.{}.ffn_block.ffn_fc{}.conv", "stages_{}_{}_channel_mixing_fc{}"),
        ("stages.{}.{}.ffn_block.ffn_fc{}.bn", "stages_{}_{}_channel_mixing_fc{}_norm"),
        ("embeds.{}.conv", "down_{}"),
        ("embeds.{}.bn", "down_{}_norm"),
        ("head_norm", "norm"),
        ("head", "head"),
    ),
)
family.layout(
    "mmpretrain",
    convention="torch",
    names=(
        ("backbone.patch_embed.projection", "stem"),
        ("backbone.patch_embed.norm", "stem_norm"),
        ("backbone.stages.{}.{}.norm{}", "stages_{}_{}_norm{}"),
        ("backbone.stages.{}.{}.repmlp_block.gp.conv{}.conv", "stages_{}_{}_token_mixing_gp_fc{}"),
        ("backbone.stages.{}.{}.repmlp_block.fc3", "stages_{}_{}_token_mixing_fc3", _share_sets),
        ("backbone.stages.{}.{}.repmlp_block.fc3_bn", "stages_{}_{}_token_mixing_fc3_norm"),
        ("backbone.stages.{}.{}.repmlp_block.repconv{}.conv", "stages_{}_{}_token_mixing_repconv{}"),
        ("backbone.stages.{}.{}.repmlp_block.repconv{}.bn", "stages_{}_{}_token_mixing_repconv{}_norm"),
        ("backbone.stages.{}.{}.ffn_block.ffn_fc{}.conv", "stages_{}_{}_channel_mixing_fc{}"),
        ("backbone.stages.{}.{}.ffn_block.ffn_fc{}.bn", "stages_{}_{}_channel_mixing_fc{}_norm"),
        ("backbone.downsample_layers.{}.conv", "down_{}"),
        ("backbone.downsample_layers.{}.bn", "down_{}_norm"),
        ("backbone.final_norm", "norm"),
        ("head.fc", "head"),
    ),
)

_OPENMMLAB = "https://download.openmmlab.com/mmclassification/v0/repmlp/repmlp-base_3rdparty_8xb64_in1k"


def _authors(size, file, top1):
    """One of the authors' files, in the form to train, on a cloud drive."""
    side = int(size[-3:])
    return Weights(
        f"repmlpnet_{size}", "imagenet1k", f"https://drive.google.com/file/d/{file}/view?usp=sharing", "pth", "repmlpnet",
        "ImageNet-1k", 1000, "MIT", preprocessing=_IMAGENET, input_size=(side, side),
        scores=imagenet(top1, _SOURCE), by_hand=True,
    )  # fmt: skip


def _openmmlab(size, file, top1, preprocessing):
    """A copy of the authors' weights with OpenMMLab's names; the file's name ends in the first digits of its sha256."""
    side = int(size[-3:])
    return Weights(
        f"repmlpnet_{size}", "imagenet_mmpretrain", f"{_OPENMMLAB}{file}.pth", "pth", "mmpretrain", "ImageNet-1k", 1000,
        "Apache-2.0 (the copy), MIT (the weights)", "OpenMMLab", preprocessing, (side, side),
        imagenet(top1, "OpenMMLab"), sha256=file[-8:],
        key="state_dict", note="The authors' weights, evaluated with another crop. The tensors' names are from the code of mmpretrain, not seen in the file.",
    )  # fmt: skip


family.publish(
    _authors("t224", "1TgPDD78G-d3h_Y_vNTuqYdSJZHmnju7b", 76.62),
    _authors("t256", "1mU0L76x20eAKzkHxEM7J2BvEOLWx_mux", 77.44),
    _authors("b224", "1GwoUvxGXgzKArlCf0V9kvc9_3GtkGltp", 80.32),
    _authors("b256", "1W-__gXE7903cX-gOSXEGxNBCJjvqFCiJ", 81.03),
    _authors("d256", "1e5IYac0UHnJq2_lzbuE7J4rahMENX2ha", 80.83),
    _authors("l256", "1SHhNJ6pZax9qMLm8DJZtQ_XfmcmddPYU", 81.68),
    _openmmlab(
        "b224", "_20220330-1cb1f11b", 80.41, Preprocessing(crop_pct=224 / 256, interpolation="bilinear", squash=True)
    ),
    _openmmlab("b256", "-256px_20220330-7c5a91ce", 81.11, Preprocessing(crop_pct=256 / 292, interpolation="bilinear")),
)
