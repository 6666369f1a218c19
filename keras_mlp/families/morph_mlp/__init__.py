"""MorphMLP: linear layers over chunks of neighbouring positions, which lengthen with depth, for images and videos.

The positions are strung together row by row, and once more column by column, and are cut into chunks. A linear layer
mixes each chunk with a group of the channels. The first chunks are short and see details. In the last stage a chunk may
hold the whole image. In a video, a linear layer over the frames of each place comes before that. A third branch is over
the channels, and split attention joins the three.

The authors published the code of the video models alone. The image models are the same without the layers over frames,
with the paper's depths and widths.
"""

from keras import initializers, layers

from keras_mlp.cards import Paper, Preprocessing, Score, VideoPreprocessing, Weights, imagenet, video_recipe
from keras_mlp.families.morph_mlp.chunk_dense import ChunkDense
from keras_mlp.family import Family
from keras_mlp.layers import (
    Activation,
    Dense,
    SplitAttention,
    activations,
    batch_norm,
    channel_mlp,
    drop_path_rates,
    layer_norm,
    padded_conv,
    residual,
)
from keras_mlp.layers.sizes import refuse

__all__ = [
    "MorphMLP",
    "MorphMLPVideo",
    "MorphMLPT",
    "MorphMLPS",
    "MorphMLPB",
    "MorphMLPL",
    "MorphMLPVideoS16",
    "MorphMLPVideoS32",
    "MorphMLPVideoB16",
    "MorphMLPVideoB32",
]

_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default, which the convolutions keep

family = Family(
    "morph_mlp",
    title="MorphMLP",
    paper=Paper(
        "MorphMLP: An Efficient MLP-Like Backbone for Spatial-Temporal Representation Learning",
        "Zhang et al.",
        2021,
        "https://arxiv.org/abs/2111.12527",
    ),
    preprocessing=Preprocessing(),
    per_stage=("dims", "depths", "chunks", "mlp_ratios", "transitions"),
)

_GREY = dict(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225), interpolation="bilinear")
_KINETICS = VideoPreprocessing(**_GREY, stride=4, clips=4)
# The authors' loader decodes these frames with OpenCV, blue first, and nothing turns them round.
_SOMETHING = VideoPreprocessing(**_GREY, crop_pct=1.0, bgr=True, crops=3)

video = Family(
    "morph_mlp_video",
    title="MorphMLP for videos",
    paper=family.paper,
    default_shape=(16, 224, 224, 3),
    classes=400,
    best="k400",
    preprocessing=_KINETICS,
    recipe=video_recipe(
        source="MTLab/MorphMLP, configs/K400/K400_MLP_S16x4.yaml, from the image model's weights (stochastic depth: "
        "B 0.3; warm-up of B with 32 frames three times as long)",
        learning_rate=2e-4,
        batch_size=64,
        epochs=60,
        warmup_epochs=10,
        gradient_clip_norm=20.0,
        drop_path_rate=0.1,
    ),
    per_stage=family.per_stage,
)


def convolution(x, dim, name, frames=1):
    """3 x 3 convolution of stride 2 with zeros on all sides; in videos over `frames` frames, 3 of them with stride 2."""
    window, strides, zeros = (3, 3), (2, 2), (1, 1)
    if len(x.shape) == 5:
        window, strides, zeros = (frames, *window), ((frames + 1) // 2, *strides), (frames // 2, *zeros)
    return padded_conv(x, dim, window, strides, zeros, name, kernel_initializer=_UNIFORM.clone())


def stem(x, dim, activation):
    """A quarter of the height and width, and half of the frames."""
    for i, width in enumerate((dim // 2, dim), 1):
        x = convolution(x, width, f"stem_conv{i}", frames=3 if i == 1 else 1)
        x = batch_norm(f"stem_norm{i}")(x)
        if i == 1:
            x = Activation(activation, name="stem_act")(x)
    return x


def spatial_fc(x, chunk, last, use_bias, activation, name):
    """MorphFC_s: chunks along height and width, or in the last stage over the image, and channels."""
    linear = dict(use_bias=use_bias, kernel_initializer=_NORMAL)
    branches = [
        ChunkDense(along, chunk, **linear, name=f"{name}_{along}")(x)
        for along in (("image",) if last else ("height", "width"))
    ]
    branches.append(Dense(x.shape[-1], **linear, name=f"{name}_channels")(x))
    y = SplitAttention(activation, kernel_initializer=_NORMAL, name=f"{name}_reweight")(branches)
    return Dense(x.shape[-1], kernel_initializer=_NORMAL, name=f"{name}_proj")(y)


def temporal_fc(x, use_bias, name):
    """MorphFC_t, over the frames of each place. It begins as nothing; the projection of ones lets a gradient through."""
    y = ChunkDense("frames", use_bias=use_bias, kernel_initializer="zeros", name=f"{name}_frames")(x)
    return Dense(x.shape[-1], kernel_initializer="ones", name=f"{name}_proj")(y)


def morph_block(x, chunk, last, mlp_ratio, use_bias, activation, drop_path_rate, dropout_rate, name):
    """Frames, positions, channels. What the frames add is seen by the positions and does not stay in the trunk."""
    y = x
    if len(x.shape) == 5:
        y = layer_norm(f"{name}_temporal_norm")(x)
        y = layers.Add(name=f"{name}_temporal_add")([x, temporal_fc(y, use_bias, f"{name}_temporal")])
    y = layer_norm(f"{name}_norm1")(y)
    y = spatial_fc(y, chunk, last, use_bias, activation, f"{name}_spatial")
    x = residual(x, y, drop_path_rate, name, 1)
    y = layer_norm(f"{name}_norm2")(x)
    hidden = int(mlp_ratio * x.shape[-1])
    y = channel_mlp(y, hidden, activation, f"{name}_channel_mixing", dropout_rate, kernel_initializer=_NORMAL)
    return residual(x, y, drop_path_rate, name, 2)


def check_size(size, chunks, halvings):
    """Refuse a known height and width of which a stage's positions are no whole number of chunks.

    Args:
        size: `(height, width)` of the input in pixels.
        chunks: length of a chunk in each stage.
        halvings: how often each stage's sides were halved, odd ones rounded up.

    Raises:
        ValueError: names the sizes that work and are nearest.
    """

    def works(height, width):
        stages = zip(chunks, halvings, strict=True)
        return all(-(-height // 2**k) * -(-width // 2**k) % chunk == 0 for chunk, k in stages)

    if None in size or works(*size):
        return
    step = 2 ** halvings[-1]
    sides = [range(step, side + 8 * step, step) for side in size]
    found = [(height, width) for height in sides[0] for width in sides[1] if works(height, width)]
    near = sorted(found, key=lambda other: abs(other[0] - size[0]) + abs(other[1] - size[1]))[:2]
    refuse(f"The positions of each stage must be a multiple of its chunk, {tuple(chunks)}", f"the size {size}", near)


@family.token_mixing
def _mixing(x):
    """Chunks of four positions with a quarter of the channels: a matrix is C x C, of whatever length, and not L x L."""
    return spatial_fc(x, 4, False, True, "gelu", "mixing")


@family.builder
def MorphMLP(
    x,
    dims=(112, 224, 392, 784),
    depths=(3, 4, 9, 3),
    chunks=(14, 28, 28, 49),
    mlp_ratios=(3, 3, 3, 3),
    transitions=None,
    use_bias=True,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """MorphMLP of any size.

    The first stage has a quarter of the height and width, every further one half as much; of videos half of the frames
    are left.

    Args:
        dims: width of each stage.
        depths: number of blocks of each stage.
        chunks: positions of a chunk in each stage; must divide the number of the stage's positions and its width. The
            last stage's chunks are along the image.
        mlp_ratios: hidden width of the channel MLP, in multiples of the stage's width.
        transitions: for each stage, whether the height and width are halved after it even where the next one is as
            wide. Where the width changes they always are; the last is not used. By default after
            each.
        use_bias: whether the linear layers along height, width, image, frames and channels have a bias.
        activation: of the stem, the MLPs and split attention; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    activation = activation or "gelu"
    halved = [dims[i] != dims[i + 1] or transitions is None or transitions[i] for i in range(len(dims) - 1)]
    check_size(tuple(x.shape[-3:-1]), chunks, [2 + sum(halved[:i]) for i in range(len(dims))])
    x = stem(x, dims[0], activations.get(activation))
    ramp = drop_path_rates(drop_path_rate, depths)
    for stage, (dim, rates, chunk, ratio) in enumerate(zip(dims, ramp, chunks, mlp_ratios, strict=True), 1):
        if stage > 1 and halved[stage - 2]:
            x = convolution(x, dim, f"down_{stage}")
            x = layer_norm(f"down_{stage}_norm")(x)
        for i, rate in enumerate(rates):
            x = morph_block(
                x,
                chunk,
                stage == len(dims),
                ratio,
                use_bias,
                activation,
                rate,
                dropout_rate,
                name=f"stages_{stage}_{i}",
            )
    return layer_norm("norm")(x)


MorphMLPVideo = video.builder(family.trunk, "MorphMLPVideo")

# Widths and depths of S and B are those of the authors' video models, those of T and L from a community's copy of the
# paper's table (liuruiyang98/Jittor-MLP), as is the stochastic depth.
_NOTE = "The authors published neither code nor weights of the image models."

MorphMLPT = family.variant(
    "MorphMLPT", "morph_mlp_t", title="MorphMLP-T", dims=(84, 168, 336, 588), depths=(3, 4, 7, 3), drop_path_rate=0.1,
    parameters=23_393_908, macs=3_957_651_012, note=_NOTE,
)  # fmt: skip
MorphMLPS = family.variant(
    "MorphMLPS", "morph_mlp_s", title="MorphMLP-S", dims=(112, 224, 392, 784), depths=(3, 4, 9, 3), drop_path_rate=0.1,
    parameters=40_548_122, macs=6_944_703_360, note=_NOTE,
)  # fmt: skip
MorphMLPB = family.variant(
    "MorphMLPB", "morph_mlp_b", title="MorphMLP-B", dims=(112, 224, 392, 784), depths=(4, 6, 15, 4), drop_path_rate=0.3,
    parameters=57_979_494, macs=10_204_490_688, note=_NOTE,
)  # fmt: skip
MorphMLPL = family.variant(
    "MorphMLPL", "morph_mlp_l", title="MorphMLP-L", dims=(112, 224, 392, 784), depths=(4, 8, 18, 6), drop_path_rate=0.4,
    parameters=76_185_612, macs=12_438_404_608, note=_NOTE, scores=imagenet(83.4, "result listings, at second hand"),
)  # fmt: skip

# The authors' configurations; accuracy with 4 clips (Kinetics) or 3 crops (Something-Something).
_README = "the authors' README"
_S = dict(dims=(112, 224, 392, 784), depths=(3, 4, 9, 3), drop_path_rate=0.1)
_B = dict(dims=(112, 224, 392, 784), depths=(4, 6, 15, 4), drop_path_rate=0.3)


def _scores(kinetics, something_v1, something_v2):
    found = {"Kinetics-400": kinetics, "Something-Something V1": something_v1, "Something-Something V2": something_v2}
    return tuple(Score(percent, dataset=data, source=_README) for data, percent in found.items() if percent)


MorphMLPVideoS16 = video.variant(
    "MorphMLPVideoS16", "morph_mlp_video_s16", title="MorphMLP-S, 16 frames", **_S,
    parameters=47_039_154, macs=66_022_640_768, scores=_scores(78.7, 53.9, 67.1),
)  # fmt: skip
MorphMLPVideoS32 = video.variant(
    "MorphMLPVideoS32", "morph_mlp_video_s32", title="MorphMLP-S, 32 frames", input_shape=(32, 224, 224, 3), **_S,
    parameters=47_463_018, macs=132_661_536_896, scores=_scores(79.7, None, 68.3),
)  # fmt: skip
MorphMLPVideoB16 = video.variant(
    "MorphMLPVideoB16", "morph_mlp_video_b16", title="MorphMLP-B, 16 frames", **_B,
    parameters=67_784_382, macs=97_351_923_648, scores=_scores(79.5, 55.1, 67.6),
)  # fmt: skip
MorphMLPVideoB32 = video.variant(
    "MorphMLPVideoB32", "morph_mlp_video_b32", title="MorphMLP-B, 32 frames", input_shape=(32, 224, 224, 3), **_B,
    parameters=68_490_822, macs=195_731_655_616, scores=_scores(80.8, 57.4, 70.1),
)  # fmt: skip


_NAMES = (
    ("patch_embed1.proj{}", "stem_conv{}"),
    ("patch_embed1.norm{}", "stem_norm{}"),
    ("patch_embed{}.proj", "down_{}"),
    ("patch_embed{}.norm", "down_{}_norm"),
    ("blocks{}.{}.t_norm1", "stages_{}_{}_temporal_norm"),
    ("blocks{}.{}.t_fc.mlp_t", "stages_{}_{}_temporal_frames/fc"),
    ("blocks{}.{}.t_fc.proj", "stages_{}_{}_temporal_proj"),
    ("blocks{}.{}.norm{}", "stages_{}_{}_norm{}"),
    ("blocks4.{}.fc.mlp_h", "stages_4_{}_spatial_image/fc"),
    ("blocks{}.{}.fc.mlp_h", "stages_{}_{}_spatial_height/fc"),
    ("blocks{}.{}.fc.mlp_w", "stages_{}_{}_spatial_width/fc"),
    ("blocks{}.{}.fc.mlp_c", "stages_{}_{}_spatial_channels"),
    ("blocks{}.{}.fc.reweight.fc{}", "stages_{}_{}_spatial_reweight/fc{}"),
    ("blocks{}.{}.fc.proj", "stages_{}_{}_spatial_proj"),
    ("blocks{}.{}.mlp.fc{}", "stages_{}_{}_channel_mixing_fc{}"),
    ("norm", "norm"),
    ("head", "head"),
)

family.layout("morph_mlp", convention="torch", names=_NAMES)
video.layout("slowfast", convention="torch", names=_NAMES)


def _drive(model, tag, file, data, classes, top1, preprocessing, note=""):
    """One of the authors' files, which their README names; a page for people, not for programs."""
    return Weights(
        model, tag, f"https://drive.google.com/file/d/{file}/view", "pth", "slowfast", f"ImageNet-1k, then {data}", classes,
        "Apache-2.0 (repository); weights not stated separately", preprocessing=preprocessing,
        scores=(Score(top1, dataset=data, source=_README),), key="model_state", by_hand=True, note=note,
    )  # fmt: skip


def _kinetics(model, file, top1, note=""):
    return _drive(model, "k400", file, "Kinetics-400", 400, top1, _KINETICS, note)


def _something(model, file, top1):
    note = "The channels are reversed, which only the tag tells: a path in `weights=` is taken to be of Kinetics-400."
    return _drive(model, "ssv1", file, "Something-Something V1", 174, top1, _SOMETHING, note)


_ONE_FILE = "The README gives one link for 16 and for 32 frames; the file loads into the one that it was made for."

video.publish(
    _kinetics("morph_mlp_video_s16", "12qhWov_iUi2EXHM85P7eaLC88r8Eigty", 78.7, _ONE_FILE),
    _kinetics("morph_mlp_video_s32", "12qhWov_iUi2EXHM85P7eaLC88r8Eigty", 79.7, _ONE_FILE),
    _kinetics("morph_mlp_video_b16", "1bmJcpcln9fVEj_o8fzFYHjup7dRGbJeD", 79.5),
    _kinetics("morph_mlp_video_b32", "17iu9L5lnQ0CucXV1vvlJZDAF2RfXqdYu", 80.8),
    _something("morph_mlp_video_b16", "1Cz4xQ4Uad9AiQbmTwDElml_Dxe1Nw2SN", 55.1),
    _something("morph_mlp_video_b32", "1yxwoR53L0qRU44MRx9gZM2D6YPU4_eZw", 57.4),
)
