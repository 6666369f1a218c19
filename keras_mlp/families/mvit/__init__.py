"""MViT: a transformer whose tokens become fewer and wider from stage to stage, for images and videos.

Attention pools its queries, keys and values by a depthwise convolution over their map. Pooled queries leave fewer
tokens, which begins a stage of half the height and width and twice the width. Pooled keys and values spare the first
stages, where there are many tokens, the most of the products.

The second version (MViTv2) adds two things to attention: vectors for the offsets of queries and keys along height,
width and frames, in place of absolute positions, and the pooled queries themselves. It widens the tokens in attention,
where the first version does in the MLP before. Its image models average the positions in the end. All others have a
class token, which is not pooled.
"""

from keras import initializers

from keras_mlp.cards import (
    Paper,
    Preprocessing,
    Recipe,
    Score,
    VideoPreprocessing,
    Weights,
    imagenet,
    timm_hub,
    video_recipe,
)
from keras_mlp.families.mvit.layers import EPSILON, INTERPOLATIONS, PooledTokens, PoolingAttention, window
from keras_mlp.families.mvit.names import PYTORCHVIDEO, SLOWFAST, as_slowfast
from keras_mlp.family import Family
from keras_mlp.heads import average_and_classify, classify
from keras_mlp.layers import (
    Dense,
    SequenceSplit,
    SequenceToMap,
    TokenSequence,
    channel_mlp,
    drop_path_rates,
    layer_norm,
    padded_conv,
    residual,
)

__all__ = [
    "MViT",
    "MViTVideo",
    "MViTB16",
    "MViTB16Separable",
    "MViTV2T",
    "MViTV2S",
    "MViTV2B",
    "MViTV2L",
    "MViTVideoB16x4",
    "MViTVideoB32x3",
    "MViTVideoB24x32x3",
    "MViTVideoV2S16x4",
    "MViTVideoV2B32x3",
]

_NORMAL = initializers.TruncatedNormal(stddev=0.02)
POSITIONS = ("relative", "joint", "separable")


def head(features, classes, activation, *, dropout_rate=0.0):
    """A dense layer on the class token, or without one on the average of the positions.

    Args:
        dropout_rate: dropout before the classifier.
    """
    if "class_token" in features:
        return classify(features["class_token"], classes, activation, dropout_rate)
    return average_and_classify(features, classes, activation, dropout_rate=dropout_rate)


family = Family(
    "mvit",
    title="MViT",
    paper=Paper(
        "MViTv2: Improved Multiscale Vision Transformers for Classification and Detection",
        "Li et al.",
        2021,
        "https://arxiv.org/abs/2112.01526",
    ),
    preprocessing=Preprocessing(),
    recipe=Recipe(
        source="facebookresearch/SlowFast, configs/ImageNet/MVIT_B_16_CONV.yaml, and facebookresearch/mvit, "
        "configs/MVITv2_T.yaml (stochastic depth: B 0.3, L 0.5)",
        learning_rate=2.5e-4,
        batch_size=256,
        epochs=300,
        warmup_epochs=70,
        final_learning_rate=1e-6,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(6, 9),
        random_erasing=0.25,
        gradient_clip_norm=1.0,
        drop_path_rate=0.1,
    ),
    per_stage=("dims", "depths", "heads", "strides"),
    head=head,
)

# SlowFast's head applies the softmax in evaluation, before the views are added up.
_TESTED = dict(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225), interpolation="bilinear", averaged="probabilities")
_KINETICS = {stride: VideoPreprocessing(**_TESTED, stride=stride, clips=5) for stride in (3, 4)}
_SOMETHING = VideoPreprocessing(**_TESTED, crop_pct=1.0, crops=3)

video = Family(
    "mvit_video",
    title="MViT for videos",
    paper=Paper("Multiscale Vision Transformers", "Fan et al.", 2021, "https://arxiv.org/abs/2104.11227"),
    default_shape=(16, 224, 224, 3),
    classes=400,
    best="k400",
    preprocessing=_KINETICS[4],
    recipe=video_recipe(
        source="facebookresearch/SlowFast, configs/Kinetics/MVIT_B_16x4_CONV.yaml and MVITv2_S_16x4.yaml, from random "
        "weights (stochastic depth with 32 frames 0.3)",
        learning_rate=1e-4,
        batch_size=16,
        epochs=200,
        warmup_epochs=30,
        gradient_clip_norm=1.0,
        drop_path_rate=0.2,
        dropout_rate=0.5,
    ),
    per_stage=family.per_stage,
    head=head,
)


def _norm(name):
    return layer_norm(name, EPSILON)


def stem(x, dim, patch_window, patch_stride):
    """Patches that reach into their neighbours, of videos over several frames."""
    zeros = tuple(side // 2 for side in patch_window)
    return padded_conv(x, dim, patch_window, patch_stride, zeros, "stem", kernel_initializer=_NORMAL.clone())


def mvit_block(x, like, dim, out_dim, in_attention, stride, stage, mlp_ratio, drop_path_rate, name, **attention):
    """Attention, then the channel MLP, each on the normalised input and added to it.

    Where queries are pooled, what goes by attention is, too. Where the width changes, what goes by is projected from
    the normalised input.

    Args:
        x, like: tokens, and a map of their positions.
        dim, out_dim: width of attention, and of the result.
        in_attention: whether the tokens get the width of attention there, and not in the MLP of the block before.
        stride: of the queries' pooling.
        stage: number of the block's stage.
        **attention: further arguments of `PoolingAttention`.

    Returns:
        The same for the pooled positions.
    """
    project = dict(kernel_initializer=_NORMAL, name=f"{name}_proj")
    y = _norm(f"{name}_norm1")(x)
    if in_attention and dim != x.shape[-1]:
        x = Dense(dim, **project)(y)
    y = PoolingAttention(dim, query_stride=stride, name=f"{name}_attention", **attention)([y, like])
    if stride > 1:
        x, like = PooledTokens(stride, name=f"down_{stage}")([like, x])
    x = residual(x, y, drop_path_rate, name, 1)
    y = _norm(f"{name}_norm2")(x)
    if out_dim != dim:
        x = Dense(out_dim, **project)(y)
    mlp = dict(dim=out_dim, kernel_initializer=_NORMAL)
    y = channel_mlp(y, int(mlp_ratio * dim), "gelu", f"{name}_channel_mixing", **mlp)
    return residual(x, y, drop_path_rate, name, 2), like


@family.builder
def MViT(
    x,
    dims=(96, 192, 384, 768),
    depths=(1, 2, 11, 2),
    heads=(1, 2, 4, 8),
    strides=(1, 2, 2, 2),
    key_stride=None,
    kernel=3,
    positions="relative",
    class_token=None,
    all_queries=True,
    residual_pooling=True,
    widen_in_attention=True,
    mlp_ratio=4,
    qkv_bias=True,
    patch_window=None,
    patch_stride=None,
    *,
    drop_path_rate=0.0,
):
    """MViT of any size. The defaults are those of MViTv2-S, for videos with 16 frames.

    Args:
        dims: width of each stage.
        depths: number of blocks of each stage.
        heads: number of attention heads in each stage.
        strides: of the queries' pooling in the first block of each stage, along height and width. The number of frames
            stays.
        key_stride: of the pooling of keys and values in the first stage, along height and width; the strides of the
            queries divide it. By default 4, of videos 8.
        kernel: side of the windows of pooling, in videos along the frames, too. `None` for windows of one position
            more than their stride, and of one frame. Odd, so that windows have a middle.
        positions: "relative" for vectors of the offsets in each attention, "joint" for an embedding of each position in
            the beginning, or "separable" for one of each place in a frame and one of each frame.
        class_token: whether a class token is in front, which the head reads. Without one the head reads the average of
            the positions. By default only videos have one.
        all_queries: whether the queries of all blocks are pooled, with a stride of 1 within a stage. Else only those of
            the first block of a stage with a stride are.
        residual_pooling: whether the pooled queries are added to what attention gives.
        widen_in_attention: whether the width grows in the attention of a stage's first block. Else it grows in the MLP
            of the block before.
        mlp_ratio: hidden width of the MLPs, in multiples of the width of attention.
        qkv_bias: whether the linear layers of queries, keys and values have a bias.
        patch_window: side of the patches in pixels, or one for each axis. By default 7, of videos (3, 7, 7).
        patch_stride: distance of the patches, the same. By default 4, of videos (2, 4, 4).
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
    """
    if positions not in POSITIONS:
        raise ValueError(f"`positions` must be one of {POSITIONS}. Received: positions={positions!r}")
    if kernel is not None and kernel % 2 == 0:
        raise ValueError(f"`kernel` must be odd, or None. Received: kernel={kernel!r}")
    axes = len(x.shape) - 2
    if axes == 3:
        patch_window, patch_stride = patch_window or (3, 7, 7), patch_stride or (2, 4, 4)
        class_token = True if class_token is None else class_token
    patch_window, patch_stride = (
        (side,) * axes if isinstance(side, int) else tuple(side) for side in (patch_window or 7, patch_stride or 4)
    )
    key_stride = key_stride or (8 if axes == 3 else 4)
    like = stem(x, dims[0], patch_window, patch_stride)
    absolute = None if positions == "relative" else positions
    x = TokenSequence(("class_token",) * bool(class_token), INTERPOLATIONS[absolute], absolute, name="position")(like)
    attention = dict(relative=positions == "relative", residual=residual_pooling, qkv_bias=qkv_bias)
    rates, block = drop_path_rates(drop_path_rate, depths), 0
    for stage, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
        following = dims[stage] if widen_in_attention else (*dims, dim)[stage + 1]
        for i in range(depth):
            stride = strides[stage] if i == 0 else 1
            if stride > 1:
                key_stride = max(key_stride // stride, 1)
                like = SequenceToMap(name=f"blocks_{block - 1}_map" if block else "stem_map")([x, like])
            x, like = mvit_block(
                x,
                like,
                dim,
                following if i == depth - 1 else dim,
                widen_in_attention,
                stride,
                stage + 1,
                mlp_ratio,
                rates[stage][i],
                f"blocks_{block}",
                heads=heads[stage],
                query_window=window(axes, kernel, stride) if all_queries or stride > 1 else None,
                key_window=window(axes, kernel, key_stride),
                key_stride=key_stride,
                **attention,
            )
            block += 1
    like = SequenceToMap(name=f"blocks_{block - 1}_map")([x, like])  # what detectors read, before the norm
    x, last = _norm("norm")(x), dict(name=f"level_{len(dims)}_map")
    if not class_token:
        return {"map": SequenceToMap(**last)([x, like])}
    return dict(zip(("map", "class_token"), SequenceSplit(**last)([x, like]), strict=True))


MViTVideo = video.builder(family.trunk, "MViTVideo")

_V1 = dict(positions="joint", class_token=True, all_queries=False, residual_pooling=False, widen_in_attention=False)
_V1_SEPARABLE = _V1 | dict(positions="separable")
_README = "facebookresearch/mvit, README"
_ZOO = "facebookresearch/SlowFast, MODEL_ZOO.md"
_TORCH = "facebookresearch/pytorchvideo, model_zoo.md"
_HUB = "facebookresearch/pytorchvideo, hub/vision_transformers.py"

MViTB16 = family.variant(
    "MViTB16", "mvit_b16", title="MViT-B-16", **_V1, drop_path_rate=0.1,
    parameters=36_982_600, macs=7_809_333_696, scores=imagenet(82.9, _ZOO),
)  # fmt: skip
MViTB16Separable = family.variant(
    "MViTB16Separable", "mvit_b16_separable", title="MViT-B-16 of PyTorchVideo", **_V1_SEPARABLE, drop_path_rate=0.1,
    parameters=36_982_696, macs=7_809_333_696,
    scores=imagenet(83.0, _HUB),
)  # fmt: skip
MViTV2T = family.variant(
    "MViTV2T", "mvit_v2_t", title="MViTv2-T", depths=(1, 2, 5, 2), drop_path_rate=0.1,
    parameters=24_173_320, macs=4_676_957_952, scores=imagenet(82.3, _README),
)  # fmt: skip
MViTV2S = family.variant(
    "MViTV2S", "mvit_v2_s", title="MViTv2-S", depths=(1, 2, 11, 2), drop_path_rate=0.1,
    parameters=34_870_216, macs=6_959_715_072, scores=imagenet(83.6, _README),
)  # fmt: skip
MViTV2B = family.variant(
    "MViTV2B", "mvit_v2_b", title="MViTv2-B", depths=(2, 3, 16, 3), drop_path_rate=0.3,
    parameters=51_472_744, macs=10_102_438_656, scores=imagenet(84.4, _README),
)  # fmt: skip
MViTV2L = family.variant(
    "MViTV2L", "mvit_v2_l", title="MViTv2-L", dims=(144, 288, 576, 1152), depths=(2, 6, 36, 4), heads=(2, 4, 8, 16),
    widen_in_attention=False, drop_path_rate=0.5,
    parameters=217_992_952, macs=43_711_209_216, scores=imagenet(85.3, _README),
    note="The published file's form, which widens in the MLP, needs 43.7 G multiply-adds; the README says 42.1 G.",
)  # fmt: skip


def _kinetics(percent, source):
    return (Score(percent, dataset="Kinetics-400", source=source),)


_V2_README = "facebookresearch/SlowFast, projects/mvitv2/README.md"
_FRAMES32 = dict(input_shape=(32, 224, 224, 3), drop_path_rate=0.3)

MViTVideoB16x4 = video.variant(
    "MViTVideoB16x4", "mvit_video_b16x4", title="MViT-B, 16x4", **_V1_SEPARABLE, drop_path_rate=0.2,
    parameters=36_610_672, macs=70_599_407_808, scores=_kinetics(78.4, _ZOO) + _kinetics(78.85, _TORCH),
)  # fmt: skip
MViTVideoB32x3 = video.variant(
    "MViTVideoB32x3", "mvit_video_b32x3", title="MViT-B, 32x3", **_V1_SEPARABLE, **_FRAMES32,
    parameters=36_611_440, macs=169_958_123_712, scores=_kinetics(80.3, _TORCH),
)  # fmt: skip
MViTVideoB24x32x3 = video.variant(
    "MViTVideoB24x32x3", "mvit_video_b24_32x3", title="MViT-B-24, 32x3", depths=(2, 3, 16, 3), kernel=None,
    **_V1_SEPARABLE, **_FRAMES32, parameters=53_115_280, macs=235_775_815_680, scores=_kinetics(80.4, _ZOO),
    note="SlowFast's configuration MVIT_B_32x3_CONV.yaml, which gives the depth twice: YAML keeps the second, 24.",
)  # fmt: skip
MViTVideoV2S16x4 = video.variant(
    "MViTVideoV2S16x4", "mvit_video_v2_s16x4", title="MViTv2-S, 16x4", depths=(1, 2, 11, 2), drop_path_rate=0.2,
    parameters=34_537_744, macs=64_223_815_872, scores=_kinetics(81.0, _V2_README),
)  # fmt: skip
MViTVideoV2B32x3 = video.variant(
    "MViTVideoV2B32x3", "mvit_video_v2_b32x3", title="MViTv2-B, 32x3", depths=(2, 3, 16, 3), **_FRAMES32,
    parameters=51_230_128, macs=224_472_840_192, scores=_kinetics(82.9, _V2_README),
)  # fmt: skip

family.layout("slowfast", convention="torch", names=SLOWFAST)
family.layout("pytorchvideo", convention="torch", names=PYTORCHVIDEO)
family.layout("timm", convention="torch", names=SLOWFAST, rename=as_slowfast)
video.layout("slowfast", convention="torch", names=SLOWFAST)
video.layout("pytorchvideo", convention="torch", names=PYTORCHVIDEO)

_LICENCE = "Apache-2.0 (repository); weights not stated separately"
_PUBLIC, _DRIVE = "https://dl.fbaipublicfiles.com", "https://drive.google.com/file/d"
_FINE = f"{_PUBLIC}/pyslowfast/model_zoo/mvitv2/pysf_video_models"
_SQUEEZED = "Its kernels may have an axis for one frame, which is left out."
_MIDDLES = "The authors round the middle of each part of the video otherwise, by one frame at most."
_DEPTH = (
    "The zoo names the configuration MVIT_B_32x3_CONV, which builds 24 blocks; whether the file holds 24 or 16 was not "
    "checked."
)


def _image(model, url, top1, source, layout="slowfast", **more):
    return Weights(
        model, "imagenet1k", url, "pth", layout, "ImageNet-1k", 1000, _LICENCE, scores=imagenet(top1, source),
        key="model_state", **more,
    )  # fmt: skip


def _video(model, tag, url, data, top1, source, preprocessing, classes=400, layout="slowfast", **more):
    """A file of the authors; its accuracy is that on the data it was trained on last."""
    scores = (Score(top1, dataset=data.split(", then ")[-1], source=source),)
    return Weights(
        model, tag, url, "pth", layout, data, classes, _LICENCE, preprocessing=preprocessing, scores=scores,
        key="model_state", **more,
    )  # fmt: skip


def _v2(model, tag, file, data, top1, preprocessing, classes=400, **more):
    return _video(model, tag, f"{_FINE}/MViTv2_{file}.pyth", data, top1, _V2_README, preprocessing, classes, **more)


_400, _600, _SSV2 = "Kinetics-400", "Kinetics-600", "Kinetics-400, then Something-Something V2"

family.publish(
    _image("mvit_b16", f"{_DRIVE}/1dYYqUB-3DSgBVc9d6o-rW8ojtVsrFLgp/view", 82.9, _ZOO, by_hand=True),
    _image("mvit_b16_separable", f"{_PUBLIC}/pytorchvideo/model_zoo/imagenet/MVIT_B_16_f292487636.pyth", 83.0, _HUB, "pytorchvideo"),
    *(
        _image(f"mvit_v2_{size.lower()}", f"{_PUBLIC}/mvit/mvitv2_models/MViTv2_{size}_in1k.pyth", top1, _README, note=_SQUEEZED)
        for size, top1 in (("T", 82.3), ("S", 83.6), ("B", 84.4), ("L", 85.3))
    ),
    *(
        timm_hub(f"mvit_v2_{size[0]}", "imagenet_timm_hf", f"mvitv2_{size}.fb_in1k", "ImageNet-1k", top1, preprocessing=Preprocessing(crop_pct=0.9))
        for size, top1 in (("tiny", 82.408), ("small", 83.772), ("base", 84.424), ("large", 85.264))
    ),
)  # fmt: skip
video.publish(
    _video("mvit_video_b16x4", "k400_slowfast", f"{_DRIVE}/194gJinVejq6A1FmySNKQ8vAN5-FOY-QL/view", _400, 78.4, _ZOO, _KINETICS[4], by_hand=True),
    _video("mvit_video_b16x4", "k400", f"{_PUBLIC}/pytorchvideo/model_zoo/kinetics/MVIT_B_16x4.pyth", _400, 78.85, _TORCH, _KINETICS[4], layout="pytorchvideo"),
    _video("mvit_video_b32x3", "k400", f"{_PUBLIC}/pytorchvideo/model_zoo/kinetics/MVIT_B_32x3_f294077834.pyth", _400, 80.3, _TORCH, _KINETICS[3], layout="pytorchvideo"),
    _video("mvit_video_b24_32x3", "k400", f"{_PUBLIC}/pyslowfast/model_zoo/mvit/k400.pyth", _400, 80.4, _ZOO, _KINETICS[3], note=_DEPTH),
    _video("mvit_video_b24_32x3", "k600", f"{_PUBLIC}/pyslowfast/model_zoo/mvit/k600.pyth", _600, 83.9, _ZOO, _KINETICS[3], 600, note=_DEPTH),
    _v2("mvit_video_v2_s16x4", "k400", "S_16x4_k400_f302660347", _400, 81.0, _KINETICS[4]),
    _v2("mvit_video_v2_s16x4", "ssv2", "S_16x4_ssv2_f308341823", _SSV2, 68.2, _SOMETHING, 174, note=_MIDDLES),
    _v2("mvit_video_v2_b32x3", "k400", "B_32x3_k400_f304025456", _400, 82.9, _KINETICS[3]),
    _v2("mvit_video_v2_b32x3", "ssv2", "B_32x3_ssv2_f305803282", _SSV2, 70.5, _SOMETHING, 174, note=_MIDDLES),
)  # fmt: skip
