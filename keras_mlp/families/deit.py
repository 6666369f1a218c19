"""DeiT: ViT trained on ImageNet-1k alone, in the distilled models by a teacher, too.

The network is ViT's. A distilled one has a second token in front, with a head of its own that learns what the teacher
predicts. In inference the model gives the mean of both heads' logits.
"""

from keras import initializers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.families.vit import TORCH, Start, encoder, taken_apart, token_sequence
from keras_mlp.family import Family
from keras_mlp.heads import classify_token, classify_twice
from keras_mlp.layers import layer_norm

__all__ = ["DeiT", "DeiTTi", "DeiTS", "DeiTB", "DeiTTiDistilled", "DeiTSDistilled", "DeiTBDistilled"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
# The patches keep the default of PyTorch's convolutions.
START = Start(initializers.VarianceScaling(1 / 3, "fan_in", "uniform"), _NORMAL, _NORMAL)


def head(features, classes: int, activation, *, heads_apart=False):
    """One dense layer on the class token, and in a distilled model a second one on the distillation token.

    Args:
        heads_apart: of distilled models, whether the predictions of both heads are outputs, "head" and "head_dist", as
            training with a teacher wants them. By default the output is made of the mean of their logits.
    """
    if "distillation_token" in features:
        return classify_twice(features["class_token"], features["distillation_token"], classes, activation, heads_apart)
    if heads_apart:
        raise ValueError("Only distilled models have two heads. Received: heads_apart=True, distilled=False")
    return classify_token(features, classes, activation)


family = Family(
    "deit",
    title="DeiT",
    paper=Paper(
        "Training data-efficient image transformers & distillation through attention",
        "Touvron et al.",
        2020,
        "https://arxiv.org/abs/2012.12877",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="facebookresearch/deit, main.py and README_deit.md (without the teacher of the distilled models)",
        learning_rate=1e-3,
        batch_size=1024,
        epochs=300,
        warmup_epochs=5,
        weight_decay=0.05,
        no_weight_decay=("bias", "beta", "gamma", "embedding", "token"),
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        repeated_augmentation=3,
        drop_path_rate=0.1,
        ema_decay=0.99996,
    ),
    head=head,
)


@family.builder
def DeiT(
    x,
    patch_size=16,
    dim=384,
    depth=12,
    heads=6,
    mlp_ratio=4,
    distilled=False,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """DeiT of any size. Without a top it gives the map of the patches' tokens.

    What leaves block `i` is the output of the layer "blocks_i_add2", a sequence that begins with the tokens in front.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`; the image's height and width must be multiples of it.
        dim: width of the tokens.
        depth: number of blocks.
        heads: number of attention heads; it divides `dim`.
        mlp_ratio: hidden width of the MLPs, in multiples of `dim`.
        distilled: whether a distillation token follows the class token.
        activation: of the MLPs; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after the position embedding, after attention and after each linear layer of the MLPs.
    """
    tokens = ("class_token", "distillation_token") if distilled else ("class_token",)
    x, patches = token_sequence(x, patch_size, dim, tokens, dropout_rate, START)
    x = encoder(x, depth, heads, mlp_ratio, activation, drop_path_rate, dropout_rate, start=START)
    return taken_apart(layer_norm("norm", epsilon=1e-6)(x), tokens, patches)


_SOURCE = "facebookresearch/deit, README_deit.md"
_TI, _S, _B = dict(dim=192, heads=3), dict(dim=384, heads=6), dict(dim=768, heads=12)

DeiTTi = family.variant(
    "DeiTTi",
    "deit_ti",
    title="DeiT-Ti",
    **_TI,
    parameters=5_717_416,
    macs=1_253_683_200,
    scores=imagenet(72.2, _SOURCE),
)
DeiTS = family.variant(
    "DeiTS", "deit_s", title="DeiT-S", **_S, parameters=22_050_664, macs=4_598_882_304, scores=imagenet(79.9, _SOURCE)
)
DeiTB = family.variant(
    "DeiTB", "deit_b", title="DeiT-B", **_B, parameters=86_567_656, macs=17_563_828_224, scores=imagenet(81.8, _SOURCE)
)
DeiTTiDistilled = family.variant(
    "DeiTTiDistilled", "deit_ti_distilled", title="DeiT-Ti distilled", **_TI, distilled=True,
    parameters=5_910_800, macs=1_261_003_776, scores=imagenet(74.5, _SOURCE),
)  # fmt: skip
DeiTSDistilled = family.variant(
    "DeiTSDistilled", "deit_s_distilled", title="DeiT-S distilled", **_S, distilled=True,
    parameters=22_436_432, macs=4_624_140_288, scores=imagenet(81.2, _SOURCE),
)  # fmt: skip
DeiTBDistilled = family.variant(
    "DeiTBDistilled", "deit_b_distilled", title="DeiT-B distilled", **_B, distilled=True,
    parameters=87_338_192, macs=17_656_811_520, scores=imagenet(83.4, _SOURCE),
)  # fmt: skip

# Only the second token and its head tell whose file it is: without them its names are those of any ViT.
family.layout(
    "deit",
    convention="torch",
    names=(
        *TORCH,
        ("dist_token", "position/distillation_token", lambda token: token[0, 0]),
        ("head_dist", "head_dist"),
    ),
)


def _weights(model, file, top1, side=224):
    """One of the authors' files; the name ends in the first digits of the file's sha256."""
    return Weights(
        model, "imagenet1k" if side == 224 else f"imagenet1k_{side}",
        f"https://dl.fbaipublicfiles.com/deit/deit_{file}.pth", "pth", "deit", "ImageNet-1k", 1000, "Apache-2.0",
        preprocessing=_IMAGENET, input_size=(side, side), scores=imagenet(top1, _SOURCE), sha256=file[-8:], key="model",
    )  # fmt: skip


family.publish(
    _weights("deit_ti", "tiny_patch16_224-a1311bcf", 72.2),
    _weights("deit_s", "small_patch16_224-cd65a155", 79.9),
    _weights("deit_b", "base_patch16_224-b5f2ef4d", 81.8),
    _weights("deit_b", "base_patch16_384-8de9b5d1", 82.9, 384),
    _weights("deit_ti_distilled", "tiny_distilled_patch16_224-b40b3cf7", 74.5),
    _weights("deit_s_distilled", "small_distilled_patch16_224-649709d9", 81.2),
    _weights("deit_b_distilled", "base_distilled_patch16_224-df68dfff", 83.4),
    _weights("deit_b_distilled", "base_distilled_patch16_384-d0272ac0", 85.2, 384),
)
