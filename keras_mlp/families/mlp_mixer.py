"""MLP-Mixer: an image as a table of tokens and channels, mixed by two MLPs in turn.

One MLP runs along the tokens, the same for every channel (token mixing). The other runs along the channels, the same
for every token (channel mixing). Each has a layer norm before it and a residual connection around it. There is no
position embedding. The token MLP has weights for every position, which ties a model to its grid.

The authors trained with the tanh form of GELU. PyTorch's copies of their weights run with the exact form. A model here
has the form of the checkpoint that is loaded.
"""

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet, timm_hub
from keras_mlp.family import Family
from keras_mlp.layers import TOKEN_NORMS, PatchEmbedding, TokenMLP, channel_mlp, norm_named, residual

__all__ = [
    "MLPMixer",
    "MLPMixerS32",
    "MLPMixerS16",
    "MLPMixerB32",
    "MLPMixerB16",
    "MLPMixerL32",
    "MLPMixerL16",
    "MLPMixerH14",
]

_INCEPTION = Preprocessing(
    mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop_pct=1.0, interpolation="bilinear", squash=True
)

family = Family(
    "mlp_mixer",
    title="MLP-Mixer",
    paper=Paper(
        "MLP-Mixer: An all-MLP Architecture for Vision", "Tolstikhin et al.", 2021, "https://arxiv.org/abs/2105.01601"
    ),
    preprocessing=_INCEPTION,
    recipe=Recipe(
        source="big_vision configs/mlp_mixer_i1k.py (Mixer-B/16 on ImageNet-1k)",
        optimizer="adam",
        learning_rate=1e-3,
        batch_size=4096,
        epochs=300,
        warmup_steps=10_000,
        schedule="linear",
        final_learning_rate=1e-5,
        weight_decay=0.1,
        loss="sigmoid",
        label_smoothing=0.0,
        mixup=0.5,
        rand_augment=(2, 15),
        random_resized_crop=(0.05, 1.0),
        drop_path_rate=0.1,
        gradient_clip_norm=1.0,
    ),
)


def mixer_block(
    x, token_dim, channel_dim, activation, drop_path_rate, dropout_rate, name, norm=TOKEN_NORMS["layer"], gated=False
):
    """Equation 1: token mixing, then channel mixing, each on the normalised input and added to it."""
    linear = dict(kernel_initializer="lecun_normal")
    y = norm(f"{name}_norm1")(x)
    y = TokenMLP(token_dim, activation, dropout_rate, gated=gated, **linear, name=f"{name}_token_mixing")(y)
    x = residual(x, y, drop_path_rate, name, 1)
    y = norm(f"{name}_norm2")(x)
    y = channel_mlp(y, channel_dim, activation, f"{name}_channel_mixing", dropout_rate, gated, **linear)
    return residual(x, y, drop_path_rate, name, 2)


@family.token_mixing
def _mixing(x):
    """The hidden layer is half as wide as the tokens, as in all published models."""
    return TokenMLP(x.shape[-1] // 2)(x)


@family.builder
def MLPMixer(
    x,
    patch_size=16,
    dim=768,
    depth=12,
    token_dim=None,
    channel_dim=None,
    stem_norm=False,
    gated=False,
    norm="layer",
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """MLP-Mixer of any size.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`; the image's height and width must be multiples of it.
        dim: width of the tokens, C in the paper.
        depth: number of blocks.
        token_dim: hidden width of token mixing, D_S. By default `dim / 2`, as in all published models.
        channel_dim: hidden width of channel mixing, D_C. By default `4 dim`, as in all published models.
        stem_norm: whether a norm follows the patch embedding (as timm's `stem_norm`; no published model has it).
        gated: whether the MLPs' hidden layers are gated linear units, so that one half, after the activation, multiplies
            the other (timm's `GluMlp`). `token_dim` and `channel_dim` count both halves and are even.
        norm: "layer", "affine" for a scale and a shift of each channel, or a function that makes a layer of its name
            (timm's `norm_layer`; published models have the first).
        activation: of the MLPs. By default the form of GELU that the checkpoint was made for, without
            one the exact form: "gelu" (exact) or "gelu_tanh" override it.
        drop_path_rate: stochastic depth, the same for both branches of all blocks.
        dropout_rate: dropout after each linear layer of the MLPs.
    """
    norm = norm_named(TOKEN_NORMS, norm)
    x = PatchEmbedding(dim, patch_size, kernel_initializer="lecun_normal", name="stem")(x)
    if stem_norm:
        x = norm("stem_norm")(x)
    for i in range(depth):
        x = mixer_block(
            x,
            token_dim or dim // 2,
            channel_dim or 4 * dim,
            activation or "gelu",
            drop_path_rate,
            dropout_rate,
            name=f"blocks_{i}",
            norm=norm,
            gated=gated,
        )
    return norm("norm")(x)


# Table 1 of the paper.
_SOURCE = "tables 2 and 3 of the paper; of JFT-300M, where they lack it, the list of keras_cv_attention_models"
_IMAGENET, _IMAGENET21K, _JFT = "ImageNet-1k", "ImageNet-21k", "JFT-300M"

MLPMixerS32 = family.variant(
    "MLPMixerS32", "mlp_mixer_s32", title="Mixer-S/32", patch_size=32, dim=512, depth=8,
    parameters=19_104_624, macs=1_002_426_368, scores=imagenet({_JFT: 68.70}, _SOURCE),
)  # fmt: skip
MLPMixerS16 = family.variant(
    "MLPMixerS16", "mlp_mixer_s16", title="Mixer-S/16", patch_size=16, dim=512, depth=8,
    parameters=18_528_264, macs=3_776_958_464, scores=imagenet({_JFT: 73.83}, _SOURCE),
)  # fmt: skip
MLPMixerB32 = family.variant(
    "MLPMixerB32", "mlp_mixer_b32", title="Mixer-B/32", patch_size=32, dim=768, depth=12,
    parameters=60_293_428, macs=3_237_722_112, scores=imagenet({_JFT: 75.53}, _SOURCE),
)  # fmt: skip
MLPMixerB16 = family.variant(
    "MLPMixerB16", "mlp_mixer_b16", title="Mixer-B/16", patch_size=16, dim=768, depth=12,
    parameters=59_880_472, macs=12_601_767_936,
    scores=imagenet({_IMAGENET: 76.44, _IMAGENET21K: 80.64, _JFT: 80.00}, _SOURCE),
)  # fmt: skip
MLPMixerL32 = family.variant(
    "MLPMixerL32", "mlp_mixer_l32", title="Mixer-L/32", patch_size=32, dim=1024, depth=24,
    parameters=206_939_264, macs=11_253_293_056, scores=imagenet({_JFT: 80.67}, _SOURCE),
)  # fmt: skip
MLPMixerL16 = family.variant(
    "MLPMixerL16", "mlp_mixer_l16", title="Mixer-L/16", patch_size=16, dim=1024, depth=24,
    parameters=208_196_168, macs=44_547_678_208,
    scores=imagenet({_IMAGENET: 71.76, _IMAGENET21K: 82.89, _JFT: 84.82}, _SOURCE),
)  # fmt: skip
MLPMixerH14 = family.variant(
    "MLPMixerH14", "mlp_mixer_h14", title="Mixer-H/14", patch_size=14, dim=1280, depth=32,
    parameters=432_350_952, macs=120_989_911_040, scores=imagenet({_JFT: 86.32}, _SOURCE),
)  # fmt: skip


family.layout(
    "flax",
    convention="flax",
    activation="gelu_tanh",
    names=(
        ("stem", "stem"),
        ("MixerBlock_{}/LayerNorm_0", "blocks_{}_norm1"),
        ("MixerBlock_{}/LayerNorm_1", "blocks_{}_norm2"),
        ("MixerBlock_{}/token_mixing/Dense_0", "blocks_{}_token_mixing/fc1"),
        ("MixerBlock_{}/token_mixing/Dense_1", "blocks_{}_token_mixing/fc2"),
        ("MixerBlock_{}/channel_mixing/Dense_0", "blocks_{}_channel_mixing_fc1"),
        ("MixerBlock_{}/channel_mixing/Dense_1", "blocks_{}_channel_mixing_fc2"),
        ("pre_head_layer_norm", "norm"),
        ("head", "head"),
    ),
)
family.layout(
    "timm",
    convention="torch",
    names=(
        ("stem.proj", "stem"),
        ("stem.norm", "stem_norm"),
        ("stem.norm.alpha", "stem_norm/alpha"),
        ("stem.norm.beta", "stem_norm/beta"),
        ("blocks.{}.norm{}", "blocks_{}_norm{}"),
        ("blocks.{}.norm{}.alpha", "blocks_{}_norm{}/alpha"),
        ("blocks.{}.norm{}.beta", "blocks_{}_norm{}/beta"),
        ("blocks.{}.mlp_tokens.fc{}", "blocks_{}_token_mixing/fc{}"),
        ("blocks.{}.mlp_channels.fc{}", "blocks_{}_channel_mixing_fc{}"),
        ("norm", "norm"),
        ("norm.alpha", "norm/alpha"),
        ("norm.beta", "norm/beta"),
        ("head", "head"),
    ),
)


def _google(model, folder, file, tag, data, classes=1000, top1=None, note=""):
    """One of the authors' own files, from the bucket that google-research/vision_transformer and big_vision name."""
    return Weights(
        model, tag, f"https://storage.googleapis.com/mixer_models/{folder}/{file}.npz", "npz", "flax", data, classes,
        "Apache-2.0", preprocessing=_INCEPTION, scores=imagenet(top1, "the authors"), note=note,
    )  # fmt: skip


def _timm(model, release, file, tag, data, classes, publisher, preprocessing, top1=None, note=""):
    """One of the PyTorch copies that timm releases; the name ends in the first digits of the file's sha256."""
    return Weights(
        model, tag, f"https://github.com/rwightman/pytorch-image-models/releases/download/{release}/{file}.pth", "pth",
        "timm", data, classes, "Apache-2.0", publisher, preprocessing,
        scores=imagenet(top1, "timm"), sha256=file[-8:], note=note,
    )  # fmt: skip


_COPY = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop_pct=0.875, interpolation="bicubic")
_MIIL = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), crop_pct=0.875, interpolation="bilinear")
_HUB = dict(preprocessing=_COPY)
_MIIL_HUB = dict(publisher="Alibaba-MIIL", preprocessing=_MIIL)
_SAM, _GSAM = "ImageNet-1k with SAM", "ImageNet-1k with GSAM"
_LIKE_1K = "timm calls it ImageNet-21k then 1k; its accuracy is that of the ImageNet-1k file."
_FINE_TUNED = "The paper's weights fine-tuned from it on ImageNet-1k are not published."

family.publish(
    _google("mlp_mixer_b16", "imagenet1k", "Mixer-B_16", "imagenet1k", "ImageNet-1k", top1=76.44),
    _google("mlp_mixer_b16", "sam", "Mixer-B_16", "imagenet_sam", _SAM, top1=77.36),
    _google("mlp_mixer_b16", "gsam", "Mixer-B_16", "imagenet_gsam", _GSAM),
    _google("mlp_mixer_b16", "imagenet21k", "Mixer-B_16", "imagenet21k", "ImageNet-21k", 21843, note=_FINE_TUNED),
    _timm("mlp_mixer_b16", "v0.1-vitjx", "jx_mixer_b16_224-76587d61", "imagenet_timm", "ImageNet-1k", 1000, "timm", _COPY, 76.616, _LIKE_1K),
    _timm("mlp_mixer_b16", "v0.1-vitjx", "jx_mixer_b16_224_in21k-617b3de2", "imagenet21k_timm", "ImageNet-21k", 21843, "timm", _COPY),
    _timm("mlp_mixer_b16", "v0.1-tresnet", "mixer_b16_224_miil-9229a591", "imagenet_miil", "ImageNet-21k-P, then ImageNet-1k", 1000, "Alibaba-MIIL", _MIIL, 82.314),
    _timm("mlp_mixer_b16", "v0.1-tresnet", "mixer_b16_224_miil_in21k-2a558a71", "imagenet21k_miil", "ImageNet-21k-P", 11221, "Alibaba-MIIL", _MIIL),
    timm_hub("mlp_mixer_b16", "imagenet_timm_hf", "mixer_b16_224.goog_in21k_ft_in1k", "ImageNet-1k", 76.616, note=_LIKE_1K, **_HUB),
    timm_hub("mlp_mixer_b16", "imagenet21k_timm_hf", "mixer_b16_224.goog_in21k", "ImageNet-21k", classes=21843, **_HUB),
    timm_hub("mlp_mixer_b16", "imagenet_miil_hf", "mixer_b16_224.miil_in21k_ft_in1k", "ImageNet-21k-P, then ImageNet-1k", 82.314, **_MIIL_HUB),
    timm_hub("mlp_mixer_b16", "imagenet21k_miil_hf", "mixer_b16_224.miil_in21k", "ImageNet-21k-P", classes=11221, **_MIIL_HUB),
    _google("mlp_mixer_b32", "sam", "Mixer-B_32", "imagenet_sam", _SAM, top1=72.47),
    _google("mlp_mixer_b32", "gsam", "Mixer-B_32", "imagenet_gsam", _GSAM),
    _google("mlp_mixer_l16", "imagenet1k", "Mixer-L_16", "imagenet1k", "ImageNet-1k", top1=71.76),
    _google("mlp_mixer_l16", "imagenet21k", "Mixer-L_16", "imagenet21k", "ImageNet-21k", 21843, note=_FINE_TUNED),
    _timm("mlp_mixer_l16", "v0.1-vitjx", "jx_mixer_l16_224-92f9adc4", "imagenet_timm", "ImageNet-1k", 1000, "timm", _COPY, 72.084, _LIKE_1K),
    _timm("mlp_mixer_l16", "v0.1-vitjx", "jx_mixer_l16_224_in21k-846aa33c", "imagenet21k_timm", "ImageNet-21k", 21843, "timm", _COPY),
    timm_hub("mlp_mixer_l16", "imagenet_timm_hf", "mixer_l16_224.goog_in21k_ft_in1k", "ImageNet-1k", 72.084, note=_LIKE_1K, **_HUB),
    timm_hub("mlp_mixer_l16", "imagenet21k_timm_hf", "mixer_l16_224.goog_in21k", "ImageNet-21k", classes=21843, **_HUB),
    _google("mlp_mixer_s16", "gsam", "Mixer-S_16", "imagenet_gsam", _GSAM),
    _google("mlp_mixer_s32", "gsam", "Mixer-S_32", "imagenet_gsam", _GSAM),
)  # fmt: skip
