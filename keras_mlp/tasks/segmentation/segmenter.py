"""From the maps of a backbone to the logits of each pixel: what all segmenters share."""

import inspect
from collections.abc import Callable

import keras
from keras import layers

from keras_mlp import arguments, documentation
from keras_mlp.cards import Paper
from keras_mlp.checkpoints import load
from keras_mlp.heads import precise
from keras_mlp.layers import Activation, Resize, batch_norm, precision
from keras_mlp.tasks import backbones

AUXILIARY_HEAD = "head_auxiliary"
"""Name of the classifier of the auxiliary head."""


def conv_unit(x, filters: int, kernel_size: int, name: str, use_bias: bool = False):
    """Convolution, batch norm, ReLU: the unit of mmsegmentation's heads.

    Args:
        x: map `(batch, height, width, channels)`.
        filters: channels of the result.
        kernel_size: side of the window, odd; zeros around the map keep its size.
        name: prefix of the layers' names.
        use_bias: whether the convolution has a bias.
    """
    conv = dict(data_format="channels_last", padding="same", use_bias=use_bias, kernel_initializer="he_normal")
    x = layers.Conv2D(filters, kernel_size, **conv, name=name)(x)
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


def shared(
    backbone,
    classes,
    *,
    auxiliary=False,
    level_norm="published",
    dropout_rate=0.1,
    weights=None,
    new_head=False,
    name=None,
):
    """The arguments that segmenters share: only the signature and this documentation are used.

    Args:
        backbone: a model of the zoo without its top. One of one level, such as ViT or MLP-Mixer, gets the further
            levels by `keras_mlp.tasks.simple_pyramid`. A model that gives a dictionary of maps, `{"P2": map, …}`, is
            taken as it is.
        classes: number of classes, at least 2.
        auxiliary: whether the model has further outputs for training, of heads on earlier maps.
        level_norm: the norm of each of the backbone's maps: "published" for what the family's authors have in their
            detectors and segmentors, a function that makes a layer of its name, "last" for norms like the backbone's
            final one, "raw" for none, or `None` for the final one alone, on the last map.
        dropout_rate: dropout before the classifiers.
        weights: path of a checkpoint, such as the authors' `.pth`.
        new_head: keep all of the checkpoint but the classifiers, which start fresh with any number of `classes`.
        name: name of the model.
    """


_RETURNS = """Returns:
    A functional `keras.Model` from the backbone's input to logits `(batch, height, width, classes)` at the images'
    size. With `auxiliary` it gives a dictionary, in which the decoder's logits are called "logits".

Raises:
    ValueError: an argument is wrong, or the weights do not fit; the message says what is allowed."""


def builder(paper: Paper, name: str) -> Callable:
    """Decorator: make a public builder of segmenters out of what makes the logits.

    The decorated function is `(backbone, classes, *, options…) -> {"logits": map, "auxiliary…": map, …}`, maps of any
    size. It is called under the backbone's dtype policy. The builder takes `weights`, `new_head` and `name` beside its
    arguments, and its docstring tells of all.

    Args:
        paper: where the decoder was published.
        name: name of its models by default.
    """
    own = [p for p in inspect.signature(shared).parameters.values() if p.name in ("weights", "new_head", "name")]

    def decorate(make):
        def build_segmenter(*args, **kwargs):
            given = arguments.bind(build_segmenter, args, kwargs)
            mine = {parameter.name: given.pop(parameter.name) for parameter in own}
            return _build(make, given, **mine)

        parameters = [*inspect.signature(make).parameters.values(), *own[:-1], own[-1].replace(default=name)]
        build_segmenter.__signature__ = inspect.Signature(parameters, return_annotation=keras.Model)
        build_segmenter.__name__ = build_segmenter.__qualname__ = make.__name__
        build_segmenter.__module__ = make.__module__
        text, options = documentation.documented(make)
        texts = documentation.documented(shared)[1] | options
        build_segmenter.__doc__ = documentation.docstring(
            build_segmenter.__signature__, text, texts, paper, returns=_RETURNS
        )
        return build_segmenter

    return decorate


def _build(make, given, weights, new_head, name) -> keras.Model:
    backbone, classes = given["backbone"], given["classes"]
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 2:
        raise ValueError(f"`classes` must be an integer of at least 2. Received: classes={classes!r}")
    if weights is not None and not load.is_file(weights):
        raise ValueError(f"`weights` must be None or the path of a checkpoint file. Received: weights={weights!r}")
    backbones.check(backbone)
    image = backbone.inputs[0]
    with precision.policy(backbones.policy_of(backbone)):
        outputs = {
            key: Resize(dtype=precise(), name=key.replace("logits", "resized"))([logits, image])
            for key, logits in make(**given).items()
        }
    model = keras.Model(image, outputs if len(outputs) > 1 else outputs["logits"], name=name)
    if weights is not None:
        load.load_checkpoint(model, weights, new_head=new_head)
    return model
