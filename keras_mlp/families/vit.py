"""ViT: an image as a sequence of patches, which a transformer's encoder reads as it reads the words of a sentence.

Each patch is projected to a token. A learned class token stands in front, and every place of the sequence has a learned
embedding. A block is self-attention over all tokens, then an MLP along the channels, each on the normalised input and
added to it. A dense layer reads the classes from the class token. The embeddings belong to one grid and are interpolated for another one.

The authors trained with the tanh form of GELU. PyTorch's copies of their weights, and the encoders of SETR, run with the
exact form. A model here has the form of the checkpoint that is loaded.
"""

import functools
from typing import Any, NamedTuple

from keras import initializers, layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.checkpoints.layouts import Part
from keras_mlp.family import Family
from keras_mlp.heads import average_and_classify, classify_token
from keras_mlp.layers import (
    LayerScale,
    PatchEmbedding,
    Rescaling,
    SelfAttention,
    SequenceSplit,
    SequenceToMap,
    TokenSequence,
    channel_mlp,
    drop_path_rates,
    layer_norm,
    residual,
)

__all__ = ["ViT", "ViTTi16", "ViTS32", "ViTS16", "ViTB32", "ViTB16", "ViTL32", "ViTL16"]

_HALVES = dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_INCEPTION = Preprocessing(**_HALVES, crop_pct=1.0, interpolation="bilinear", squash=True)
_TIMM = Preprocessing(**_HALVES, crop_pct=0.9, interpolation="bicubic")
_norm = functools.partial(layer_norm, epsilon=1e-6)


class Start(NamedTuple):
    """What the weights start from: those of the patches, of attention's linear layers and of the MLPs'."""

    patches: Any
    attention: Any
    mlp: Any


FLAX = Start("lecun_normal", initializers.VarianceScaling(1.0, "fan_in", "uniform"), "glorot_uniform")
"""The authors': Glorot's uniform initializer for each of queries, keys and values."""


def head(features, classes: int, activation):
    """A dense layer on the class token, or without one on the average over the positions."""
    return (classify_token if "class_token" in features else average_and_classify)(features, classes, activation)


family = Family(
    "vit",
    title="ViT",
    paper=Paper(
        "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        "Dosovitskiy et al.",
        2020,
        "https://arxiv.org/abs/2010.11929",
    ),
    preprocessing=_INCEPTION,
    recipe=Recipe(
        source="big_vision configs/vit_i1k.py (ViT-B/16 on ImageNet-1k, as in https://arxiv.org/abs/2106.10270)",
        optimizer="adam",
        learning_rate=1e-3,
        batch_size=4096,
        epochs=300,
        warmup_steps=10_000,
        final_learning_rate=0.0,
        weight_decay=0.1,
        no_weight_decay=("bias", "beta", "gamma", "embedding", "token"),
        loss="sigmoid",
        label_smoothing=0.0,
        mixup=0.5,
        rand_augment=(2, 15),
        random_resized_crop=(0.05, 1.0),
        gradient_clip_norm=1.0,
    ),
    head=head,
)


def vit_block(
    x,
    heads,
    mlp_ratio,
    activation,
    drop_path_rate,
    dropout_rate,
    name,
    qkv_bias=True,
    layer_scale=None,
    start=FLAX,
    norm=_norm,
    attention=SelfAttention,
    branch_scale=1.0,
):
    """Attention, then the channel MLP, each on the normalised input and added to it (equations 2 and 3).

    `branch_scale` is a factor on both branches, as LV-ViT has it.
    """

    def added(x, y, number):
        y = LayerScale(layer_scale, name=f"{name}_scale{number}")(y) if layer_scale else y
        if branch_scale != 1:
            y = Rescaling(branch_scale, name=f"{name}_scale{number}")(y)
        return residual(x, y, drop_path_rate, name, number)

    y = norm(f"{name}_norm1")(x)
    y = attention(heads, qkv_bias, start.attention, name=f"{name}_attention")(y)
    if dropout_rate:
        y = layers.Dropout(dropout_rate, name=f"{name}_attention_drop")(y)
    x = added(x, y, 1)
    y = norm(f"{name}_norm2")(x)
    hidden = int(mlp_ratio * x.shape[-1])
    y = channel_mlp(y, hidden, activation, f"{name}_channel_mixing", dropout_rate, kernel_initializer=start.mlp)
    return added(x, y, 2)


def token_sequence(x, patch_size, dim, tokens, dropout_rate, start):
    """The sequence of the patches, with `tokens` in front (equation 1), and the map of the patches before that."""
    patches = PatchEmbedding(dim, patch_size, kernel_initializer=start.patches, name="stem")(x)
    x = TokenSequence(tokens, name="position")(patches)
    return layers.Dropout(dropout_rate, name="position_drop")(x) if dropout_rate else x, patches


def taken_apart(x, tokens, patches):
    """The map of a sequence, and the vectors of the tokens in front by their names."""
    if not tokens:
        return {"map": SequenceToMap(name="map")([x, patches])}
    parts = SequenceSplit(len(tokens), name="map")([x, patches])
    return dict(zip(("map", *tokens), parts, strict=True))


def encoder(x, depth, heads, mlp_ratio, activation, drop_path_rate, dropout_rate, **block):
    """`depth` blocks; stochastic depth rises linearly from 0."""
    for i, rate in enumerate(drop_path_rates(drop_path_rate, (depth,))[0]):
        x = vit_block(x, heads, mlp_ratio, activation or "gelu", rate, dropout_rate, f"blocks_{i}", **block)
    return x


@family.token_mixing
def _mixing(x):
    """Self-attention with a head for 8 channels, of all positions and without a class token."""
    return SelfAttention(x.shape[-1] // 8)(x)


@family.builder
def ViT(
    x,
    patch_size=16,
    dim=768,
    depth=12,
    heads=12,
    mlp_ratio=4,
    qkv_bias=True,
    layer_scale=None,
    final_norm=True,
    *,
    class_token=True,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """ViT of any size. Without a top it gives the map of the patches' tokens.

    What leaves block `i` is the output of the layer "blocks_i_add2", a sequence that begins with the class token.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`; the image's height and width must be multiples of it.
        dim: width of the tokens, D in the paper.
        depth: number of blocks, L.
        heads: number of attention heads; it divides `dim`.
        mlp_ratio: hidden width of the MLPs, in multiples of `dim`.
        qkv_bias: whether the linear layers of queries, keys and values have a bias.
        layer_scale: what the scale of each channel of the branches starts from; `None` for no such scale, as in all
            published models.
        final_norm: whether a norm follows the last block. SETR's encoders have none.
        class_token: whether a class token is in front, from which the head reads the classes. Without it the head reads
            them from the average over the positions. A model without it and without a top leaves a checkpoint's aside.
        activation: of the MLPs. By default the form of GELU that the checkpoint was made for, without one the exact
            form: "gelu" (exact) or "gelu_tanh" override it.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after the position embedding, after attention and after each linear layer of the MLPs.
    """
    tokens = ("class_token",) if class_token else ()
    x, patches = token_sequence(x, patch_size, dim, tokens, dropout_rate, FLAX)
    block = dict(qkv_bias=qkv_bias, layer_scale=layer_scale)
    x = encoder(x, depth, heads, mlp_ratio, activation, drop_path_rate, dropout_rate, **block)
    return taken_apart(_norm("norm")(x) if final_norm else x, tokens, patches)


_SOURCE = "timm, results/results-imagenet.csv, of the authors' files, at 224 pixels a side"
_AT_384 = "timm, results/results-imagenet.csv, of its copy of the file, at 384 pixels a side"
_BOTH, _IMAGENET_1K, _IMAGENET_21K = "ImageNet-21k, then ImageNet-1k", "ImageNet-1k", "ImageNet-21k"
_TI, _S, _L = dict(dim=192, heads=3), dict(dim=384, heads=6), dict(dim=1024, depth=24, heads=16)

ViTTi16 = family.variant(
    "ViTTi16", "vit_ti16", title="ViT-Ti/16", patch_size=16, **_TI,
    parameters=5_717_416, macs=1_253_683_200, scores=imagenet({_BOTH: 75.452}, _SOURCE),
)  # fmt: skip
ViTS32 = family.variant(
    "ViTS32", "vit_s32", title="ViT-S/32", patch_size=32, **_S,
    parameters=22_878_952, macs=1_142_909_952, scores=imagenet({_BOTH: 76.010}, _SOURCE),
)  # fmt: skip
ViTS16 = family.variant(
    "ViTS16", "vit_s16", title="ViT-S/16", patch_size=16, **_S,
    parameters=22_050_664, macs=4_598_882_304, scores=imagenet({_BOTH: 81.402, _IMAGENET_1K: 78.842}, _SOURCE),
)  # fmt: skip
ViTB32 = family.variant(
    "ViTB32", "vit_b32", title="ViT-B/32", patch_size=32,
    parameters=88_224_232, macs=4_409_186_304, scores=imagenet({_BOTH: 80.732, _IMAGENET_1K: 74.908}, _SOURCE),
)  # fmt: skip
ViTB16 = family.variant(
    "ViTB16", "vit_b16", title="ViT-B/16", patch_size=16,
    parameters=86_567_656, macs=17_563_828_224, scores=imagenet({_BOTH: 84.534, _IMAGENET_1K: 79.154}, _SOURCE),
)  # fmt: skip
ViTL32 = family.variant(
    "ViTL32", "vit_l32", title="ViT-L/32", patch_size=32, **_L,
    parameters=306_535_400, macs=15_377_539_072, scores=imagenet({_BOTH: 81.508}, _AT_384),
)  # fmt: skip
ViTL16 = family.variant(
    "ViTL16", "vit_l16", title="ViT-L/16", patch_size=16, **_L,
    parameters=304_326_632, macs=61_554_712_576, scores=imagenet({_BOTH: 85.856}, _SOURCE),
)  # fmt: skip


TORCH = (
    ("patch_embed.proj", "stem"),
    ("cls_token", "position/class_token", lambda token: token[0, 0]),
    ("pos_embed", "position/embedding", lambda embedding: embedding[0]),
    ("blocks.{}.norm{}", "blocks_{}_norm{}"),
    ("blocks.{}.attn.qkv", "blocks_{}_attention/qkv"),
    ("blocks.{}.attn.proj", "blocks_{}_attention/proj"),
    ("blocks.{}.ls{}.gamma", "blocks_{}_scale{}/gamma"),
    ("blocks.{}.mlp.fc{}", "blocks_{}_channel_mixing_fc{}"),
    ("norm", "norm"),
    ("head", "head"),
)
"""The names of timm and DeiT, and of SETR's encoders behind "backbone."."""

family.layout("timm", convention="torch", names=TORCH)


def _heads_last(array):
    """Weights of queries, keys or values `(…, heads, depth)` with the heads beside each other."""
    return array.reshape(*array.shape[:-2], -1)


def _heads_first(array):
    """The kernel `(heads, depth, channels)` of the layer after attention; its bias stays."""
    return array.reshape(-1, array.shape[-1]) if array.ndim == 3 else array


# Modules of the published files are numbered through the block; Flax numbers those of a kind by now.
_ATTENTION, _BLOCK = "MultiHeadDotProductAttention", "Transformer/encoderblock_{}"
family.layout(
    "flax",
    convention="flax",
    activation="gelu_tanh",
    names=(
        ("embedding", "stem"),
        ("cls", "position/class_token", lambda token: token[0, 0]),
        ("Transformer/posembed_input/pos_embedding", "position/embedding", lambda embedding: embedding[0]),
        *((f"{_BLOCK}/LayerNorm_{n}", f"blocks_{{}}_norm{i}") for n, i in ((0, 1), (1, 2), (2, 2))),
        *(
            (f"{_BLOCK}/{_ATTENTION}_{n}/{part}", "blocks_{}_attention/qkv", Part(i, 3, _heads_last))
            for n in (0, 1)
            for i, part in enumerate(("query", "key", "value"))
        ),
        *((f"{_BLOCK}/{_ATTENTION}_{n}/out", "blocks_{}_attention/proj", _heads_first) for n in (0, 1)),
        *(
            (f"{_BLOCK}/MlpBlock_{n}/Dense_{i}", f"blocks_{{}}_channel_mixing_fc{i + 1}")
            for n in (0, 3)
            for i in (0, 1)
        ),
        ("Transformer/encoder_norm", "norm"),
        ("pre_logits", "head_pre_logits"),  # of old files; a model without a head leaves it aside with theirs
        ("head", "head"),
    ),
)

_BUCKET = "https://storage.googleapis.com/vit_models"
_README = "google-research/vision_transformer, README"
_BY_TIMM = "timm, results/results-imagenet.csv"
_EXACT_GELU = "Its accuracy is timm's, which runs the file with the exact form of GELU."


def _google(model, tag, file, data, top1=None, source=_README, side=224, classes=1000):
    """One of the authors' own files. An accuracy that timm measured is that of its way of cropping."""
    by_timm = source == _BY_TIMM
    return Weights(
        model, tag, f"{_BUCKET}/{file}.npz", "npz", "flax", data, classes, "Apache-2.0",
        preprocessing=_TIMM if by_timm else _INCEPTION, input_size=(side, side),
        scores=imagenet(top1, source), note=_EXACT_GELU if by_timm else "",
    )  # fmt: skip


def _augreg(model, file, data, settings, rate=None, top1=None, source=_BY_TIMM, side=224):
    """A file of "How to train your ViT?", by the settings in its name; `rate` is that of the training on ImageNet-1k."""
    name = f"augreg/{file}-{data}-300ep-lr_0.001-aug_{settings}"
    if rate is None:
        return _google(model, "imagenet21k", name, _IMAGENET_21K, classes=21843)
    tag, data = ("imagenet1k", _IMAGENET_1K) if data == "i1k" else ("imagenet21k_1k", _BOTH)
    name = f"{name}--imagenet2012-steps_20k-lr_{rate}-res_{side}"
    return _google(model, tag if side == 224 else f"{tag}_{side}", name, data, top1, source, side)


def _timm(model, tag, file, top1, side):
    """One of the PyTorch copies that timm releases; the name ends in the first digits of the file's sha256."""
    url = f"https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-vitjx/{file}.pth"
    return Weights(
        model, tag, url, "pth", "timm", _BOTH, 1000, "Apache-2.0", "timm",
        _TIMM if side == 224 else Preprocessing(**_HALVES, crop_pct=1.0), (side, side),
        imagenet(top1, _BY_TIMM), sha256=file[-8:],
    )  # fmt: skip


family.publish(
    *(
        _augreg(model, file, "i21k", settings)
        for model, file, settings in (
            ("vit_ti16", "Ti_16", "none-wd_0.03-do_0.0-sd_0.0"),
            ("vit_s32", "S_32", "none-wd_0.1-do_0.0-sd_0.0"),
            ("vit_s16", "S_16", "light1-wd_0.03-do_0.0-sd_0.0"),
            ("vit_b32", "B_32", "light1-wd_0.1-do_0.0-sd_0.0"),
            ("vit_b16", "B_16", "medium1-wd_0.1-do_0.0-sd_0.0"),
            ("vit_l16", "L_16", "strong1-wd_0.1-do_0.0-sd_0.0"),
        )
    ),
    *(
        _augreg(model, file, "i21k", settings, rate, top1)
        for model, file, settings, rate, top1 in (
            ("vit_ti16", "Ti_16", "none-wd_0.03-do_0.0-sd_0.0", "0.03", 75.452),
            ("vit_s32", "S_32", "light1-wd_0.03-do_0.0-sd_0.0", "0.03", 76.010),
            ("vit_s16", "S_16", "light1-wd_0.03-do_0.0-sd_0.0", "0.03", 81.402),
            ("vit_b32", "B_32", "medium1-wd_0.03-do_0.0-sd_0.0", "0.03", 80.732),
            ("vit_b16", "B_16", "medium1-wd_0.1-do_0.0-sd_0.0", "0.01", 84.534),
            ("vit_l16", "L_16", "medium1-wd_0.1-do_0.1-sd_0.1", "0.01", 85.856),
        )
    ),
    *(
        _augreg(model, file, "i21k", settings, rate, top1, _README, 384)
        for model, file, settings, rate, top1 in (
            ("vit_ti16", "Ti_16", "none-wd_0.03-do_0.0-sd_0.0", "0.03", 78.22),
            ("vit_s32", "S_32", "none-wd_0.1-do_0.0-sd_0.0", "0.01", 79.58),
            ("vit_s16", "S_16", "light1-wd_0.03-do_0.0-sd_0.0", "0.03", 83.73),
            ("vit_b32", "B_32", "light1-wd_0.1-do_0.0-sd_0.0", "0.01", 83.59),
            ("vit_b16", "B_16", "medium1-wd_0.1-do_0.0-sd_0.0", "0.03", 85.49),
            ("vit_l16", "L_16", "strong1-wd_0.1-do_0.0-sd_0.0", "0.01", 85.59),
        )
    ),
    *(
        _augreg(model, file, "i1k", settings, "0.01", top1)
        for model, file, settings, top1 in (
            ("vit_s16", "S_16", "medium2-wd_0.1-do_0.0-sd_0.0", 78.842),
            ("vit_b32", "B_32", "medium2-wd_0.1-do_0.1-sd_0.1", 74.908),
            ("vit_b16", "B_16", "strong2-wd_0.1-do_0.1-sd_0.1", 79.154),
        )
    ),
    _google("vit_b32", "imagenet_sam", "sam/ViT-B_32", "ImageNet-1k with SAM", 73.704, _BY_TIMM),
    _google("vit_b16", "imagenet_sam", "sam/ViT-B_16", "ImageNet-1k with SAM", 80.246, _BY_TIMM),
    _google("vit_b16", "imagenet21k_1k_first", "imagenet21k+imagenet2012/ViT-B_16-224", _BOTH, 81.2),
    _google("vit_l16", "imagenet21k_1k_first", "imagenet21k+imagenet2012/ViT-L_16-224", _BOTH, 82.7),
    _timm("vit_b16", "imagenet21k_1k_timm", "jx_vit_base_p16_224-80ecf9dd", 81.782, 224),
    _timm("vit_b16", "imagenet21k_1k_384_timm", "jx_vit_base_p16_384-83fb41ba", 84.212, 384),
    _timm("vit_l32", "imagenet21k_1k_384_timm", "jx_vit_large_p32_384-9b920ba8", 81.508, 384),
)
