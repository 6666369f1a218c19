"""gMLP: blocks of one MLP with a spatial gate in its middle, and nothing else.

The gate applies a linear layer across the tokens to half of the hidden channels, and multiplies the other half by the
result. It begins as a multiplication by one, so that a fresh network mixes no tokens. The paper's authors published
neither code nor weights for images. The weights of S/16 are timm's.
"""

import keras
from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet, timm_hub
from keras_mlp.family import Family
from keras_mlp.layers import TOKEN_NORMS, Dense, PatchEmbedding, activations, norm_named, residual, showing
from keras_mlp.layers.configs import registered
from keras_mlp.layers.grid import GridLayer
from keras_mlp.layers.normalization import LayerNormalization
from keras_mlp.layers.token_mixing import TokenDense

__all__ = ["GMLP", "GMLPTi16", "GMLPS16", "GMLPB16"]

_NEAR_ZERO = initializers.RandomNormal(stddev=1e-6)
_HALF = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop_pct=0.875, interpolation="bicubic")

family = Family(
    "g_mlp",
    title="gMLP",
    paper=Paper("Pay Attention to MLPs", "Liu et al.", 2021, "https://arxiv.org/abs/2105.08050"),
    preprocessing=_HALF,
    recipe=Recipe(
        source="the paper, appendix A, from memory: not checked against a stored copy; its AutoAugment stands here as "
        "RandAugment",
        learning_rate=1e-3,
        batch_size=4096,
        epochs=300,
        warmup_steps=10_000,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 15),
        gradient_clip_norm=1.0,
    ),
)


@registered
class SpatialGatingUnit(GridLayer):
    """Half of the channels, gated by the other half after layer norm and a linear layer across the tokens.

        u, v = the two halves of x;    y = u * (W norm(v) + b)

    Source: Liu et al. 2021 (gMLP), equation 4 and section 2.1.

    Args:
        epsilon: of the layer norm.
        kernel_initializer, bias_initializer: of the linear layer. The defaults begin near `y = u`.

    Input shape: `(batch, height, width, channels)`, all but the batch known, `channels` even.
    Output shape: `(batch, height, width, channels / 2)`.

    Raises:
        ValueError: the number of channels is odd.
    """

    grid_axes = {f"proj/{path}": axes for path, axes in TokenDense.grid_axes.items()}

    def __init__(self, epsilon, kernel_initializer=None, bias_initializer="ones", **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer or keras.initializers.RandomNormal(0, 1e-6))
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape):
        super().build(input_shape)
        if input_shape[-1] % 2:
            raise ValueError(f"The number of channels must be even to be halved. Received: {input_shape[-1]} channels")
        half = self.compute_output_shape(input_shape)
        self.norm = self.sublayer(LayerNormalization, epsilon=self.epsilon, name="norm", input_shape=half)
        initializers = self.kernel_initializer, self.bias_initializer
        self.proj = self.sublayer(TokenDense, *initializers, name="proj", input_shape=half)

    def call(self, x):
        u, v = ops.split(x, 2, axis=-1)
        return u * self.proj(self.norm(v))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // 2)


@showing.weights.answer(SpatialGatingUnit)
def _gate(layer):
    return showing.weights(layer.proj)


def g_mlp_block(x, hidden_dim, norm, activation, drop_path_rate, dropout_rate, name):
    """Section 2: `x + fc2(gate(gelu(fc1(norm(x)))))`."""
    y = norm(f"{name}_norm")(x)
    y = Dense(hidden_dim, activation=activation, bias_initializer=_NEAR_ZERO, name=f"{name}_fc1")(y)
    if dropout_rate:
        y = layers.Dropout(dropout_rate, name=f"{name}_drop1")(y)
    y = SpatialGatingUnit(epsilon=1e-5, name=f"{name}_gate")(y)
    y = Dense(x.shape[-1], bias_initializer=_NEAR_ZERO, name=f"{name}_fc2")(y)
    if dropout_rate:
        y = layers.Dropout(dropout_rate, name=f"{name}_drop2")(y)
    return residual(x, y, drop_path_rate, name)


@family.token_mixing
def _mixing(x):
    """The gate, both of whose halves are the same map."""
    return SpatialGatingUnit(epsilon=1e-5)(ops.concatenate([x, x], axis=-1))


@family.builder
def GMLP(
    x,
    patch_size=16,
    dim=256,
    depth=30,
    hidden_dim=None,
    stem_norm=False,
    norm="layer",
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """gMLP of any size.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`; the image's height and width must be multiples of it.
        dim: width of the tokens.
        depth: number of blocks.
        hidden_dim: width before the gate halves it, even. By default `6 dim`, as in all published models.
        stem_norm: whether a norm follows the patch embedding (as timm's `stem_norm`; no published model has it).
        norm: "layer", "affine" for a scale and a shift of each channel, or a function that makes a layer of its name
            (timm's `norm_layer`; published models have the first). The gates' own is always a layer norm.
        activation: before the gate; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth, the same for all blocks.
        dropout_rate: dropout after the activation and at the end of each block.
    """
    norm = norm_named(TOKEN_NORMS, norm)
    x = PatchEmbedding(dim, patch_size, name="stem")(x)
    if stem_norm:
        x = norm("stem_norm")(x)
    activation = activations.get(activation or "gelu")
    for i in range(depth):
        x = g_mlp_block(x, hidden_dim or 6 * dim, norm, activation, drop_path_rate, dropout_rate, name=f"blocks_{i}")
    return norm("norm")(x)


_SOURCE = "table 1 of the paper"  # of the settings, too; the survival probabilities there are the drop path rates here

GMLPTi16 = family.variant(
    "GMLPTi16", "g_mlp_ti16", title="gMLP-Ti/16", patch_size=16, dim=128, depth=30, drop_path_rate=0.0,
    parameters=5_867_328, macs=1_328_989_184, scores=imagenet(72.3, _SOURCE),
)  # fmt: skip
GMLPS16 = family.variant(
    "GMLPS16", "g_mlp_s16", title="gMLP-S/16", patch_size=16, dim=256, depth=30, drop_path_rate=0.05,
    parameters=19_422_656, macs=4_392_060_928, scores=imagenet(79.6, _SOURCE),
)  # fmt: skip
GMLPB16 = family.variant(
    "GMLPB16", "g_mlp_b16", title="gMLP-B/16", patch_size=16, dim=512, depth=30, drop_path_rate=0.2,
    parameters=73_075_392, macs=15_720_452_096, scores=imagenet(81.6, _SOURCE),
)  # fmt: skip


family.layout(
    "timm",
    convention="torch",
    names=(
        ("stem.proj", "stem"),
        ("stem.norm", "stem_norm"),
        ("stem.norm.alpha", "stem_norm/alpha"),
        ("stem.norm.beta", "stem_norm/beta"),
        ("blocks.{}.norm", "blocks_{}_norm"),
        ("blocks.{}.norm.alpha", "blocks_{}_norm/alpha"),
        ("blocks.{}.norm.beta", "blocks_{}_norm/beta"),
        ("blocks.{}.mlp_channels.fc{}", "blocks_{}_fc{}"),
        ("blocks.{}.mlp_channels.gate.norm", "blocks_{}_gate/norm"),
        ("blocks.{}.mlp_channels.gate.proj", "blocks_{}_gate/proj/fc"),
        ("norm", "norm"),
        ("norm.alpha", "norm/alpha"),
        ("norm.beta", "norm/beta"),
        ("head", "head"),
    ),
)

family.publish(
    Weights(
        "g_mlp_s16", "imagenet_timm",
        "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/gmlp_s16_224_raa-10536d42.pth",
        "pth", "timm", "ImageNet-1k", 1000, "Apache-2.0", publisher="timm", preprocessing=_HALF,
        scores=imagenet(79.652, "timm"), sha256="10536d42",
    ),
    timm_hub("g_mlp_s16", "imagenet_timm_hf", "gmlp_s16_224.ra3_in1k", "ImageNet-1k", 79.652, preprocessing=_HALF),
)  # fmt: skip
