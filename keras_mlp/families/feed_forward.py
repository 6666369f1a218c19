"""FeedForward: ViT with attention replaced by an MLP over the tokens.

All else stays: the class token, which the head reads, and the position embeddings. A block is an MLP along the channels,
then one along the tokens, class token included, each on the normalised input and added to it. The norm of the second
is over the tokens, one mean and variance a channel. It was made to ask what attention is needed for.

The MLPs along the tokens belong to one grid; for another one they are resampled. The position embeddings are a map of
their own size, which is interpolated to the grid whenever the model runs.
"""

import functools

import keras
from keras import initializers, layers, ops

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.family import Family
from keras_mlp.heads import classify_token
from keras_mlp.layers import (
    LayerNormalization,
    SequenceSplit,
    channel_mlp,
    drop_path_rates,
    layer_norm,
    residual,
    showing,
)
from keras_mlp.layers.activations import get
from keras_mlp.layers.configs import registered
from keras_mlp.layers.patch_embedding import sides
from keras_mlp.layers.resizing import resized
from keras_mlp.layers.sizes import check_known
from keras_mlp.layers.stages import whole_patches
from keras_mlp.layers.token_mixing import AlongTokens, hidden_units

__all__ = ["FeedForward", "FeedForwardTiny", "FeedForwardBase", "FeedForwardLarge"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_UNIFORM = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")  # PyTorch's default, which the patches keep

family = Family(
    "feed_forward",
    title="FeedForward",
    paper=Paper(
        "Do You Even Need Attention? A Stack of Feed-Forward Layers Does Surprisingly Well on ImageNet",
        "Melas-Kyriazi",
        2021,
        "https://arxiv.org/abs/2105.02723",
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="lukemelas/do-you-even-need-attention, README (DeiT's training code, with a dropout of 0.1)",
        learning_rate=1e-3,
        batch_size=1024,
        epochs=300,
        warmup_epochs=5,
        weight_decay=0.05,
        no_weight_decay=("bias", "beta", "gamma", "class_token"),
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        repeated_augmentation=3,
        drop_path_rate=0.1,
        dropout_rate=0.1,
        ema_decay=0.99996,
    ),
    head=classify_token,
)


@registered
class SequenceWithTable(keras.layers.Layer):
    """A map as a sequence of tokens with a class token in front, and embeddings interpolated from a table.

        y = [t + e, x_1 + E_1, …, x_n + E_n]

    `E` is the table at the size of the map, by bilinear interpolation without antialiasing.

    Source: lukemelas/do-you-even-need-attention, `LearnedPositionalEncoding`.

    Args:
        size: `(height, width)` of the table.

    Input shape: `(batch, height, width, channels)`, all but the batch known.
    Output shape: `(batch, 1 + height * width, channels)`.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def build(self, input_shape):
        check_known(input_shape, "FeedForward has weights for each position")
        channels = input_shape[-1]
        for name, shape in (("class_token", ()), ("class_embedding", ()), ("embedding", self.size)):
            setattr(self, name, self.add_weight(name=name, shape=(*shape, channels), initializer=_NORMAL.clone()))
        super().build(input_shape)

    def call(self, x):
        height, width, channels = x.shape[1:]
        table = ops.expand_dims(ops.convert_to_tensor(self.embedding), 0)
        if self.size != (height, width):
            table = resized(table, (height, width))
        x = ops.reshape(x + table, (-1, height * width, channels))
        front = ops.broadcast_to(self.class_token + self.class_embedding, (ops.shape(x)[0], 1, channels))
        return ops.concatenate([front, x], axis=1)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, 1 + height * width, channels)


@registered
class NormedSequenceMLP(AlongTokens):
    """MLP along the tokens of a sequence, after a norm along the tokens; both are shared by all channels.

    With the sequence read as `X` of shape `(N, C)`, one class token and the positions, channel by channel

        Y[:, c] = W2 activation(W1 norm(X[:, c]) + b1) + b2,

    where the norm has a scale and a shift for each token.

    Source: lukemelas/do-you-even-need-attention, `LinearBlock`.

    Args:
        hidden_dim: width of the hidden layer.
        activation: its activation.
        epsilon: of the norm.
        dropout_rate: dropout after the activation and after the second linear layer.
        kernel_initializer, bias_initializer: of both linear layers.

    Input shape: a list of the sequence, `(batch, 1 + height * width, channels)`, and a map of that height and width.
    Output shape: that of the sequence.
    """

    grid_axes = {
        "norm/gamma": ("out",),
        "norm/beta": ("out",),
        "fc1/kernel": ("in", None),
        "fc2/kernel": (None, "out"),
        "fc2/bias": ("out",),
    }
    in_front = 1

    def __init__(
        self,
        hidden_dim,
        activation="gelu",
        epsilon=1e-6,
        dropout_rate=0.0,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(kernel_initializer, bias_initializer, **kwargs)
        self.hidden_dim, self.activation = hidden_dim, get(activation)
        self.epsilon, self.dropout_rate = epsilon, dropout_rate

    def build(self, input_shape):
        super().build(input_shape[1])
        tokens = 1 + self.grid[0] * self.grid[1]
        norm = dict(epsilon=self.epsilon, name="norm", input_shape=(None, None, tokens))
        self.norm = self.sublayer(LayerNormalization, **norm)
        self.fc1 = self._dense("fc1", tokens, self.hidden_dim, self.activation)
        self.fc2 = self._dense("fc2", self.hidden_dim, tokens)
        self.dropout = self.sublayer(layers.Dropout, self.dropout_rate, name="dropout")

    def call(self, inputs, training=None):
        y = self.norm(ops.swapaxes(inputs[0], 1, 2), training=training)
        y = self.dropout(self.fc1(y, training=training), training=training)
        return ops.swapaxes(self.dropout(self.fc2(y), training=training), 1, 2)

    def compute_output_shape(self, input_shape):
        return input_shape[0]


showing.weights.answer(NormedSequenceMLP)(hidden_units)


def feed_forward_block(x, patches, mlp_ratio, token_dim, epsilon, activation, drop_path_rate, dropout_rate, name):
    """The MLP along the channels, then the one along the tokens, each with its norm and added to its input."""
    hidden, linear = int(mlp_ratio * x.shape[-1]), dict(kernel_initializer=_NORMAL)
    y = layer_norm(f"{name}_norm1", epsilon)(x)
    y = channel_mlp(y, hidden, activation, f"{name}_channel_mixing", dropout_rate, **linear)
    x = residual(x, y, drop_path_rate, name, 1)
    mixing = NormedSequenceMLP(token_dim, activation, epsilon, dropout_rate, **linear, name=f"{name}_token_mixing")
    return residual(x, mixing([x, patches]), drop_path_rate, name, 2)


@family.token_mixing
def _mixing(x):
    """The hidden layer is four times as wide as there are tokens; the class token is zero."""
    height, width, channels = x.shape[1:]
    tokens = ops.pad(ops.reshape(x, (-1, height * width, channels)), ((0, 0), (1, 0), (0, 0)))
    y = NormedSequenceMLP(4 * tokens.shape[1])([tokens, x])
    return ops.reshape(y[:, 1:], (-1, height, width, channels))


@family.builder
def FeedForward(
    x,
    patch_size=16,
    dim=192,
    depth=12,
    mlp_ratio=4,
    token_dim=None,
    table_size=(14, 14),
    epsilon=1e-6,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """FeedForward of any size. Without a top it gives the map of the patches' tokens.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`. Pixels at the right and the bottom that do not fill a
            patch are left out.
        dim: width of the tokens.
        depth: number of blocks.
        mlp_ratio: hidden width of the MLPs, in multiples of `dim`, or of the number of tokens.
        token_dim: hidden width of the MLPs along the tokens. By default `mlp_ratio` times the number of tokens of an
            image of 224 pixels a side, whatever the model's own is, as in the reference.
        table_size: height and width of the table of position embeddings.
        epsilon: of all norms.
        activation: of the MLPs; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        dropout_rate: dropout after the position embedding and after each linear layer of the MLPs.
    """
    height, width = sides(patch_size)
    token_dim = token_dim or int(mlp_ratio * (1 + (224 // height) * (224 // width)))
    patches = whole_patches(x, dim, (height, width), "stem", kernel_initializer=_UNIFORM)
    x = SequenceWithTable(table_size, name="position")(patches)
    if dropout_rate:
        x = layers.Dropout(dropout_rate, name="position_drop")(x)
    block = functools.partial(feed_forward_block, patches=patches, mlp_ratio=mlp_ratio, token_dim=token_dim)
    for i, rate in enumerate(drop_path_rates(drop_path_rate, (depth,))[0]):
        settings = dict(epsilon=epsilon, activation=activation or "gelu", dropout_rate=dropout_rate)
        x = block(x, drop_path_rate=rate, name=f"blocks_{i}", **settings)
    positions, token = SequenceSplit(name="map")([layer_norm("norm", epsilon)(x), patches])
    return {"map": positions, "class_token": token}


_SOURCE = "lukemelas/do-you-even-need-attention, README"

FeedForwardTiny = family.variant(
    "FeedForwardTiny", "feed_forward_tiny", title="FF-tiny", patch_size=16, dim=192, depth=12,
    parameters=7_676_332, macs=1_441_592_832, scores=imagenet(61.4, _SOURCE),
)  # fmt: skip
FeedForwardBase = family.variant(
    "FeedForwardBase", "feed_forward_base", title="FF-base", patch_size=16, dim=768, depth=12,
    parameters=61_943_020, macs=14_132_434_944, scores=imagenet(74.9, _SOURCE),
)  # fmt: skip
FeedForwardLarge = family.variant(
    "FeedForwardLarge", "feed_forward_large", title="FF-large", patch_size=32, dim=1024, depth=24,
    parameters=206_363_576, macs=10_713_014_272, scores=imagenet(71.4, _SOURCE),
    note="The weights were never published; the author offers them on request.",
)  # fmt: skip

family.layout(
    "reference",
    convention="torch",
    names=(
        ("patch_embed.proj", "stem"),
        ("cls_token", "position/class_token", lambda token: token[0, 0]),
        ("pos_encoding.cls_pos_embed", "position/class_embedding", lambda embedding: embedding[0, 0]),
        ("pos_encoding.pos_embed", "position/embedding", lambda table: table[0].transpose(1, 2, 0)),
        ("blocks.{}.norm1", "blocks_{}_norm1"),
        ("blocks.{}.mlp1.fc{}", "blocks_{}_channel_mixing_fc{}"),
        ("blocks.{}.norm2", "blocks_{}_token_mixing/norm"),
        ("blocks.{}.mlp2.fc{}", "blocks_{}_token_mixing/fc{}"),
        ("norm", "norm"),
        ("head", "head"),
    ),
)


def _weights(size, top1):
    """One of the author's files."""
    url = "https://github.com/lukemelas/do-you-even-need-attention/releases/download/v0.0.1/linear"
    return Weights(
        f"feed_forward_{size}", "imagenet1k", f"{url}-{size}-checkpoint.pth", "pth", "reference", "ImageNet-1k", 1000,
        "none stated", preprocessing=_IMAGENET, scores=imagenet(top1, _SOURCE),
    )  # fmt: skip


family.publish(_weights("tiny", 61.4), _weights("base", 74.9))
