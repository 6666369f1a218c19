"""The four backbones of DynamicViT: two that drop tokens, and two that send positions down a fast path."""

import functools

from keras import initializers, layers

from keras_mlp.families.as_mlp import PatchMerging
from keras_mlp.families.convnext import convnext_block, patches
from keras_mlp.families.deit import START
from keras_mlp.families.dynamic_vit.choices import (
    ChoosePositions,
    InPlace,
    JoinPaths,
    KeepTokens,
    LocalAndGlobal,
    MixStreams,
    PatchTokens,
    PolicyAttention,
    SplitPaths,
)
from keras_mlp.families.swat import StructuredAttention, check_size
from keras_mlp.families.vit import taken_apart, token_sequence, vit_block
from keras_mlp.layers import (
    Activation,
    Dense,
    LayerScale,
    PatchEmbedding,
    SelfAttention,
    batch_norm,
    channel_mlp,
    drop_path_rates,
    gelu,
    layer_norm,
    padded_conv,
    residual,
)
from keras_mlp.layers.sizes import check_known

_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_DENSE = dict(kernel_initializer=_NORMAL)
_HE = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
small_norm = functools.partial(layer_norm, epsilon=1e-6)


def predictor(x, norm, name, policy=None):
    """Scores of the tokens, for "keep" and "drop": MLPs on what is in a token and on what is in all of them."""
    width = x.shape[-1]
    y = Dense(width, activation=gelu, **_DENSE, name=f"{name}_fc1")(norm(f"{name}_norm")(x))
    y = LocalAndGlobal(name=f"{name}_mix")(y if policy is None else [y, policy])
    y = Dense(width // 2, activation=gelu, **_DENSE, name=f"{name}_fc2")(y)
    y = Dense(width // 4, activation=gelu, **_DENSE, name=f"{name}_fc3")(y)
    return Dense(2, **_DENSE, name=f"{name}_fc4")(y)


def lvvit_stem(x, dim):
    """LV-ViT's patches start as three convolutions at half the height and width."""
    for i, (size, stride) in enumerate(((7, 2), (3, 1), (3, 1)), 1):
        conv = dict(use_bias=False, kernel_initializer=_HE.clone())
        x = padded_conv(x, dim, size, stride, size // 2, f"stem_conv{i}", **conv)
        x = Activation("relu", name=f"stem_act{i}")(batch_norm(f"stem_norm{i}")(x))
    return x


def token_network(
    x, kind, patch_size, dim, depth, heads, mlp_ratio, stem_dim, choices, activation, rates, dropout_rate
):
    """DeiT's or LV-ViT's blocks. In front of some, the tokens of the worst scores are laid aside."""
    check_known(x.shape, "DynamicViT's tokens have places on a fixed grid")
    lv = kind == "lvvit"
    norm = layer_norm if lv else small_norm
    if lv:
        x, patch_size = lvvit_stem(x, stem_dim), patch_size // 2
    x, grid = token_sequence(x, patch_size, dim, ("class_token",), dropout_rate, START)
    block = dict(start=START, norm=norm, qkv_bias=not lv, branch_scale=0.5 if lv else 1.0)
    chosen, before, attention = 0, [], SelfAttention
    for i, rate in enumerate(rates):
        if i in choices:
            name = f"predictors_{chosen}"
            tokens = PatchTokens(name=f"{name}_tokens")(x)
            scores = predictor(tokens, layer_norm, name, *before[:1])
            x, *before = KeepTokens(**choices[i], name=f"{name}_choice")([x, scores, grid, *before])
            chosen, attention = chosen + 1, _seeing(before[0])
        x = vit_block(x, heads, mlp_ratio, activation, rate, dropout_rate, f"blocks_{i}", attention=attention, **block)
    if not before:
        x = norm("norm")(x)
        features = taken_apart(x, ("class_token",), grid)
        return features | ({"kept": PatchTokens(name="kept")(x)} if lv else {})
    _, places, aside = before
    every = layers.Concatenate(axis=1, name="norm_all")([x, aside])
    every = norm("norm")(every)
    map_, token, kept = InPlace(name="map")([every, places, grid, x])
    return {"map": map_, "class_token": token} | ({"kept": kept} if lv else {})


def _seeing(policy):
    """`PolicyAttention` with its mask, in place of `SelfAttention`."""
    return lambda *args, **kwargs: lambda x: PolicyAttention(*args, **kwargs)([x, policy])


def fast_path(x, norm, layer_scale, name):
    """What positions that matter little get in place of an MLP: one linear layer."""
    x = Dense(x.shape[-1], **_DENSE, name=f"{name}_fast")(norm(f"{name}_fast_norm")(x))
    return LayerScale(layer_scale, name=f"{name}_fast_scale")(x) if layer_scale else x


class Paths:
    """The two streams of the third stage and what was chosen last, while the network is made.

    Args:
        x: the map that the stage begins with, or the block of the first choice.
    """

    def __init__(self, x):
        self.slow = self.fast = x
        self.ratio, self.chosen, self.number = None, None, 0

    def mixed(self, name):
        if self.chosen is None:
            return self.slow
        return MixStreams(name=f"{name}_mix")([self.slow, self.fast, self.chosen[2]])

    def choose(self, choice, norm):
        """Score all positions anew, and send the best ones down the slow path."""
        name = f"predictors_{self.number}"
        scores = predictor(self.mixed(f"{name}_streams"), norm, name)
        self.chosen = ChoosePositions(**choice, name=f"{name}_choice")(scores)
        self.ratio, self.number = choice["ratio"], self.number + 1

    def apart(self, x, slow, fast, name):
        """`slow` and `fast` of the positions of `x`, back as maps: one for each stream."""
        parts = SplitPaths(self.ratio, name=f"{name}_split")([x, self.slow, self.fast, *self.chosen])
        return JoinPaths(name=f"{name}_join")([slow(parts[0]), fast(parts[1]), *self.chosen, x])


def convnext_network(x, patch_size, dims, depths, layer_scale, choices, activation, drop_path_rate, dropout_rate):
    """ConvNeXt. In the third stage the MLP is for the positions of the best scores."""

    def block(paths, rate, name):
        x = paths.mixed(name)
        conv = layers.DepthwiseConv2D(
            7, padding="same", depthwise_initializer=_NORMAL.clone(), name=f"{name}_token_mixing"
        )

        def slow(y):
            y = small_norm(f"{name}_norm")(y)
            y = channel_mlp(y, 4 * y.shape[-1], activation, f"{name}_channel_mixing", dropout_rate, **_DENSE)
            return LayerScale(layer_scale, name=f"{name}_scale")(y) if layer_scale else y

        y1, y2 = paths.apart(conv(x), slow, lambda y: fast_path(y, small_norm, layer_scale, name), name)
        paths.slow = residual(paths.slow, y1, rate, name, 1)
        paths.fast = residual(paths.fast, y2, rate, name, 2)

    for stage, (dim, rates) in enumerate(zip(dims, drop_path_rates(drop_path_rate, depths), strict=True)):
        if stage == 0:
            x = small_norm("stem_norm")(patches(x, dim, patch_size, "stem"))
        else:
            x = patches(small_norm(f"down_{stage}_norm")(x), dim, 2, f"down_{stage}")
        paths = None
        for i, rate in enumerate(rates):
            name = f"stages_{stage}_{i}"
            if stage == 2 and i in choices:
                paths = paths or Paths(x)
                paths.choose(choices[i], small_norm)
            if paths is None:
                x = convnext_block(x, layer_scale, activation, rate, dropout_rate, name)
            else:
                block(paths, rate, name)
        x = x if paths is None else paths.mixed(f"stages_{stage}_{i}_end")
    return {"map": x, "norm": small_norm}


def swin_network(
    x, patch_size, dims, depths, heads, mlp_ratio, window, choices, activation, drop_path_rate, dropout_rate
):
    """Swin Transformer. In the third stage the MLP is for the positions of the best scores."""
    check_known(x.shape, "Swin's windows have a fixed number of positions")
    check_size(x.shape[1:3], patch_size, len(depths), window)

    def attended(x, stage, i, rate, name):
        side = min(window, *x.shape[1:3])
        shifted = i % 2 == 1 and min(x.shape[1:3]) > window
        y = StructuredAttention(
            heads[stage], window=side, shift=side // 2 * shifted, name=f"{name}_attention"
        )(layer_norm(f"{name}_norm1")(x))  # fmt: skip
        if dropout_rate:
            y = layers.Dropout(dropout_rate, name=f"{name}_attention_drop")(y)
        return residual(x, y, rate, name, 1)

    def mlp(y, name):
        hidden = int(mlp_ratio * y.shape[-1])
        y = layer_norm(f"{name}_norm2")(y)
        return channel_mlp(y, hidden, activation, f"{name}_channel_mixing", dropout_rate, **_DENSE)

    def block(paths, stage, i, rate, name):
        x = attended(paths.mixed(name), stage, i, rate, name)
        y1, y2 = paths.apart(x, lambda y: mlp(y, name), lambda y: fast_path(y, layer_norm, None, name), name)
        paths.slow, paths.fast = residual(x, y1, rate, name, 2), residual(x, y2, rate, name, 3)

    x = layer_norm("stem_norm")(PatchEmbedding(dims[0], patch_size, name="stem")(x))
    if dropout_rate:
        x = layers.Dropout(dropout_rate, name="stem_drop")(x)
    for stage, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
        if stage:
            name = f"down_{stage - 1}"
            x = layer_norm(f"{name}_norm")(PatchMerging(name=f"{name}_merge")(x))
            x = Dense(dims[stage], use_bias=False, **_DENSE, name=name)(x)
        paths = None
        for i, rate in enumerate(rates):
            name = f"stages_{stage}_{i}"
            if stage == 2 and i in choices:
                paths = paths or Paths(x)
                paths.choose(choices[i], layer_norm)
            if paths is None:
                x = attended(x, stage, i, rate, name)
                x = residual(x, mlp(x, name), rate, name, 2)
            else:
                block(paths, stage, i, rate, name)
        x = x if paths is None else paths.mixed(f"stages_{stage}_{i}_end")
    return {"map": layer_norm("norm")(x)}
