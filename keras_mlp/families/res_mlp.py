"""ResMLP: residual blocks of one linear layer across the tokens and an MLP across the channels, without normalisation.

Token mixing is a single matrix, the same for every channel. An affine map of each channel stands where other networks
normalise, and layer scale makes every branch small at first. The paper's main table has a B24/16. Its authors released
a B24/8, with patches of 8 pixels, which is the one here.
"""

from keras import initializers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet, timm_hub
from keras_mlp.family import Family
from keras_mlp.layers import TOKEN_NORMS, LayerScale, PatchEmbedding, TokenDense, channel_mlp, norm_named, residual

__all__ = ["ResMLP", "ResMLP12", "ResMLP24", "ResMLP36", "ResMLPB24"]

_IMAGENET = Preprocessing(crop_pct=0.9, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)

family = Family(
    "res_mlp",
    title="ResMLP",
    paper=Paper(
        "ResMLP: Feedforward networks for image classification with data-efficient training",
        "Touvron et al.",
        2021,
        "https://arxiv.org/abs/2105.03404",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="the paper, section 4.1, from memory: not checked against a stored copy; otherwise DeiT's recipe",
        optimizer="lamb",
        learning_rate=5e-3,
        batch_size=1024,
        epochs=400,
        weight_decay=0.2,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        repeated_augmentation=3,
    ),
)


def res_mlp_block(x, channel_dim, activation, initial_scale, gated, norm, drop_path_rate, dropout_rate, name):
    """Equations 2 and 3: a linear layer across the tokens, then an MLP, each between an affine map and layer scale."""
    linear = dict(kernel_initializer=_NORMAL)
    y = norm(f"{name}_norm1")(x)
    y = TokenDense(**linear, name=f"{name}_token_mixing")(y)
    y = LayerScale(initial_scale, name=f"{name}_scale1")(y)
    x = residual(x, y, drop_path_rate, name, 1)
    y = norm(f"{name}_norm2")(x)
    y = channel_mlp(y, channel_dim, activation, f"{name}_channel_mixing", dropout_rate, gated, **linear)
    y = LayerScale(initial_scale, name=f"{name}_scale2")(y)
    return residual(x, y, drop_path_rate, name, 2)


@family.token_mixing
def _mixing(x):
    """One matrix and a bias."""
    return TokenDense()(x)


@family.builder
def ResMLP(
    x,
    patch_size=16,
    dim=384,
    depth=12,
    channel_dim=None,
    initial_scale=1e-4,
    stem_norm=False,
    gated=False,
    norm="affine",
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """ResMLP of any size.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`; the image's height and width must be multiples of it.
        dim: width of the tokens.
        depth: number of blocks.
        channel_dim: hidden width of the MLP. By default `4 dim`, as in all published models.
        initial_scale: what layer scale starts from; smaller for deeper models.
        stem_norm: whether a norm follows the patch embedding (as timm's `stem_norm`; no published model has it).
        gated: whether the MLP's hidden layer is a gated linear unit, so that one half, after the activation, multiplies
            the other (timm's `GluMlp`; no published model has it). `channel_dim` counts both halves and is even.
        norm: "affine" for a scale and a shift of each channel, as in all published models, "layer" for layer norm, or
            a function that makes a layer of its name (timm's `norm_layer`).
        activation: of the MLP; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth, the same for both branches of all blocks.
        dropout_rate: dropout after each linear layer of the MLP.
    """
    norm = norm_named(TOKEN_NORMS, norm)
    x = PatchEmbedding(dim, patch_size, kernel_initializer=_NORMAL, name="stem")(x)
    if stem_norm:
        x = norm("stem_norm")(x)
    for i in range(depth):
        x = res_mlp_block(
            x,
            channel_dim or 4 * dim,
            activation or "gelu",
            initial_scale,
            gated,
            norm,
            drop_path_rate,
            dropout_rate,
            name=f"blocks_{i}",
        )
    return norm("norm")(x)


_SOURCE = "the README of the authors' repository (facebookresearch/deit)"  # of the settings, too

_1K, _DISTILLED, _22K = "ImageNet-1k", "ImageNet-1k, distilled", "ImageNet-22k, then 1k"

ResMLP12 = family.variant(
    "ResMLP12", "res_mlp_12", title="ResMLP-S12", patch_size=16, dim=384, depth=12, initial_scale=0.1,
    parameters=15_350_872, macs=3_009_739_776, scores=imagenet({_1K: 76.6, _DISTILLED: 77.8}, _SOURCE),
)  # fmt: skip
ResMLP24 = family.variant(
    "ResMLP24", "res_mlp_24", title="ResMLP-S24", patch_size=16, dim=384, depth=24, initial_scale=1e-5,
    parameters=30_020_680, macs=5_961_292_800, scores=imagenet({_1K: 79.4, _DISTILLED: 80.8}, _SOURCE),
)  # fmt: skip
ResMLP36 = family.variant(
    "ResMLP36", "res_mlp_36", title="ResMLP-S36", patch_size=16, dim=384, depth=36, initial_scale=1e-6,
    parameters=44_690_488, macs=8_912_845_824, scores=imagenet({_1K: 79.7, _DISTILLED: 81.1}, _SOURCE),
)  # fmt: skip
ResMLPB24 = family.variant(
    "ResMLPB24", "res_mlp_b24", title="ResMLP-B24/8", patch_size=8, dim=768, depth=24, initial_scale=1e-6,
    parameters=129_138_280, macs=100_230_739_968, scores=imagenet({_1K: 81.0, _DISTILLED: 83.6, _22K: 84.4}, _SOURCE),
)  # fmt: skip


family.layout(
    "facebook",
    convention="torch",
    names=(
        ("patch_embed.proj", "stem"),
        ("blocks.{}.norm{}.alpha", "blocks_{}_norm{}/alpha"),
        ("blocks.{}.norm{}.beta", "blocks_{}_norm{}/beta"),
        ("blocks.{}.attn", "blocks_{}_token_mixing/fc"),
        ("blocks.{}.mlp.fc{}", "blocks_{}_channel_mixing_fc{}"),
        ("blocks.{}.gamma_{}", "blocks_{}_scale{}/gamma"),
        ("norm.alpha", "norm/alpha"),
        ("norm.beta", "norm/beta"),
        ("head", "head"),
    ),
)
family.layout(
    "timm",
    convention="torch",
    names=(
        ("stem.proj", "stem"),
        ("stem.norm", "stem_norm"),
        ("blocks.{}.norm{}", "blocks_{}_norm{}"),
        ("norm", "norm"),
        ("stem.norm.alpha", "stem_norm/alpha"),
        ("stem.norm.beta", "stem_norm/beta"),
        ("blocks.{}.norm{}.alpha", "blocks_{}_norm{}/alpha"),
        ("blocks.{}.norm{}.beta", "blocks_{}_norm{}/beta"),
        ("blocks.{}.linear_tokens", "blocks_{}_token_mixing/fc"),
        ("blocks.{}.mlp_channels.fc{}", "blocks_{}_channel_mixing_fc{}"),
        ("blocks.{}.ls{}", "blocks_{}_scale{}/gamma"),
        ("norm.alpha", "norm/alpha"),
        ("norm.beta", "norm/beta"),
        ("head", "head"),
    ),
)


def _facebook(model, file, tag, data, top1=None, note=""):
    """One of the authors' files, which facebookresearch/deit names."""
    return Weights(
        model, tag, f"https://dl.fbaipublicfiles.com/deit/{file}.pth", "pth", "facebook", data, 1000, "Apache-2.0",
        preprocessing=_IMAGENET, scores=imagenet(top1, _SOURCE), note=note,
    )  # fmt: skip


def _hub(model, name, tag, data, top1=None, note=""):
    """timm's copy of one of them, which timm evaluates on a smaller crop."""
    return timm_hub(model, tag, name, data, top1, preprocessing=Preprocessing(crop_pct=0.875), note=note)


_DINO = "Trained without labels ({} % k-NN accuracy); whether its head is trained is not stated."

family.publish(
    _facebook("res_mlp_12", "resmlp_12_no_dist", "imagenet1k", _1K, 76.6),
    _facebook("res_mlp_12", "resmlp_12_dist", "imagenet_distilled", _DISTILLED, 77.8),
    _facebook("res_mlp_12", "resmlp_12_dino", "imagenet_dino", "ImageNet-1k, DINO", note=_DINO.format(62.6)),
    _facebook("res_mlp_24", "resmlp_24_no_dist", "imagenet1k", _1K, 79.4),
    _facebook("res_mlp_24", "resmlp_24_dist", "imagenet_distilled", _DISTILLED, 80.8),
    _facebook("res_mlp_24", "resmlp_24_dino", "imagenet_dino", "ImageNet-1k, DINO", note=_DINO.format(69.4)),
    _facebook("res_mlp_36", "resmlp_36_no_dist", "imagenet1k", _1K, 79.7),
    _facebook("res_mlp_36", "resmlp_36_dist", "imagenet_distilled", _DISTILLED, 81.1),
    _facebook("res_mlp_b24", "resmlpB_24_no_dist", "imagenet1k", _1K, 81.0),
    _facebook("res_mlp_b24", "resmlpB_24_dist", "imagenet_distilled", _DISTILLED, 83.6),
    _facebook("res_mlp_b24", "resmlpB_24_22k", "imagenet22k_ft_imagenet", _22K, 84.4),
    _hub("res_mlp_12", "resmlp_12_224.fb_in1k", "imagenet_timm_hf", _1K, 76.66),
    _hub("res_mlp_12", "resmlp_12_224.fb_distilled_in1k", "imagenet_distilled_timm_hf", _DISTILLED, 77.948),
    _hub("res_mlp_12", "resmlp_12_224.fb_dino", "imagenet_dino_timm_hf", "ImageNet-1k, DINO", note=_DINO.format(62.6)),
    _hub("res_mlp_24", "resmlp_24_224.fb_in1k", "imagenet_timm_hf", _1K, 79.38),
    _hub("res_mlp_24", "resmlp_24_224.fb_distilled_in1k", "imagenet_distilled_timm_hf", _DISTILLED, 80.766),
    _hub("res_mlp_24", "resmlp_24_224.fb_dino", "imagenet_dino_timm_hf", "ImageNet-1k, DINO", note=_DINO.format(69.4)),
    _hub("res_mlp_36", "resmlp_36_224.fb_in1k", "imagenet_timm_hf", _1K, 79.772),
    _hub("res_mlp_36", "resmlp_36_224.fb_distilled_in1k", "imagenet_distilled_timm_hf", _DISTILLED, 81.15),
    _hub("res_mlp_b24", "resmlp_big_24_224.fb_in1k", "imagenet_timm_hf", _1K, 81.034),
    _hub("res_mlp_b24", "resmlp_big_24_224.fb_distilled_in1k", "imagenet_distilled_timm_hf", _DISTILLED, 83.594),
    _hub("res_mlp_b24", "resmlp_big_24_224.fb_in22k_ft_in1k", "imagenet22k_ft_imagenet_timm_hf", _22K, 84.414),
)
