"""Wave-MLP: a token is a wave, with an amplitude and a phase, and neighbouring waves add up or cancel out.

The real and imaginary parts of seven neighbouring waves are summed with learned weights, along the width and, side by
side with it, along the height. Both and a plain linear layer are joined by split attention, as in Vision Permutator. The
cost is linear in the number of positions, and any image size works.
"""

import functools

import numpy as np
from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.layers import (
    Dense,
    SplitAttention,
    batch_norm,
    image_norm,
    mixing_block,
    norm_named,
    overlapping_patches,
    padded_conv,
    short_sum,
    showing,
    stages,
)
from keras_mlp.layers.configs import registered
from keras_mlp.layers.sizes import check_side

__all__ = ["WaveMLP", "WaveMLPTDW", "WaveMLPT", "WaveMLPS", "WaveMLPM", "WaveMLPB"]

_IMAGENET = Preprocessing(crop_pct=0.9, interpolation="bicubic")
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default, which the authors keep
_NORMS = {"batch": batch_norm, "image": image_norm}

family = Family(
    "wave_mlp",
    title="Wave-MLP",
    paper=Paper(
        "An Image Patch is a Wave: Phase-Aware Vision MLP", "Tang et al.", 2021, "https://arxiv.org/abs/2111.12294"
    ),
    level_norm="last",
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="huawei-noah/Efficient-AI-Backbones, wavemlp_pytorch, the README's commands",
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


@registered
class WaveAggregation(layers.Layer):
    """Neighbouring waves along an axis, real and imaginary parts summed with learned weights.

        u = [amplitude * cos(phase), amplitude * sin(phase)]
        y_o[i] = sum over k of K_(2 o)[k] u_(2 o)[i + k] + K_(2 o + 1)[k] u_(2 o + 1)[i + k],   zeros outside

    As in the authors' code, the first half of the output sees the real parts of two neighbouring channels and the second
    half the imaginary ones; in the paper (equation 8) every channel sees both its own.

    Source: Tang et al. 2021, equations 4 to 9.

    Args:
        side: "height" or "width".
        size: number of positions that are summed.

    Input shape: amplitude and phase, `(batch, height, width, channels)` each.
    Output shape: that of one of them.

    Raises:
        ValueError: `side` is neither.
    """

    def __init__(self, side, size=7, **kwargs):
        check_side(side)
        super().__init__(**kwargs)
        self.side, self.size = side, size

    def build(self, input_shape):
        channels = input_shape[0][-1]
        window = (self.size, 1) if self.side == "height" else (1, self.size)
        limit = (2 * self.size) ** -0.5
        self.kernel = self.add_weight(
            name="kernel", shape=(*window, 2 * channels, 1), initializer=initializers.RandomUniform(-limit, limit)
        )
        super().build(input_shape)

    def call(self, waves):
        amplitude, phase = waves
        parts = ops.concatenate([amplitude * ops.cos(phase), amplitude * ops.sin(phase)], axis=-1)
        sums = ops.depthwise_conv(parts, self.kernel, padding="same", data_format="channels_last")
        return short_sum(ops.reshape(sums, (*ops.shape(amplitude), 2)))

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@showing.made.answer(WaveAggregation)
def _phases(layer, waves):
    _, phase = waves
    return showing.Pictures("the phase of a channel", np.moveaxis(showing.array(phase)[0], -1, 0))


def phase_aware_mixing(x, phase_conv, use_bias, activation, name):
    """Section 3.2: waves summed along the width and the height and a plain linear layer, joined and projected."""
    dim, linear = x.shape[-1], dict(kernel_initializer=_UNIFORM)
    branches = []
    for side in ("width", "height"):
        if phase_conv:
            window = initializers.RandomUniform(-1 / 3, 1 / 3)
            phase = layers.DepthwiseConv2D(
                3, padding="same", use_bias=False, depthwise_initializer=window, name=f"{name}_{side}_phase"
            )(x)
        else:
            phase = Dense(dim, **linear, name=f"{name}_{side}_phase")(x)
        phase = layers.ReLU(name=f"{name}_{side}_phase_act")(batch_norm(f"{name}_{side}_phase_norm")(phase))
        amplitude = Dense(dim, use_bias=use_bias, **linear, name=f"{name}_{side}_amplitude")(x)
        branches.append(WaveAggregation(side, name=f"{name}_{side}")([amplitude, phase]))
    branches.append(Dense(dim, use_bias=use_bias, **linear, name=f"{name}_channels")(x))
    y = SplitAttention(activation, **linear, name=f"{name}_reweight")(branches)
    return Dense(dim, **linear, name=f"{name}_proj")(y)


@family.token_mixing
def _mixing(x):
    """Windows of seven positions with weights for each channel. The survey has L² weights for a window of L positions."""
    return phase_aware_mixing(x, False, False, "gelu", "mixing")


@family.builder
def WaveMLP(
    x,
    patch_size=4,
    dims=(64, 128, 320, 512),
    depths=(2, 2, 4, 2),
    transitions=None,
    mlp_ratios=(4, 4, 4, 4),
    norm="batch",
    embedding_norm=True,
    phase_conv=False,
    use_bias=False,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """Wave-MLP of any size, for images of any size.

    Args:
        patch_size: distance of the patches in pixels; they are `2 * patch_size - 1` wide. Even.
        dims: width of each stage.
        depths: number of blocks of each stage.
        transitions: for each stage, whether the height and width are halved after it; by default after each.
        mlp_ratios: hidden width of the channel MLP, in multiples of the stage's width.
        norm: "batch" for batch norm, "image" for group norm with one group, or a function that makes a layer of its name.
            The phases' is always batch norm.
        embedding_norm: whether a norm follows the stem and each downsampling layer.
        phase_conv: make the phases by a depthwise convolution, not by a linear layer (Wave-MLP-T*).
        use_bias: whether the amplitudes' and the plain linear layer have a bias.
        activation: of the MLPs and split attention; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    norm, activation = norm_named(_NORMS, norm), activation or "gelu"
    blocks = []
    for dim, depth, ratio in zip(dims, depths, mlp_ratios, strict=True):
        mixing = functools.partial(phase_aware_mixing, phase_conv=phase_conv, use_bias=use_bias, activation=activation)
        block = functools.partial(
            mixing_block,
            token_mixing=mixing,
            channel_dim=int(ratio * dim),
            activation=activation,
            norm=norm,
            dropout_rate=dropout_rate,
            kernel_initializer=_UNIFORM,
        )
        blocks.append([block] * depth)

    def normalised(x, name):
        return norm(f"{name}_norm")(x) if embedding_norm else x

    def embed(x, dim, stride, name):
        return normalised(padded_conv(x, dim, 3, stride, 1, name, kernel_initializer=_UNIFORM.clone()), name)

    x = normalised(overlapping_patches(x, dims[0], patch_size, "stem", kernel_initializer=_UNIFORM), "stem")
    return norm("norm")(stages(x, blocks, dims, transitions or (True,) * len(dims), embed, drop_path_rate))


_SOURCE = "table 1 of the paper and the authors' README"  # of the settings, too

WaveMLPTDW = family.variant(
    "WaveMLPTDW", "wave_mlp_t_dw", title="Wave-MLP-T*", depths=(2, 2, 4, 2), phase_conv=True,
    parameters=15_286_472, macs=2_163_068_928, scores=imagenet(80.1, _SOURCE),
)  # fmt: skip
WaveMLPT = family.variant(
    "WaveMLPT", "wave_mlp_t", title="Wave-MLP-T", depths=(2, 2, 4, 2),
    parameters=17_193_160, macs=2_461_515_776, scores=imagenet(80.9, _SOURCE),
)  # fmt: skip
WaveMLPS = family.variant(
    "WaveMLPS", "wave_mlp_s", title="Wave-MLP-S", depths=(2, 3, 10, 3), norm="image",
    parameters=30_708_040, macs=4_522_033_152, scores=imagenet(82.9, _SOURCE),
)  # fmt: skip
WaveMLPM = family.variant(
    "WaveMLPM", "wave_mlp_m", title="Wave-MLP-M", depths=(3, 4, 18, 3), mlp_ratios=(8, 8, 4, 4), norm="image",
    embedding_norm=False, parameters=44_056_632, macs=7_872_221_184, scores=imagenet(83.3, _SOURCE),
)  # fmt: skip
WaveMLPB = family.variant(
    "WaveMLPB", "wave_mlp_b", title="Wave-MLP-B", dims=(96, 192, 384, 768), depths=(2, 2, 18, 2), norm="image",
    embedding_norm=False, parameters=63_586_360, macs=10_215_309_312, scores=imagenet(83.6, _SOURCE),
    note="The authors published no checkpoint of this size.",
)  # fmt: skip


def _aggregation(tensor):
    """`(channels, 2, height, width)`: one row of depthwise windows, output o's two next to each other."""
    channels, _, *window = tensor.shape
    return tensor.reshape(2 * channels, *window).transpose(1, 2, 0)[..., None]


# h and w in the published names say the opposite of what they do: h sums along the width, w along the height.
family.layout(
    "wave_mlp",
    convention="torch",
    names=(
        ("patch_embed.proj", "stem"),
        ("patch_embed.norm", "stem_norm"),
        ("network.{}.{}.norm{}", "stages_{}_{}_norm{}"),
        ("network.{}.{}.attn.fc_h", "stages_{}_{}_token_mixing_width_amplitude"),
        ("network.{}.{}.attn.fc_w", "stages_{}_{}_token_mixing_height_amplitude"),
        ("network.{}.{}.attn.theta_h_conv.0", "stages_{}_{}_token_mixing_width_phase"),
        ("network.{}.{}.attn.theta_w_conv.0", "stages_{}_{}_token_mixing_height_phase"),
        ("network.{}.{}.attn.theta_h_conv.1", "stages_{}_{}_token_mixing_width_phase_norm"),
        ("network.{}.{}.attn.theta_w_conv.1", "stages_{}_{}_token_mixing_height_phase_norm"),
        ("network.{}.{}.attn.tfc_h", "stages_{}_{}_token_mixing_width", _aggregation),
        ("network.{}.{}.attn.tfc_w", "stages_{}_{}_token_mixing_height", _aggregation),
        ("network.{}.{}.attn.fc_c", "stages_{}_{}_token_mixing_channels"),
        ("network.{}.{}.attn.reweight.fc{}", "stages_{}_{}_token_mixing_reweight/fc{}"),
        ("network.{}.{}.attn.proj", "stages_{}_{}_token_mixing_proj"),
        ("network.{}.{}.mlp.fc{}", "stages_{}_{}_channel_mixing_fc{}"),
        ("network.{}.proj", "down_{}"),
        ("network.{}.norm", "down_{}_norm"),
        ("norm", "norm"),
        *((f"norm{2 * level}", f"level_{level}_norm") for level in range(4)),  # backbones of detectors and segmentors
        ("head", "head"),
    ),
)

_RELEASE = "https://github.com/huawei-noah/CV-Backbones/releases/download/wavemlp/WaveMLP_"

family.publish(
    *(
        Weights(
            f"wave_mlp_{size.lower()}", "imagenet1k", f"{_RELEASE}{size}.pth.tar", "pth", "wave_mlp", "ImageNet-1k", 1000,
            "Apache-2.0", preprocessing=_IMAGENET, scores=imagenet(top1, _SOURCE),
        )
        for size, top1 in (("T_dw", 80.1), ("T", 80.9), ("S", 82.9), ("M", 83.3))
    )
)  # fmt: skip
