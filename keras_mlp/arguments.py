"""The arguments that all builders share: what they are, and what is allowed."""

import inspect

import keras
import numpy as np

from keras_mlp import names

POOLINGS = ("avg", "max")


def shared(
    include_top=True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    include_preprocessing=True,
    name=None,
    *,
    new_head=False,
    dtype=None,
    layer_prefix=None,
):
    """The arguments that all builders share: only the signature and this documentation are used.

    Args:
        include_top: whether the model ends in the classifier.
        weights: `None` (random initialization), the tag of published weights ("imagenet" is the best ImageNet-1k
            checkpoint of an image model), the path of a checkpoint file of any format that
            `keras_mlp.load_checkpoint` reads, or "hf://owner/name" for one on the Hugging Face Hub, with "@revision"
            and "/file" if need be.
        input_tensor: Keras tensor to use as the images, instead of a new input.
        input_shape: `(height, width, channels)` of the images, `(frames, height, width, channels)` of videos. Weights
            that are tied to the grid are resampled from the size they were published at. For another number of
            channels than three, published stems are summed (one channel) or tiled (more).
        pooling: without the top: `None` for the feature map, "avg" or "max" for its average or maximum over
            the positions.
        classes: number of classes of the classifier.
        classifier_activation: activation of the classifier; `None` for logits. It computes in float32 under
            mixed precision.
        include_preprocessing: whether the model takes pixels 0–255 and normalises them as its weights want it. If not,
            `keras_mlp.model_card(name).preprocess` does it outside.
        name: name of the model; it does not change what is loaded.
        new_head: keep the published backbone and start the classifier fresh, with any number of `classes`.
        dtype: dtype policy of the model's layers, such as "mixed_bfloat16". By default the global one.
        layer_prefix: put before the name of every layer, with a dot between: "left" makes "left.stem" of "stem". Give
            each of several models on one `input_tensor` another, and one `keras.Model` can hold them all. It does not
            change what is loaded.
    """


SHARED = list(inspect.signature(shared).parameters.values())
"""The parameters of `shared`, as builders have them in their signatures."""


def bind(build, args, kwargs) -> dict:
    """Arguments of a call of a public builder, by name; Python's own `TypeError` if they do not fit its signature."""
    try:
        bound = build.__signature__.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{build.__name__}() {error}") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def check(given, published):
    """Raise a `ValueError` that says what is allowed, if an argument is none of it or does not go with the others.

    Args:
        given: the shared arguments, as attributes.
        published: the published checkpoint that `given.weights` names, or `None`; that of the hub may not tell its
            number of classes.
    """
    classes = given.classes
    if not isinstance(given.include_top, bool):
        raise ValueError(f"`include_top` must be True or False. Received: include_top={given.include_top!r}")
    if isinstance(classes, bool) or not isinstance(classes, int | np.integer) or classes < 1:
        raise ValueError(f"`classes` must be a positive integer. Received: classes={classes!r}")
    published_top = given.include_top and given.weights is not None and not given.new_head
    if published and published_top and classes != (published.classes or classes):
        raise ValueError(
            f'If using weights="{given.weights}" with `include_top=True`, `classes` should be {published.classes}. '
            f"Received: classes={classes}. To keep the published backbone and start a fresh head, pass `new_head=True`."
        )
    names.check("name", given.name)
    names.check("layer_prefix", given.layer_prefix)
    if given.pooling not in (None, *POOLINGS):
        raise ValueError(f'`pooling` must be None, "avg" or "max". Received: pooling={given.pooling!r}')
    activation = keras.activations.get(given.classifier_activation)
    if published_top and activation not in (keras.activations.linear, keras.activations.softmax):
        raise ValueError(
            "Only `None` and `softmax` activations are allowed for the `classifier_activation` argument when using "
            "pretrained weights, with `include_top=True`; "
            f"Received: classifier_activation={given.classifier_activation!r}"
        )


def check_rates(config):
    """Refuse rates of dropout, stochastic depth and the like outside [0, 1), among a builder's options by name."""
    for rate in (name for name in config if name.endswith("_rate")):
        rates = config[rate] if isinstance(config[rate], list | tuple) else [config[rate]]
        if not all(0 <= one < 1 for one in rates):
            raise ValueError(f"`{rate}` must be in [0, 1). Received: {rate}={config[rate]!r}")


def check_stages(lists):
    """Refuse `{name: value}` of arguments that do not hold one value for each stage; `None` is not looked at."""
    lists = {name: values for name, values in lists.items() if values is not None}
    for name, values in lists.items():
        if not isinstance(values, tuple | list) or not len(values):
            raise ValueError(
                f"`{name}` must be a tuple or list of one value for each stage. Received: {name}={values!r}"
            )
    if len({len(values) for values in lists.values()}) > 1:
        received = ", ".join(f"{name}={values!r} of length {len(values)}" for name, values in lists.items())
        raise ValueError(
            f"{', '.join(f'`{name}`' for name in lists)} must have the same length, one value for each stage; give all "
            f"of them to change the number of stages. Received: {received}"
        )


def check_shape(input_shape, default_shape) -> tuple:
    """The shape of an input, checked: `(height, width, channels)`, or what `default_shape` is an example of."""
    if not isinstance(input_shape, tuple | list) or len(input_shape) != len(default_shape):
        raise ValueError(
            f"`input_shape` must be a tuple of {len(default_shape)} integers, such as {default_shape}. "
            f"Received: input_shape={input_shape!r}"
        )
    input_shape = tuple(input_shape)
    for size in input_shape:
        if size is not None and (isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1):
            raise ValueError(f"`input_shape` must hold positive integers. Received: input_shape={input_shape}")
    if input_shape[-1] is None:
        raise ValueError(f"`input_shape` must give the number of channels. Received: input_shape={input_shape}")
    return input_shape
