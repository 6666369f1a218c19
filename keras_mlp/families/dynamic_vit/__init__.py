"""DynamicViT: networks that look at an image's tokens and go on with those that matter.

A small predictor scores the tokens in front of three of the blocks. DeiT and LV-ViT drop the tokens of the worst
scores, so that each later block has fewer. ConvNeXt and Swin need whole maps: there every position stays, but those of
the worst scores take a fast path, one linear layer in place of the MLP. How many go on is fixed, which ones depends on
the image: all shapes are static. Without any choice, `pruning=()`, it is the backbone itself.

In training (`training=True`) no token goes. A draw by Gumbel-softmax decides for each whether it counts, attention leaves
out those that do not, and the model has a loss of its own that holds the share of the kept ones at the rate.

"""

import dataclasses

from keras import layers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.families import convnext, vit
from keras_mlp.families.dynamic_vit.paths import convnext_network, swin_network, token_network
from keras_mlp.family import Family
from keras_mlp.heads import FIRST, average_and_classify, classify, precise
from keras_mlp.layers import Rescaling, drop_path_rates

__all__ = [
    "DynamicViT",
    "DynamicViTDeiT256R70",
    "DynamicViTDeiTSR70",
    "DynamicViTDeiTBR70",
    "DynamicViTLVViTSR50",
    "DynamicViTLVViTSR70",
    "DynamicViTLVViTMR70",
    "DynamicViTConvNeXtTR70",
    "DynamicViTConvNeXtTR90",
    "DynamicViTConvNeXtSR70",
    "DynamicViTConvNeXtSR90",
    "DynamicViTConvNeXtBR70",
    "DynamicViTConvNeXtBR90",
    "DynamicViTSwinTR70",
    "DynamicViTSwinSR70",
    "DynamicViTSwinBR70",
]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
KINDS = ("deit", "lvvit", "convnext", "swin")
_RATIO_WEIGHT = {"deit": 2.0, "lvvit": 2.0, "convnext": 10.0, "swin": 10.0}


def head(features, classes: int, activation):
    """A dense layer on the class token or on the average; for LV-ViT also one on the tokens that are left.

    LV-ViT's logits are those of the class token, and half of the largest over the tokens, class by class.
    """
    if "kept" in features:
        dtype, name = precise(), f"{FIRST}_auxiliary"
        largest = classify(features["kept"], classes, None, name=name)
        largest = layers.GlobalMaxPooling1D(dtype=dtype, name=f"{name}_max")(largest)
        largest = Rescaling(0.5, dtype=dtype, name=f"{name}_half")(largest)
        both = [classify(features["class_token"], classes, None), largest]
        logits = layers.Add(dtype=dtype, name=f"{FIRST}_sum")(both)
        return layers.Activation(activation, dtype=dtype, name=f"{FIRST}_activation")(logits)
    if "class_token" in features:
        return classify(features["class_token"], classes, activation)
    return average_and_classify(features, classes, activation, features.get("norm"))


_NEW = ("predictors_", "_fast")
"""In the paths of what is new beside the backbone: it learns at the full rate, and from the beginning."""


def _backbone(factor: float, frozen: tuple[str, ...] = ()) -> dict:
    """The fields of a recipe for the backbone's rate: a share of the others', and 0 in the first epochs."""
    return dict(
        rate_factors=(*((word, 0.0) for word in frozen), *((word, 1.0) for word in _NEW), ("*", factor)),
        rate_delays=(*((word, 0) for word in _NEW), ("*", 5)),
    )


_OF_MAPS = Recipe(
    source="raoyongming/DynamicViT, README.md, main.py and optim_factory.py: ConvNeXt and Swin, from the published "
    "backbone, which also teaches (keras_mlp.training.distill_tokens)",
    learning_rate=4e-3,
    learning_rate_rule="constant",
    batch_size=4096,
    epochs=120,
    warmup_epochs=20,
    final_learning_rate=1e-6,
    weight_decay=0.05,
    label_smoothing=0.1,
    mixup=0.8,
    cutmix=1.0,
    rand_augment=(2, 9),
    random_erasing=0.25,
    drop_path_rate=0.2,
    ema_decay=0.9999,
    **_backbone(0.2),
)
_OF_SEQUENCES = dataclasses.replace(
    _OF_MAPS,
    source=_OF_MAPS.source.replace("ConvNeXt and Swin", "DeiT and LV-ViT"),
    learning_rate=1e-3,
    batch_size=1024,
    epochs=30,
    warmup_epochs=5,
    drop_path_rate=0.0,
    **_backbone(0.01, frozen=("class_token", "embedding")),
)


family = Family(
    "dynamic_vit",
    title="DynamicViT",
    paper=Paper(
        "DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification",
        "Rao et al.",
        2021,
        "https://arxiv.org/abs/2106.02034",
    ),
    preprocessing=_IMAGENET,
    recipe=_OF_SEQUENCES,
    per_stage=("dims", "depths", "heads"),
    head=head,
)


def keep_rates(kind: str, keep_rate, count: int) -> list[float]:
    """Which part of the grid's tokens each of `count` choices keeps.

    Raises:
        ValueError: `keep_rate` is no number between 0 and 1 that leaves tokens at the last choice, nor such a number for
            each choice.
    """
    several = isinstance(keep_rate, list | tuple)
    if several:
        rates = list(keep_rate)
    elif kind in ("deit", "lvvit"):
        rates = [keep_rate ** (i + 1) for i in range(count)]
    else:  # as the authors' code subtracts: 0.7 - 0.2 is a little less than 0.5
        rates = [keep_rate - 0.2 * i if i else keep_rate for i in range(count)]
    if len(rates) != count or not all(0 < rate < 1 for rate in rates):
        each = "" if several else f", so the choices would keep {rates}"
        raise ValueError(
            f"`keep_rate` must be a number between 0 and 1 from which each of the {count} choices has tokens left, or a "
            f"list of {count} such numbers. Received: keep_rate={keep_rate!r}{each}"
        )
    return rates


@family.builder
def DynamicViT(
    x,
    kind="deit",
    patch_size=16,
    dims=(384,),
    depths=(12,),
    heads=None,
    mlp_ratio=4,
    pruning=(3, 6, 9),
    stem_dim=64,
    window=7,
    layer_scale=1e-6,
    *,
    keep_rate=0.7,
    ratio_weight=None,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """DynamicViT of any size. Without a top it gives a map of all positions.

    In that map a token that was dropped stays in its place, with the value that it had when it was dropped; the norm after
    the last block is on all of them.

    Args:
        kind: whose blocks: "deit", "lvvit", "convnext" or "swin". "convnext" takes images of any size.
        patch_size: side of a patch in pixels; for "lvvit" even.
        dims: width of each stage. "deit" and "lvvit" have one stage. "convnext" and "swin" have at least three, and
            the third makes choices.
        depths: number of blocks of each stage.
        heads: number of attention heads of each stage; not for "convnext".
        mlp_ratio: hidden width of the MLPs, in multiples of the tokens' width; "convnext" always has 4.
        pruning: the blocks in front of which tokens are chosen: numbers from 0 in the only or in the third stage. None,
            `()`, for the backbone itself: it teaches, and its speed is what pruning is compared with.
        stem_dim: for "lvvit", width of the three convolutions before the patches.
        window: for "swin", side of the windows in positions; where a map is not larger, the map's shorter side.
        layer_scale: for "convnext", what the scales of a block's channels start from; `None` or 0 for no scale.
        keep_rate: which part of the tokens goes on at the first choice, r. "deit" and "lvvit" keep r, r², r³ of the first
            grid's tokens and so on, "convnext" and "swin" r, r - 0.2, r - 0.4. Or a list of such parts. Weights fit all
            rates.
        ratio_weight: weight of the loss of the share that is kept in training. By default the authors': 2 for "deit" and
            "lvvit", 10 for the others.
        activation: of the MLPs; "gelu" (exact) by default, as in all published models. Predictors keep GELU.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after the position embedding, after attention and after each linear layer of the MLPs.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: kind={kind!r}")
    staged = kind in ("convnext", "swin")
    if (len(dims) < 3) if staged else (len(dims) != 1):
        raise ValueError(
            f'`dims` must have {"at least three values" if staged else "one value"} where kind is "{kind}". '
            f"Received: dims={dims!r}"
        )
    if kind != "convnext" and heads is None:
        raise ValueError(f'`heads` must have one value for each stage where kind is "{kind}". Received: heads=None')
    blocks = depths[2] if staged else depths[0]
    if list(pruning) != sorted(set(pruning)) or (pruning and not 0 <= pruning[0] <= pruning[-1] < blocks):
        raise ValueError(
            f"`pruning` must be rising numbers of blocks, from 0 to {blocks - 1}. Received: pruning={pruning!r}"
        )
    weight = (_RATIO_WEIGHT[kind] if ratio_weight is None else ratio_weight) / max(1, len(pruning))
    rates = keep_rates(kind, keep_rate, len(pruning))
    choices = {i: dict(ratio=rate, ratio_weight=weight) for i, rate in zip(pruning, rates, strict=True)}
    activation = activation or "gelu"
    if kind == "convnext":
        return convnext_network(
            x, patch_size, dims, depths, layer_scale, choices, activation, drop_path_rate, dropout_rate
        )
    if kind == "swin":
        return swin_network(
            x, patch_size, dims, depths, heads, mlp_ratio, window, choices, activation, drop_path_rate, dropout_rate
        )
    drops = drop_path_rates(drop_path_rate, depths)[0]
    sizes = (patch_size, dims[0], depths[0], heads[0], mlp_ratio, stem_dim)
    return token_network(x, kind, *sizes, choices, activation, drops, dropout_rate)


_SOURCE = "the README of raoyongming/DynamicViT"


def _variant(builder, name, title, parameters, macs, top1, **config):
    recipe = _OF_MAPS if config["kind"] in ("convnext", "swin") else _OF_SEQUENCES
    recipe = dataclasses.replace(recipe, drop_path_rate=config.get("drop_path_rate", 0.0))
    return family.variant(
        f"DynamicViT{builder}", f"dynamic_vit_{name}", title=f"DynamicViT-{title}", parameters=parameters, macs=macs,
        scores=imagenet(top1, _SOURCE), recipe=recipe, **config,
    )  # fmt: skip


_DEIT = dict(kind="deit", depths=(12,))
_LV_S = dict(kind="lvvit", dims=(384,), depths=(16,), heads=(6,), mlp_ratio=3, pruning=(4, 8, 12))
_LV_M = dict(kind="lvvit", dims=(512,), depths=(20,), heads=(8,), mlp_ratio=3, pruning=(5, 10, 15))
_TINY, _BASE = (96, 192, 384, 768), (128, 256, 512, 1024)
_NEXT = dict(kind="convnext", patch_size=4)
_NEXT_T = _NEXT | dict(dims=_TINY, depths=(3, 3, 9, 3), pruning=(1, 2, 3), drop_path_rate=0.2)
_NEXT_S = _NEXT | dict(dims=_TINY, depths=(3, 3, 27, 3), pruning=(3, 6, 9), drop_path_rate=0.2)
_NEXT_B = _NEXT | dict(dims=_BASE, depths=(3, 3, 27, 3), pruning=(3, 6, 9), drop_path_rate=0.5)
_SWIN = dict(kind="swin", patch_size=4)
_SWIN_T = _SWIN | dict(dims=_TINY, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), pruning=(1, 2, 3), drop_path_rate=0.2)
_SWIN_S = _SWIN | dict(dims=_TINY, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24), pruning=(2, 4, 6), drop_path_rate=0.2)
_SWIN_B = _SWIN | dict(dims=_BASE, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), pruning=(2, 4, 6), drop_path_rate=0.5)

# fmt: off
DynamicViTDeiT256R70 = _variant("DeiT256R70", "deit_256_r70", "DeiT-256/0.7", 10_304_942, 1_374_597_760, 76.53, **_DEIT, dims=(256,), heads=(4,))
DynamicViTDeiTSR70 = _variant("DeiTSR70", "deit_s_r70", "DeiT-S/0.7", 22_774_414, 2_980_897_728, 79.32, **_DEIT, dims=(384,), heads=(6,))
DynamicViTDeiTBR70 = _variant("DeiTBR70", "deit_b_r70", "DeiT-B/0.7", 89_452_846, 11_475_801_984, 81.43, **_DEIT, dims=(768,), heads=(12,), ratio_weight=5.0, drop_path_rate=0.2)
DynamicViTLVViTSR50 = _variant("LVViTSR50", "lvvit_s_r50", "LV-ViT-S/0.5", 26_875_574, 3_790_170_432, 81.97, **_LV_S, keep_rate=0.5)
DynamicViTLVViTSR70 = _variant("LVViTSR70", "lvvit_s_r70", "LV-ViT-S/0.7", 26_875_574, 4_650_082_752, 83.08, **_LV_S)
DynamicViTLVViTMR70 = _variant("LVViTMR70", "lvvit_m_r70", "LV-ViT-M/0.7", 57_115_030, 8_593_229_056, 83.82, **_LV_M)
DynamicViTConvNeXtTR70 = _variant("ConvNeXtTR70", "convnext_t_r70", "ConvNeXt-T/0.7", 30_504_814, 3_578_797_056, 81.59, **_NEXT_T)
DynamicViTConvNeXtTR90 = _variant("ConvNeXtTR90", "convnext_t_r90", "ConvNeXt-T/0.9", 30_504_814, 3_908_066_304, 82.06, **_NEXT_T, keep_rate=0.9)
DynamicViTConvNeXtSR70 = _variant("ConvNeXtSR70", "convnext_s_r70", "ConvNeXt-S/0.7", 54_523_246, 5_771_495_424, 82.57, **_NEXT_S)
DynamicViTConvNeXtSR90 = _variant("ConvNeXtSR90", "convnext_s_r90", "ConvNeXt-S/0.9", 54_523_246, 6_759_303_168, 83.12, **_NEXT_S, keep_rate=0.9)
DynamicViTConvNeXtBR70 = _variant("ConvNeXtBR70", "convnext_b_r70", "ConvNeXt-B/0.7", 96_216_558, 10_177_404_928, 83.45, **_NEXT_B)
DynamicViTConvNeXtBR90 = _variant("ConvNeXtBR90", "convnext_b_r90", "ConvNeXt-B/0.9", 96_216_558, 11_933_507_584, 83.96, **_NEXT_B, keep_rate=0.9)
DynamicViTSwinTR70 = _variant("SwinTR70", "swin_t_r70", "Swin-T/0.7", 29_755_144, 4_041_159_936, 80.91, **_SWIN_T)
DynamicViTSwinSR70 = _variant("SwinSR70", "swin_s_r70", "Swin-S/0.7", 52_707_736, 6_846_399_744, 83.21, **_SWIN_S)
DynamicViTSwinBR70 = _variant("SwinBR70", "swin_b_r70", "Swin-B/0.7", 93_271_590, 12_062_940_160, 83.43, **_SWIN_B)
# fmt: on


def _predictors(published, transform=None):
    """Rows for the layers of a predictor; its convolutions of 1 x 1 are linear layers here."""
    parts = ("in_conv.1", "fc1"), ("out_conv.0", "fc2"), ("out_conv.2", "fc3"), ("out_conv.4", "fc4")
    yield f"{published}.{{}}.in_conv.0", "predictors_{}_norm"
    for theirs, ours in parts:
        if transform:
            yield f"{published}.{{}}.{theirs}.weight", f"predictors_{{}}_{ours}/kernel", transform
        yield f"{published}.{{}}.{theirs}", f"predictors_{{}}_{ours}"


family.layout(
    "vit",
    convention="torch",
    names=(
        *vit.TORCH,
        ("patch_embed.conv{}", "stem_conv{}"),
        ("patch_embed.bn{}", "stem_norm{}"),
        ("aux_head", f"{FIRST}_auxiliary"),
        *_predictors("score_predictor"),
    ),
)
family.layout(
    "convnext",
    convention="torch",
    names=(
        *convnext.TORCH,
        ("stages.{}.{}.fast_path.0", "stages_{}_{}_fast_norm"),
        ("stages.{}.{}.fast_path.1", "stages_{}_{}_fast"),
        ("stages.{}.{}.fast_path_gamma", "stages_{}_{}_fast_scale/gamma"),
        *_predictors("score_predictor", lambda kernel: kernel[:, :, 0, 0].T),
    ),
)
_BLOCK = (
    ("norm{}", "norm{}"),
    ("attn.relative_position_bias_table", "attention/relative_bias"),
    ("attn.qkv", "attention/qkv"),
    ("attn.proj", "attention/proj"),
    ("mlp.fc{}", "channel_mixing_fc{}"),
    ("fastmlp.fc1.0", "fast_norm"),
    ("fastmlp.fc1.1", "fast"),
)
family.layout(
    "swin",
    convention="torch",
    names=(
        ("patch_embed.proj", "stem"),
        ("patch_embed.norm", "stem_norm"),
        *((f"layers.{{}}.blocks.{{}}.{theirs}", f"stages_{{}}_{{}}_{ours}") for theirs, ours in _BLOCK),
        ("layers.{}.downsample.norm", "down_{}_norm"),
        ("layers.{}.downsample.reduction", "down_{}"),
        *_predictors("layers.2.score_predictor"),
        ("norm", "norm"),
        ("head", "head"),
    ),
    ignored=("layers.{}.blocks.{}.attn.relative_position_index", "layers.{}.blocks.{}.attn_mask"),
)


def _weights(name, file, top1):
    """One of the authors' files, from the cloud that their README names."""
    layout = name.split("_")[0]
    return Weights(
        f"dynamic_vit_{name}", "imagenet1k", f"https://cloud.tsinghua.edu.cn/f/{file}/?dl=1", "pth",
        layout if layout in ("convnext", "swin") else "vit", "ImageNet-1k", 1000, "MIT",
        preprocessing=_IMAGENET, scores=imagenet(top1, _SOURCE), key="model",
    )  # fmt: skip


family.publish(
    _weights("deit_256_r70", "b0e1ff6af1004039855e", 76.53),
    _weights("deit_s_r70", "698896dfbcea430b9591", 79.32),
    _weights("deit_b_r70", "660f27ddb6b945a797a8", 81.43),
    _weights("lvvit_s_r50", "635cb172312749e39cf2", 81.97),
    _weights("lvvit_s_r70", "d732a3511dd64db598e1", 83.08),
    _weights("lvvit_m_r70", "b8d1efdfc41d4777903e", 83.82),
    _weights("convnext_t_r70", "95b2daf7593a42f48baa", 81.59),
    _weights("convnext_t_r90", "030c6b8268104c16a666", 82.06),
    _weights("convnext_s_r70", "293972cc7d8c4adaac23", 82.57),
    _weights("convnext_s_r90", "64c4ed5ab02d45998bf6", 83.12),
    _weights("convnext_b_r70", "1e3a861f272142c38bbc", 83.45),
    _weights("convnext_b_r90", "9b4c8df7b30d410bba75", 83.96),
    _weights("swin_t_r70", "6a3d0de592f04d77a2fa", 80.91),
    _weights("swin_s_r70", "86b58132f354495590d0", 83.21),
    _weights("swin_b_r70", "ea260248adc040929970", 83.43),
)
