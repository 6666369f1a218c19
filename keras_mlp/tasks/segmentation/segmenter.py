"""From the maps of a backbone to the logits of each pixel: what all segmenters share."""

from collections.abc import Callable

import keras
from keras import layers

from keras_mlp.cards import Paper
from keras_mlp.checkpoints import load
from keras_mlp.heads import precise
from keras_mlp.layers import Activation, JoinedConv2D, Resize, batch_norm
from keras_mlp.tasks import backbones, builders

AUXILIARY_HEAD = "head_auxiliary"
"""Name of the classifier of the auxiliary head."""


def conv_unit(x, filters: int, kernel_size: int, name: str, use_bias: bool = False):
    """Convolution, batch norm, ReLU: the unit of mmsegmentation's heads.

    Args:
        x: map `(batch, height, width, channels)`; or a list of maps, which are joined at the size of the first.
        filters: channels of the result.
        kernel_size: side of the window, odd; zeros around the map keep its size.
        name: prefix of the layers' names.
        use_bias: whether the convolution has a bias.
    """
    conv = dict(data_format="channels_last", padding="same", use_bias=use_bias, kernel_initializer="he_normal")
    kind = JoinedConv2D if isinstance(x, list) else layers.Conv2D
    x = kind(filters, kernel_size, **conv, name=name)(x)
    return Activation("relu", name=f"{name}_act")(batch_norm(f"{name}_norm")(x))


def classify_positions(
    x, classes: int, dropout_rate: float = 0.0, name: str = load.HEAD, kernel_size: int = 1, use_bias: bool = True
):
    """Dropout of whole channels, then a linear layer for each position, at least in float32: `(…, classes)`."""
    dtype = precise()
    if dropout_rate:
        x = layers.SpatialDropout2D(dropout_rate, data_format="channels_last", name=f"{name}_drop")(x)
    start = keras.initializers.RandomNormal(stddev=0.01)
    conv = dict(data_format="channels_last", padding="same", use_bias=use_bias, kernel_initializer=start, dtype=dtype)
    return layers.Conv2D(classes, kernel_size, **conv, name=name)(x)


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


def on_levels(backbone, head: Callable, classes, auxiliary, auxiliary_channels, dropout_rate, level_norm):
    """The logits of a head on the maps of a backbone.

    Args:
        backbone: see `backbones.levels`.
        head: `[maps, finest first] -> map`, what comes before the classifier.
        classes: number of classes.
        auxiliary: whether there is an auxiliary head, on the last map but one.
        auxiliary_channels: width of the auxiliary head.
        dropout_rate: before both classifiers.
        level_norm: see `backbones.levels`.

    Returns:
        `{"logits": map}`, and with an auxiliary head "auxiliary".
    """
    maps = list(backbones.levels(backbone, level_norm).values())
    outputs = {"logits": classify_positions(head(maps), classes, dropout_rate)}
    if auxiliary:
        outputs["auxiliary"] = auxiliary_head(maps[-2], classes, auxiliary_channels, dropout_rate=dropout_rate)
    return outputs


def _shared():
    """The arguments that segmenters share, beside those of all tasks.

    Args:
        classes: number of classes, at least 2.
        auxiliary: whether the model has further outputs for training, of heads on earlier maps.
        dropout_rate: dropout before the classifiers.
    """


_RETURNS = """Returns:
    A functional `keras.Model` from the backbone's input to logits `(batch, height, width, classes)` at the images'
    size. With `auxiliary` it gives a dictionary, in which the decoder's logits are called "logits".

Raises:
    ValueError: an argument is wrong, or the weights do not fit; the message says what is allowed."""


def builder(paper: Paper, name: str) -> Callable:
    """Decorator: make a public builder of segmenters out of what makes the logits, see `builders.builder`.

    The decorated function gives `{"logits": map, "auxiliary…": map, …}`, maps of any size.

    Args:
        paper: where the decoder was published.
        name: name of its models by default.
    """
    return builders.builder(paper, name, documents=(_shared,), returns=_RETURNS, finish=_at_size, least=2)


def _at_size(image, outputs, name) -> keras.Model:
    """The model whose logits are at the size of the image."""
    outputs = {
        key: Resize(dtype=precise(), name=key.replace("logits", "resized"))([logits, image])
        for key, logits in outputs.items()
    }
    return keras.Model(image, outputs if len(outputs) > 1 else outputs["logits"], name=name)
