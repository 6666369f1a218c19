"""LeViT: a vision transformer with the shape of a convolutional network, made for fast inference.

Four convolutions make a small map of the image, and attention with an MLP halves it twice more. Attention knows where
positions are by a learned number for each distance between two of them. All norms are batch norms right after a
linear map, so that `fuse` leaves none of them. There are two classifiers: one learns from the labels, the other from a
teacher's decisions. The output is the mean of their logits, or with `heads_apart` that of each.

The tables of distances tie a model to its grid. The authors resize none. Here they are interpolated as Swin's are.
"""

import re

from keras import initializers, layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.families.levit.attention import DistanceAttention
from keras_mlp.family import Family
from keras_mlp.heads import SECOND, classify, classify_twice, pooled, precise
from keras_mlp.layers import (
    Activation,
    Dense,
    activations,
    batch_norm,
    padded_conv,
    precision,
    residual,
)

__all__ = ["LeViT", "LeViT128S", "LeViT128", "LeViT192", "LeViT256", "LeViT384"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_TIMM = Preprocessing(crop_pct=0.9, interpolation="bicubic")
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default, which the authors keep


def two_heads(
    features, classes, activation, *, distilled: bool = True, heads_apart: bool = False, dropout_rate: float = 0.0
):
    """The average over the positions, and two classifiers with a batch norm before each.

    Args:
        distilled: whether there is a second classifier, which learns from a teacher.
        heads_apart: whether the model gives `{"head": …, "head_dist": …}`, for a loss of each, in place of their
            mean.
        dropout_rate: dropout before the classifiers (timm's is before the first alone).
    """
    if heads_apart and not distilled:
        raise ValueError("`heads_apart` needs two heads. Received: heads_apart=True, distilled=False")
    x = pooled(features, "avg", precise())
    with precision.policy(precise()):
        normed = [batch_norm(f"{name}_norm")(x) for name in ("head", SECOND)[: 1 + distilled]]
    if not distilled:
        return classify(*normed, classes, activation, dropout_rate)
    return classify_twice(*normed, classes, activation, heads_apart, dropout_rate)


family = Family(
    "levit",
    title="LeViT",
    paper=Paper(
        "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference",
        "Graham et al.",
        2021,
        "https://arxiv.org/abs/2104.01136",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="facebookresearch/LeViT, main.py's defaults on the README's 8 GPUs. Not here: the teacher, RegNetY-160, "
        "whose decisions `head_dist` learns with half of the loss (keras_mlp.training.distill). LeViT-384 has a stochastic "
        "depth of 0.1",
        learning_rate=2e-3,
        batch_size=2048,
        epochs=1000,
        warmup_epochs=5,
        weight_decay=0.025,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        repeated_augmentation=3,
        gradient_clip_factor=0.01,
        ema_decay=0.99996,
    ),
    per_stage=("dims", "depths", "heads", "key_dims", "attention_ratios", "mlp_ratios"),
    head=two_heads,
)


def normed_linear(x, units, name, strides=1, start=1.0):
    """A linear map of the channels, of every position or of the first of each `strides`, and batch norm after it."""
    options = dict(use_bias=False, kernel_initializer=_UNIFORM.clone(), name=name)
    x = Dense(units, **options)(x) if strides == 1 else layers.Conv2D(units, 1, strides, **options)(x)
    return batch_norm(f"{name}_norm", gamma_initializer=initializers.Constant(start))(x)


def attention(x, dim, heads, key_dim, ratio, activation, name, strides=1, start=0.0):
    """Attention with values `ratio` times as wide as the keys; from all positions to the first of each `strides`."""
    if strides == 1:
        y = normed_linear(x, heads * (2 * key_dim + int(ratio * key_dim)), f"{name}_qkv")
    else:
        y = normed_linear(x, heads * (key_dim + int(ratio * key_dim)), f"{name}_kv")
        y = [normed_linear(x, heads * key_dim, f"{name}_q", strides), y]
    y = DistanceAttention(heads, key_dim, strides, name=name)(y)
    y = Activation(activation, name=f"{name}_act")(y)
    return normed_linear(y, dim, f"{name}_proj", start=start)


def mlp(x, ratio, activation, drop_path_rate, name):
    """An MLP along the channels on a residual connection, which begins as nothing; at a ratio of 0 there is none."""
    if not ratio:
        return x
    y = normed_linear(x, int(ratio * x.shape[-1]), f"{name}_channel_mixing_fc1")
    y = Activation(activation, name=f"{name}_channel_mixing_act")(y)
    y = normed_linear(y, x.shape[-1], f"{name}_channel_mixing_fc2", start=0.0)
    return residual(x, y, drop_path_rate, name, 2)


def stem(x, dim, patch_size, activation):
    """Convolutions that halve the height and width and double the width, the last without an activation."""
    count = int(patch_size).bit_length() - 1
    if patch_size < 2 or patch_size != 2**count or dim % (patch_size // 2):
        raise ValueError(
            "`patch_size` must be 2, 4, 8, …, and its half must divide the first width, because each convolution of the "
            f"stem halves the map and doubles the width. Received: patch_size={patch_size!r}, dims[0]={dim}"
        )
    for i in range(1, count + 1):
        if i > 1:
            x = Activation(activation, name=f"stem_{i - 1}_act")(x)
        plain = dict(use_bias=False, kernel_initializer=_UNIFORM.clone())
        x = batch_norm(f"stem_{i}_norm")(padded_conv(x, dim >> (count - i), 3, 2, 1, f"stem_{i}", **plain))
    return x


@family.builder
def LeViT(
    x,
    patch_size=16,
    dims=(128, 256, 384),
    depths=(4, 4, 4),
    heads=(4, 8, 12),
    key_dims=(16, 16, 16),
    attention_ratios=(2, 2, 2),
    mlp_ratios=(2, 2, 2),
    downs=None,
    stem_activation="hard_silu",
    attention_activation="hard_silu",
    mlp_activation="hard_silu",
    *,
    drop_path_rate=0.0,
):
    """LeViT of any size. What is left over where the map is halved becomes a position of its own.

    Args:
        patch_size: what the stem's convolutions make one position of, along each side: 16, 8 or another power of 2.
        dims: width of each stage.
        depths: number of blocks of each stage, a pair of attention and MLP each.
        heads: number of heads of each stage's attention.
        key_dims: width of a head's queries and keys, D in the paper's table.
        attention_ratios: width of a head's values, in multiples of the keys'.
        mlp_ratios: hidden width of the MLPs, in multiples of the stage's; 0 for no MLPs.
        downs: for each step from one stage to the next its attention's `(heads, key width, attention ratio, mlp ratio,
            strides)`. By default `(width / key width, that of the stage before, 4, 2, 2)`, as in all published models.
        stem_activation: between the stem's convolutions.
        attention_activation: of what attention gives.
        mlp_activation: of the MLPs.
        drop_path_rate: stochastic depth, the same for all residual branches.
    """
    stages = list(zip(dims, depths, heads, key_dims, attention_ratios, mlp_ratios, strict=True))
    if downs is None:
        downs = [(dim // key_dim, key_dim, 4, 2, 2) for dim, _, _, key_dim, _, _ in stages[:-1]]
    if len(downs) != len(stages) - 1 or any(len(down) != 5 or down[-1] < 2 for down in downs):
        raise ValueError(
            f"`downs` must have five numbers for each of the {len(stages) - 1} steps between stages: heads, key width, "
            f"attention ratio, mlp ratio, and strides of at least 2. Received: downs={downs!r}"
        )
    stem_act, attention_act, mlp_act = map(activations.get, (stem_activation, attention_activation, mlp_activation))
    x = stem(x, dims[0], patch_size, stem_act)
    for stage, (dim, depth, count, key_dim, ratio, mlp_ratio) in enumerate(stages):
        if stage:
            down_heads, down_key_dim, down_ratio, down_mlp_ratio, strides = downs[stage - 1]
            mixing = (down_heads, down_key_dim, down_ratio, attention_act, f"down_{stage - 1}_token_mixing", strides)
            x = attention(x, dim, *mixing, start=1.0)
            x = mlp(x, down_mlp_ratio, mlp_act, drop_path_rate, f"down_{stage - 1}")
        for i in range(depth):
            name = f"stages_{stage}_{i}"
            y = attention(x, dim, count, key_dim, ratio, attention_act, f"{name}_token_mixing")
            x = residual(x, y, drop_path_rate, name, 1)
            x = mlp(x, mlp_ratio, mlp_act, drop_path_rate, name)
    return x


_SOURCE = "the authors' README, with the teacher"

LeViT128S = family.variant(
    "LeViT128S", "levit_128s", title="LeViT-128S", depths=(2, 3, 4), heads=(4, 6, 8), parameters=7_777_058,
    macs=304_660_832, scores=imagenet(76.6, _SOURCE),
)  # fmt: skip
LeViT128 = family.variant(
    "LeViT128", "levit_128", title="LeViT-128", parameters=9_213_936, macs=405_321_728,
    scores=imagenet(78.6, _SOURCE),
)  # fmt: skip
LeViT192 = family.variant(
    "LeViT192", "levit_192", title="LeViT-192", dims=(192, 288, 384), heads=(3, 5, 6), key_dims=(32, 32, 32),
    parameters=10_947_069, macs=657_022_080, scores=imagenet(80.0, _SOURCE),
)  # fmt: skip
LeViT256 = family.variant(
    "LeViT256", "levit_256", title="LeViT-256", dims=(256, 384, 512), heads=(4, 6, 8), key_dims=(32, 32, 32),
    parameters=18_893_876, macs=1_127_257_344, scores=imagenet(81.6, _SOURCE),
)  # fmt: skip
LeViT384 = family.variant(
    "LeViT384", "levit_384", title="LeViT-384", dims=(384, 512, 768), heads=(6, 9, 12), key_dims=(32, 32, 32),
    drop_path_rate=0.1, parameters=39_128_836, macs=2_351_786_880, scores=imagenet(82.6, _SOURCE),
)  # fmt: skip


def _linear(theirs, ours):
    """Rows of a linear map with its batch norm."""
    return (f"{theirs}.linear", ours), (f"{theirs}.bn", f"{ours}_norm")


def _unit(place, attention, ours):
    """Rows of an attention and its MLP."""
    theirs = f"{place}.{attention}"
    yield f"{theirs}.attention_biases", f"{ours}_token_mixing/attention_biases"
    for linear, name in {"qkv": "qkv", "q.ln": "q", "kv": "kv", "proj.ln": "proj"}.items():
        yield from _linear(f"{theirs}.{linear}", f"{ours}_token_mixing_{name}")
    yield from _linear(f"{place}.mlp.ln{{}}", f"{ours}_channel_mixing_fc{{}}")


_NAMES = (
    *_linear("stem.conv{}", "stem_{}"),
    *_unit("stages.{}.blocks.{}", "attn", "stages_{}_{}"),
    # timm counts what is between two stages to the second of them. There are three stages, and no more than ten.
    *(row for i in range(1, 10) for row in _unit(f"stages.{i}.downsample", "attn_downsample", f"down_{i - 1}")),
    ("head.linear", "head"),
    ("head.bn", "head_norm"),
    ("head_dist.linear", "head_dist"),
    ("head_dist.bn", "head_dist_norm"),
)
"""timm's names; its files of linear layers and of convolutions have the same."""

_PARTS = {
    "m.qkv": "attn.qkv",
    "m.proj.1": "attn.proj.ln",
    "m.attention_biases": "attn.attention_biases",
    "m.0": "mlp.ln1",
    "m.2": "mlp.ln2",
    "kv": "attn_downsample.kv",
    "q.1": "attn_downsample.q.ln",
    "proj.1": "attn_downsample.proj.ln",
    "attention_biases": "attn_downsample.attention_biases",
}
"""What is in one of Facebook's blocks, which hold an attention or an MLP, in timm's names."""
_BLOCK = re.compile(rf"blocks\.(\d+)\.({'|'.join(map(re.escape, _PARTS))})(\.c\..+|\.bn\..+|)")


def _as_timm(names):
    """Facebook's names in timm's: their blocks are numbered on from stage to stage."""
    found = {name: match for name in names if (match := _BLOCK.fullmatch(name))}
    kinds = {int(match[1]): _PARTS[match[2]].partition(".")[0] for match in found.values()}
    places, place, stage, block = {}, None, 0, -1
    for number in sorted(kinds):
        if kinds[number] == "attn_downsample":
            stage, block = stage + 1, -1
            place = f"stages.{stage}.downsample"
        elif kinds[number] == "attn":
            block += 1
            place = f"stages.{stage}.blocks.{block}"
        places[number] = place  # an MLP belongs to the attention before it
    renamed = {name: f"{places[int(match[1])]}.{_PARTS[match[2]]}{match[3]}" for name, match in found.items()}
    for name in names:
        if match := re.fullmatch(r"patch_embed\.(\d+)(\..+)", name):
            renamed[name] = f"stem.conv{int(match[1]) // 2 + 1}{match[2]}"
    return {name: re.sub(r"\.[cl]\.", ".linear.", renamed.get(name, name)) for name in names}


family.layout("timm", convention="torch", activation=None, names=_NAMES)
family.layout(
    "facebook", convention="torch", activation=None, names=_NAMES, rename=_as_timm,
    ignored=("blocks.{}.m.attention_bias_idxs", "blocks.{}.attention_bias_idxs"),
)  # fmt: skip


def _timm(model, name, tag, top1):
    """One of timm's copies of the authors' file."""
    return Weights(
        model, tag, f"https://huggingface.co/timm/{name}.fb_dist_in1k/resolve/main/model.safetensors", "safetensors",
        "timm", _TEACHER, 1000, "Apache-2.0", "timm", _TIMM, scores=imagenet(top1, "timm, results-imagenet.csv"),
        note="timm's copy of the authors' file. The address is inferred from timm's name of it.",
    )  # fmt: skip


_TEACHER = "ImageNet-1k, distilled from RegNetY-16GF"
for _size, _digest, _top1, _linear_top1, _conv_top1 in (
    ("128s", "96703c44", 76.6, 76.52, 76.534),
    ("128", "b88c2750", 78.6, 78.486, 78.488),
    ("192", "92712e41", 80.0, 79.858, 79.86),
    ("256", "13b5763e", 81.6, 81.506, 81.506),
    ("384", "9bdaf2e2", 82.6, 82.6, 82.6),
):
    _model = f"levit_{_size}"
    family.publish(
        Weights(
            _model, "imagenet1k", f"https://dl.fbaipublicfiles.com/LeViT/LeViT-{_size.upper()}-{_digest}.pth", "pth",
            "facebook", _TEACHER, 1000, "Apache-2.0", preprocessing=_IMAGENET, scores=imagenet(_top1, _SOURCE),
            sha256=_digest, key="model",
        ),
        _timm(_model, _model, "imagenet_timm", _linear_top1),
        _timm(_model, f"levit_conv_{_size}", "imagenet_timm_conv", _conv_top1),
    )  # fmt: skip
