"""From the arguments of a builder to a model: input, preprocessing, trunk, head, weights."""

import contextlib
import difflib
import types

import keras

from keras_mlp import arguments, heads, names
from keras_mlp.cards import Weights
from keras_mlp.checkpoints import first_values, hub, layouts, load
from keras_mlp.checkpoints.published import load_published
from keras_mlp.layers import Rescaling, precision
from keras_mlp.layers.normalization import at_least_float32


def build(family, model_name: str | None, config: dict, default_shape: tuple, shared: dict) -> keras.Model:
    """Build a model of a family.

    Args:
        family: the `Family`.
        model_name: the published variant; `None` for the family's generic builder.
        config: arguments of the family's trunk by name; for those left out it has its defaults.
        default_shape: shape of the input if no argument tells.
        shared: the arguments that all builders share (`arguments.shared`), by name.

    Returns:
        A functional model with its weights.

    Raises:
        ValueError: an argument is wrong, or the weights do not fit.
    """
    given = types.SimpleNamespace(**shared)
    published = published_weights(family, model_name, given.weights)
    of_hub = hub.find(given.weights)
    told = published or of_hub
    arguments.check(given, told)
    arguments.check_rates(config)
    defaults = {parameter.name: parameter.default for parameter in family.architecture}
    arguments.check_stages({name: (defaults | config)[name] for name in family.per_stage})

    preprocessing = None
    if given.include_preprocessing:
        preprocessing = (told and told.preprocessing) or family.preprocessing_of(model_name)
    if given.weights is None:
        return _network(family, config, default_shape, given, preprocessing)

    model = first_values.made(lambda: _network(family, config, default_shape, given, preprocessing))
    options = dict(new_head=given.new_head, keep_activation=config.get("activation") is not None)
    try:
        if published:
            load_published(model, published, layouts.REGISTRY[family.name][published.layout], **options)
        else:
            load.load_checkpoint(model, of_hub or given.weights, family=family.name, **options)
    finally:
        first_values.settle(model)
    return model


def _network(family, config, default_shape, given, preprocessing):
    """The model, with random weights."""
    with precision.policy(given.dtype), _channels_last():
        inputs, sources = _inputs(given.input_tensor, given.input_shape, default_shape)
        with keras.name_scope(given.layer_prefix) if given.layer_prefix else contextlib.nullcontext():
            x = _normalised(preprocessing, inputs) if preprocessing else inputs
            of_head = {option.name: config[option.name] for option in family.head_options if option.name in config}
            features = family.trunk(x, **{name: value for name, value in config.items() if name not in of_head})
            if given.include_top:
                activation = keras.activations.get(given.classifier_activation)
                outputs = family.head(features, given.classes, activation, **of_head)
            else:
                x = heads.map_of(features)
                outputs = heads.pooled(x, given.pooling, x.dtype) if given.pooling else x
        if given.layer_prefix:
            for operation in _between(inputs, outputs):
                operation.name = names.prefixed(given.layer_prefix, operation.name)
    return keras.Model(sources, outputs, name=given.name)


def published_weights(family, model_name, weights) -> Weights | None:
    """The published checkpoint that `weights` means; `None` for none, for the hub's, and for a path that exists."""
    if weights is None or hub.is_address(weights) or load.is_file(weights):
        return None
    tags = family.weights(model_name) if model_name else {}
    if isinstance(weights, str) and weights in tags:
        return tags[weights]
    what = model_name or f"{family.title} of any other size"
    exist = f"For {what} there are: {', '.join(map(repr, tags))}." if tags else f"For {what} no weights are published."
    near = difflib.get_close_matches(str(weights), tags, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(
        "The `weights` argument should be either `None` (random initialization), the tag of published weights, an "
        f"address on the hub as hf://owner/name, or the path of an existing weights file. {exist}{hint} "
        f"Received: weights={weights!r}"
    )


@contextlib.contextmanager
def _channels_last():
    """While it holds, Keras' layers are made for the format that ours are for, whatever the global one is."""
    before = keras.config.image_data_format()
    try:
        keras.config.set_image_data_format("channels_last")
        yield
    finally:
        keras.config.set_image_data_format(before)


def _inputs(input_tensor, input_shape, default_shape):
    """The images as a tensor of the graph, and the inputs of the model to be."""
    if input_shape is not None:
        input_shape = arguments.check_shape(input_shape, default_shape)
    if input_tensor is None:
        images = keras.Input(input_shape or default_shape, dtype="float32")
        return images, images
    if not keras.utils.is_keras_tensor(input_tensor):
        raise ValueError(f"Argument `input_tensor` must be a KerasTensor. Received: {type(input_tensor).__name__}")
    shape = tuple(input_tensor.shape[1:])
    if input_shape is not None and shape != input_shape:
        raise ValueError(
            "`input_tensor` and `input_shape` contradict each other; pass one of them, or the same shape. "
            f"Received: input_tensor of shape {shape}, input_shape={input_shape}"
        )
    sources = keras.utils.get_source_inputs(input_tensor)
    return input_tensor, sources[0] if len(sources) == 1 else sources


def _between(inputs, outputs) -> list:
    """The layers and operations that make the tensors `outputs` of the tensor `inputs`."""
    found, tensors = {}, keras.tree.flatten(outputs)
    while tensors:
        tensor = tensors.pop()
        operation, node, _ = tensor._keras_history
        if tensor is not inputs and operation not in found:
            found[operation] = None
            tensors += operation._inbound_nodes[node].input_tensors
    return list(found)


def _normalised(preprocessing, x):
    scale, offset = preprocessing.for_channels(x.shape[-1]).scale_and_offset
    x = keras.ops.flip(x, axis=-1) if preprocessing.bgr else x
    # In 16 bits the difference of a pixel and its mean would lose digits.
    dtype = at_least_float32(keras.config.dtype_policy().compute_dtype)
    return Rescaling(scale, offset, dtype=dtype, name=names.PREPROCESSING)(x)
