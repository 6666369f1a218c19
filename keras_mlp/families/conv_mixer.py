"""ConvMixer: MLP-Mixer with convolutions, a depthwise one to mix positions and a pointwise one to mix channels.

The image is cut into patches, and the map keeps its size and width from the first block to the last. The activation
stands before the batch norm everywhere, and the pointwise half of a block has no residual connection. Any image size
works.
"""

from keras import initializers, layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.layers import Activation, Dense, DepthwiseConv2D, batch_norm, drop_path_rates, residual
from keras_mlp.layers.activations import get

__all__ = ["ConvMixer", "ConvMixer1536D20", "ConvMixer768D32", "ConvMixer1024D20"]

_IMAGENET = Preprocessing(crop_pct=0.96, interpolation="bicubic")
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default, which the authors keep


def _depthwise_uniform(size):
    """The same for a depthwise kernel, of which Keras would count all channels as inputs."""
    return initializers.RandomUniform(-1 / size, 1 / size)


family = Family(
    "conv_mixer",
    title="ConvMixer",
    paper=Paper("Patches Are All You Need?", "Trockman and Kolter", 2022, "https://arxiv.org/abs/2201.09792"),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="locuslab/convmixer, the README's command and its training script's defaults: ConvMixer-1536/20. 768/32 "
        "takes 300 epochs. Its one-cycle schedule (up to 2/5 of the epochs, down to a twentieth at 4/5, then to zero) is "
        "inferred here as a linear one of the same warm-up; the epsilon of AdamW, 1e-3, is not in a recipe",
        learning_rate=0.01,
        batch_size=640,
        epochs=150,
        warmup_epochs=60,
        schedule="linear",
        final_learning_rate=0.0,
        weight_decay=2e-5,
        label_smoothing=0.1,
        mixup=0.5,
        cutmix=0.5,
        rand_augment=(2, 9),
        random_erasing=0.25,
        gradient_clip_norm=1.0,
    ),
)


def conv_mixer_block(x, kernel_size, activation, drop_path_rate, dropout_rate, name):
    """A block: positions mixed on a residual branch, then channels mixed without one; norms after activations."""
    y = DepthwiseConv2D(
        kernel_size,
        padding="same",
        depthwise_initializer=_depthwise_uniform(kernel_size),
        name=f"{name}_token_mixing",
    )(x)
    y = batch_norm(f"{name}_norm1")(Activation(activation, name=f"{name}_act")(y))
    x = residual(x, y, drop_path_rate, name)
    y = Dense(x.shape[-1], activation=activation, kernel_initializer=_UNIFORM, name=f"{name}_channel_mixing")(x)
    if dropout_rate:
        y = layers.Dropout(dropout_rate, name=f"{name}_drop")(y)
    return batch_norm(f"{name}_norm2")(y)


@family.token_mixing
def _mixing(x):
    """The convolution of 9 x 9 positions."""
    return DepthwiseConv2D(9, padding="same")(x)


@family.builder
def ConvMixer(
    x,
    patch_size=7,
    dim=1536,
    depth=20,
    kernel_size=9,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """ConvMixer of any size, for images of any size.

    A block computes, with the depthwise convolution `D` and zeros around the map,

        y = x + norm(activation(D x)),    z = norm(activation(W y + b)),    W: (C, C).

    Args:
        patch_size: side of a patch in pixels; rows and columns that are left over at the end are dropped.
        dim: width of the tokens.
        depth: number of blocks.
        kernel_size: side of the depthwise convolution in positions. If it is even, the odd zero is at the map's end.
        activation: of the patch embedding and both convolutions of a block: by default that of the published
            checkpoint, "relu" for ConvMixer-768/32 and "gelu" (exact) for all others.
        drop_path_rate: stochastic depth of the last block's depthwise branch; it rises linearly from 0 at the first. The
            reference has none.
        dropout_rate: dropout after the activation of channel mixing; the reference has none.
    """
    activation = get(activation or "gelu")
    x = layers.Conv2D(dim, patch_size, patch_size, kernel_initializer=_UNIFORM.clone(), name="stem")(x)
    x = batch_norm("stem_norm")(Activation(activation, name="stem_act")(x))
    (rates,) = drop_path_rates(drop_path_rate, [depth])
    for i, rate in enumerate(rates):
        x = conv_mixer_block(x, kernel_size, activation, rate, dropout_rate, f"blocks_{i}")
    return x


_SOURCE = "the README of locuslab/convmixer"

ConvMixer1536D20 = family.variant(
    "ConvMixer1536D20", "conv_mixer_1536_20", title="ConvMixer-1536/20", dim=1536, depth=20, kernel_size=9,
    patch_size=7, parameters=51_625_960, macs=51_099_168_768, scores=imagenet(81.37, _SOURCE),
)  # fmt: skip
ConvMixer768D32 = family.variant(
    "ConvMixer768D32", "conv_mixer_768_32", title="ConvMixer-768/32", dim=768, depth=32, kernel_size=7, patch_size=7,
    activation="relu", parameters=21_110_248, macs=20_676_851_712, scores=imagenet(80.16, _SOURCE),
)  # fmt: skip
ConvMixer1024D20 = family.variant(
    "ConvMixer1024D20", "conv_mixer_1024_20", title="ConvMixer-1024/20", dim=1024, depth=20, kernel_size=9,
    patch_size=14, parameters=24_383_464, macs=5_948_547_072, scores=imagenet(76.94, _SOURCE),
)  # fmt: skip


_MOST = 64  # blocks of a checkpoint whose names are known

_BLOCK = (("0.fn.0", "token_mixing"), ("0.fn.2", "norm1"), ("1", "channel_mixing"), ("3", "norm2"))

family.layout(
    "authors",
    convention="torch",
    names=(
        # The network is one sequence. Its layers 0 to 2 are the stem, 3 is the first block, the last one is the head.
        ("0", "stem"),
        ("2", "stem_norm"),
        *((f"{3 + b}.{theirs}", f"blocks_{b}_{ours}") for b in range(_MOST) for theirs, ours in _BLOCK),
        ("{}", "head"),
    ),
)
family.layout(
    "timm",
    convention="torch",
    names=(
        ("stem.0", "stem"),
        ("stem.2", "stem_norm"),
        *((f"blocks.{{}}.{theirs}", f"blocks_{{}}_{ours}") for theirs, ours in _BLOCK),
        ("head", "head"),
    ),
)

_RELEASE = "https://github.com/tmp-iclr/convmixer/releases/download/{}/convmixer_{}.pth.tar"
_HUB = "https://huggingface.co/timm/convmixer_{}.in1k/resolve/main/model.safetensors"


def _weights(model, tag, url, layout, licence="MIT", publisher="authors", scores=(), note=""):
    return Weights(
        model, tag, url, "safetensors" if publisher == "timm" else "pth", layout, "ImageNet-1k", 1000, licence,
        publisher, _IMAGENET, scores=scores, note=note,
    )  # fmt: skip


def _files(model, file, hub, top1, top1_timm):
    """The authors' file, the same weights in their second release, and timm's copy."""
    source, timm = imagenet(top1, _SOURCE), imagenet(top1_timm, "timm")
    note = "That they are the weights of the first release, under timm's names, is inferred."
    yield _weights(model, "imagenet1k", _RELEASE.format("v1.0", file), "authors", scores=source)
    yield _weights(model, "imagenet1k_renamed", _RELEASE.format("timm-v1.0", file), "timm", note=note)
    yield _weights(model, "imagenet1k_timm", _HUB.format(hub), "timm", "Apache-2.0", "timm", timm)


family.publish(
    *(
        weights
        for model, file, hub, top1, top1_timm in (
            ("conv_mixer_1536_20", "1536_20_ks9_p7", "1536_20", 81.37, 81.382),
            ("conv_mixer_768_32", "768_32_ks7_p7_relu", "768_32", 80.16, 80.158),
            ("conv_mixer_1024_20", "1024_20_ks9_p14", "1024_20_ks9_p14", 76.94, 76.944),
        )
        for weights in _files(model, file, hub, top1, top1_timm)
    )
)
