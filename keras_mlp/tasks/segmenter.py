"""From the maps of a backbone to the logits of each pixel: what all segmenters share."""

from collections.abc import Callable

import keras
from keras import layers

from keras_mlp.checkpoints import load
from keras_mlp.heads import precise
from keras_mlp.layers import Activation, Resize, batch_norm, precision
from keras_mlp.tasks import backbones

AUXILIARY_HEAD = "head_auxiliary"
"""Name of the classifier of the auxiliary head."""


def conv_unit(x, filters: int, kernel_size: int, name: str):
    """Convolution without a bias, batch norm, ReLU: the unit of mmsegmentation's heads.

    Args:
        x: map `(batch, height, width, channels)`.
        filters: channels of the result.
        kernel_size: side of the window, odd; zeros around the map keep its size.
        name: prefix of the layers' names.
    """
    last = dict(data_format="channels_last", padding="same", use_bias=False, kernel_initializer="he_normal")
    x = layers.Conv2D(filters, kernel_size, **last, name=name)(x)
    return Activation("relu", name=f"{name}_act")(batch_norm(f"{name}_norm")(x))


def classify_positions(x, classes: int, dropout_rate: float, name: str = load.HEAD):
    """Dropout of whole channels, then a linear layer for each position, at least in float32: `(…, classes)`."""
    dtype = precise()
    if dropout_rate:
        x = layers.SpatialDropout2D(dropout_rate, data_format="channels_last", name=f"{name}_drop")(x)
    start = keras.initializers.RandomNormal(stddev=0.01)
    last = dict(data_format="channels_last", kernel_initializer=start, dtype=dtype)
    return layers.Conv2D(classes, 1, **last, name=name)(x)


def auxiliary_head(x, classes: int, channels: int = 256, convolutions: int = 1, dropout_rate: float = 0.1):
    """A small head on one map, whose loss helps the backbone to learn and which inference leaves out (FCN).

    Args:
        x: map `(batch, height, width, channels)`.
        classes: number of classes.
        channels: width of its convolutions.
        convolutions: number of 3 x 3 convolutions.
        dropout_rate: dropout before the classifier.

    Returns:
        Logits `(batch, height, width, classes)` at the size of `x`.

    Source: Long et al. 2015, https://arxiv.org/abs/1411.4038, in the form of mmsegmentation's `FCNHead`.
    """
    for i in range(convolutions):
        x = conv_unit(x, channels, 3, f"auxiliary_{i}")
    return classify_positions(x, classes, dropout_rate, AUXILIARY_HEAD)


def build(
    backbone: keras.Model,
    head: Callable,
    classes: int,
    *,
    auxiliary: bool,
    auxiliary_channels: int,
    dropout_rate: float,
    level_norm,
    weights,
    new_head: bool,
    name: str,
) -> keras.Model:
    """A segmenter.

    Args:
        backbone: see `backbones.levels`.
        head: `[maps, finest first] -> map`, what comes before the classifier.
        classes: number of classes.
        auxiliary: whether the model has a second output, of an auxiliary head on the last map but one.
        auxiliary_channels: width of the auxiliary head.
        dropout_rate: before both classifiers.
        level_norm: see `backbones.levels`.
        weights: path of a checkpoint, or `None`.
        new_head: whether the classifiers start fresh.
        name: name of the model.

    Returns:
        A functional model of the backbone's input to logits `(batch, height, width, classes)` at the images' size, with
        `auxiliary` to `{"logits": …, "auxiliary": …}`.

    Raises:
        ValueError: an argument is wrong, or the weights do not fit.
    """
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 2:
        raise ValueError(f"`classes` must be an integer of at least 2. Received: classes={classes!r}")
    if weights is not None and not load.is_file(weights):
        raise ValueError(f"`weights` must be None or the path of a checkpoint file. Received: weights={weights!r}")
    with precision.policy(backbones.policy_of(backbone)):
        maps = backbones.levels(backbone, level_norm)
        if len(maps) < 2:
            works = "AS-MLP, CycleMLP, Hire-MLP, MorphMLP, Wave-MLP, ConvNeXt and the other families in stages"
            raise ValueError(
                f"A segmenter needs a backbone of several levels, such as {works}. {backbone.name} has the one level "
                f"{', '.join(maps)}."
            )
        maps = list(maps.values())
        image = backbone.inputs[0]
        logits = classify_positions(head(maps), classes, dropout_rate)
        outputs = _at_size_of(image, logits, "resized")
        if auxiliary:
            second = auxiliary_head(maps[-2], classes, auxiliary_channels, dropout_rate=dropout_rate)
            outputs = {"logits": outputs, "auxiliary": _at_size_of(image, second, "auxiliary_resized")}
    model = keras.Model(image, outputs, name=name)
    if weights is not None:
        load.load_checkpoint(model, weights, new_head=new_head)
    return model


def _at_size_of(image, logits, name):
    return Resize(dtype=precise(), name=name)([logits, image])
