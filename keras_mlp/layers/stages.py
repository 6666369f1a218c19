"""What hierarchical families have in common: blocks of two residual branches, stages, convolutional patches."""

import keras

from keras_mlp.layers import initializers
from keras_mlp.layers.channel_mixing import channel_mlp
from keras_mlp.layers.residual import drop_path_rates, residual
from keras_mlp.layers.scaling import LayerScale


def padded_conv(x, filters, kernel_size, strides, padding, name, **conv):
    """Convolution with `padding` zeros on all sides, as the layers NAME_pad and NAME.

    Keras' "same" puts an odd number of zeros on the other side than PyTorch does, whose models are read here.

    Args:
        x: map `(batch, height, width, channels)`, or of a video `(batch, frames, height, width, channels)`.
        filters, kernel_size, strides: of the convolution.
        padding: number of zeros on each side, one for all or one for each axis.
        name: name of the convolution.
        **conv: its further arguments, such as initialisers.

    Returns:
        A map `(batch, (height + 2 * padding - kernel_size) // strides + 1, …, filters)`.
    """
    last = dict(data_format="channels_last")
    axes = len(x.shape) - 2
    pad, convolution = getattr(keras.layers, f"ZeroPadding{axes}D"), getattr(keras.layers, f"Conv{axes}D")
    x = pad(padding, **last, name=f"{name}_pad")(x)
    return convolution(filters, kernel_size, strides, **last, name=name, **conv)(x)


def overlapping_patches(x, dim, patch_size, name, **conv):
    """Patches that reach into their neighbours: windows of 7 pixels at every fourth, or of 3 at every second.

    Args:
        x: images `(batch, height, width, channels)`.
        dim: width of the embedding.
        patch_size: distance of the patches in pixels, even; they are `2 * patch_size - 1` wide.
        name: name of the convolution.
        **conv: its further arguments, such as initialisers.

    Returns:
        A map of about `1 / patch_size` of the height and width: see `padded_conv`.
    """
    return padded_conv(x, dim, 2 * patch_size - 1, patch_size, patch_size // 2, name, **conv)


def whole_patches(x, dim, patch_size, name, **conv):
    """Linear projection of patches that do not overlap, from the top left; what does not fill one is left out.

    `PatchEmbedding` refuses images that are no multiple of the patch. This takes them, as PyTorch's convolution does.

    Args:
        x: images or a map `(batch, height, width, channels)`.
        dim: width of the embedding.
        patch_size: side of a patch, in pixels or positions.
        name: name of the convolution.
        **conv: its further arguments, such as initialisers.

    Returns:
        A map `(batch, height // patch_size, width // patch_size, dim)`.
    """
    conv["kernel_initializer"] = initializers.own(conv.get("kernel_initializer", "glorot_uniform"))
    last = dict(data_format="channels_last")
    return keras.layers.Conv2D(dim, patch_size, patch_size, **last, name=name, **conv)(x)


def mixing_block(
    x,
    token_mixing,
    channel_dim,
    activation,
    norm,
    drop_path_rate,
    dropout_rate,
    name,
    branch_scale=1.0,
    layer_scale=None,
    **dense,
):
    """Token mixing, then channel mixing, each on the normalised input, scaled and added to it.

    Args:
        x: map `(batch, height, width, channels)`.
        token_mixing: the mixing, `(x, name) -> x`.
        channel_dim: hidden width of the channel MLP.
        activation: its activation.
        norm: makes a norm from its name.
        drop_path_rate: stochastic depth of both branches.
        dropout_rate: dropout after each linear layer of the channel MLP.
        name: prefix of the layers' names.
        branch_scale: factor on both branches.
        layer_scale: what the scales of the branches' channels start from; `None` or 0 for no scales. Not
            with a `branch_scale`.
        **dense: further arguments of the channel MLP's layers, such as initialisers.

    Returns:
        A map of the same shape.
    """

    def add(x, y, i):
        if layer_scale:
            y = LayerScale(layer_scale, name=f"{name}_scale{i}")(y)
        if branch_scale != 1:
            y = keras.layers.Rescaling(branch_scale, name=f"{name}_scale{i}")(y)
        return residual(x, y, drop_path_rate, name, i)

    x = add(x, token_mixing(norm(f"{name}_norm1")(x), name=f"{name}_token_mixing"), 1)
    y = channel_mlp(norm(f"{name}_norm2")(x), channel_dim, activation, f"{name}_channel_mixing", dropout_rate, **dense)
    return add(x, y, 2)


def stages(x, blocks, dims, transitions, embed, drop_path_rate):
    """Stages of blocks, and between them layers that halve the size or change the width.

    Stages and what is between them are numbered in one row, as in the checkpoints of ViP's descendants.

    Args:
        x: map `(batch, height, width, dims[0])`.
        blocks: for each stage the list of its blocks, `(x, drop_path_rate, name) -> x`.
        dims: width of each stage.
        transitions: for each stage whether the height and width are halved after it.
        embed: what is between two stages, `(x, dim, stride, name) -> x`; left out where the stride would be 1 and the
            width stays.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.

    Returns:
        The map of the last stage.
    """
    index, rates = 0, drop_path_rates(drop_path_rate, [len(makers) for makers in blocks])
    for stage, makers in enumerate(blocks):
        for i, (make, rate) in enumerate(zip(makers, rates[stage], strict=True)):
            x = make(x, drop_path_rate=rate, name=f"stages_{index}_{i}")
        index += 1
        if stage + 1 < len(blocks) and (transitions[stage] or dims[stage] != dims[stage + 1]):
            x = embed(x, dims[stage + 1], 2 if transitions[stage] else 1, f"down_{index}")
            index += 1
    return x
