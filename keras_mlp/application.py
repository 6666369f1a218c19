"""The `keras.applications` contract, once for all families: arguments and their checks, preprocessing, head, weights.

A family declares itself to a `Family` (see any file in `families/`): its generic builder is a trunk, `images -> feature
map (batch, H, W, C)`, or of videos `(batch, frames, H, W, C)`, and the public functions around it, with their real
signatures and docstrings, are made here.
"""

import contextlib
import difflib
import functools
import inspect
import re
import textwrap
from collections.abc import Callable

import keras
import numpy as np

from keras_mlp import cards, names
from keras_mlp.checkpoints import layouts, load
from keras_mlp.checkpoints.layouts import Layout
from keras_mlp.checkpoints.published import load_published

BEST = "imagenet"
"""Tag of a model's best published ImageNet-1k checkpoint."""

_POOLINGS = {"avg": "Average", "max": "Max"}
_ANY = inspect.Parameter.POSITIONAL_OR_KEYWORD
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


class Family:
    """One family of models: declared step by step in its file, read by the zoo.

    Args:
        name: e.g. "mlp_mixer".
        title: as in the paper, e.g. "MLP-Mixer".
        paper: where it was published.
        default_shape: default input, `(height, width, channels)`, or `(frames, height, width, channels)` of videos.
        classes: default number of classes.
        best: what the best published checkpoint with that many classes is called; variants load it by default.
        preprocessing: what models without published weights assume.
        recipe: the published training recipe, or `None`.
        per_stage: which arguments of its builder hold one value for each stage.
        at_least_float32: whether its layers compute in float32 under policies of 16 bits, too.
    """

    def __init__(
        self,
        name: str,
        *,
        title: str,
        paper: cards.Paper,
        default_shape: tuple[int, ...] = (224, 224, 3),
        classes: int = 1000,
        best: str = BEST,
        preprocessing: cards.Preprocessing,
        recipe: cards.Recipe | None = None,
        per_stage: tuple[str, ...] = (),
        at_least_float32: bool = False,
    ):
        self.name, self.title, self.paper = name, title, paper
        self.default_shape, self.classes, self.best = default_shape, classes, best
        self.preprocessing, self.recipe = preprocessing, recipe
        self.per_stage, self.at_least_float32 = per_stage, at_least_float32
        self.variants: dict[str, dict] = {}
        self.builders: dict[str, Callable[..., keras.Model]] = {}
        self._texts: dict[str, str] = {}
        self.checkpoints: dict[str, dict[str, cards.Weights]] = {}

    @property
    def input(self) -> str:
        """What its models take: "image" or "video"."""
        return cards.kind_of_input(self.default_shape)

    def builder(self, trunk, name: str | None = None):
        """Decorator: make the family's generic builder out of `trunk(x, architecture…, *, options…) -> map`.

        Parameters before the `*` are the architecture, which a published variant fixes; those after it are options that
        every builder of the family takes, such as `drop_path_rate`. The builder is called as the trunk, or `name`.
        """
        self.trunk = trunk
        parameters = list(inspect.signature(trunk).parameters.values())[1:]
        self.architecture = [p for p in parameters if p.kind is _ANY]
        self.options = [p for p in parameters if p.kind is _KEYWORD]

        def build(*args, **kwargs):
            arguments = _bind(build, args, kwargs)
            config = {p.name: arguments.pop(p.name) for p in self.architecture + self.options}
            return _application(self, None, config, self.default_shape, **arguments)

        defaults = {"weights": None, "classes": self.classes, "name": self.name}
        text = _documented(trunk)[0]
        return self._publish(build, name or trunk.__name__, self.name, self.architecture, defaults, text)

    def variant(
        self,
        builder: str,
        name: str,
        *,
        title: str,
        parameters: int,
        macs: int,
        binary_macs: int = 0,
        input_shape=None,
        top1=None,
        note="",
        **config,
    ):
        """Declare a published variant and make its public builder.

        Args:
            builder: name of the public function, e.g. "MLPMixerB16".
            name: name of the model, e.g. "mlp_mixer_b16".
            title: the paper's name for it.
            parameters: trainable parameters with the family's default classes.
            macs: multiply-adds of one image or video.
            binary_macs: those of them that are products of bits.
            input_shape: default input where it is not the family's.
            top1: `{training: percent}` of published top-1, of ImageNet-1k or of the data set of videos.
            note: what is inferred and not published.
            **config: the architecture, and options whose default differs.
        """
        option_names = {p.name for p in self.options}
        defaults = {k: v for k, v in config.items() if k in option_names}
        config = {k: v for k, v in config.items() if k not in option_names}
        input_shape = input_shape or self.default_shape

        def build(*args, **kwargs):
            arguments = _bind(build, args, kwargs)
            options = {p.name: arguments.pop(p.name) for p in self.options}
            return _application(self, name, config | options, input_shape, **arguments)

        self.variants[name] = dict(
            builder=builder,
            title=title,
            parameters=parameters,
            macs=macs,
            binary_macs=binary_macs,
            input_shape=input_shape,
            top1=top1 or {},
            note=note,
            config=config | defaults,
        )
        settings = ", ".join(f"{key}={value!r}" for key, value in config.items())
        text = (
            f"{title}: `{self.builders[self.name].__name__}` with {settings}.\n\n"
            f"{parameters:,} parameters; {macs:,} multiply-adds at the default input, {input_shape}."
        )
        defaults |= {"weights": self.best, "classes": self.classes, "name": name}
        return self._publish(build, builder, name, [], defaults, text)

    def _publish(self, build, name, model, architecture, defaults, text):
        """Give `build` the signature, name and documentation of a public builder."""
        own = [p.replace(default=defaults.get(p.name, p.default)) for p in _ARGUMENTS]
        options = [p.replace(default=defaults.get(p.name, p.default)) for p in self.options]
        positional = [*architecture, *(p for p in own if p.kind is _ANY)]
        keyword = [*options, *(p for p in own if p.kind is _KEYWORD)]
        build.__signature__ = inspect.Signature(positional + keyword, return_annotation=keras.Model)
        build.__name__ = build.__qualname__ = name
        build.__module__ = self.trunk.__module__
        self.builders[model], self._texts[model] = build, text
        self._document(model)
        return build

    def _document(self, model):
        build = self.builders[model]
        documented = _documented(_arguments)[1] | _documented(self.trunk)[1]
        checkpoints = self.weights(model) if model in self.variants else None
        build.__doc__ = _docstring(build.__signature__, self._texts[model], documented, self.paper, checkpoints)

    def layout(self, name: str, convention: str, names, ignored=(), activation="gelu") -> Layout:
        """Declare the tensor names of a source of checkpoints; see `checkpoints.layouts.Layout`."""
        return layouts.register(Layout(self.name, name, convention, tuple(names), tuple(ignored), activation))

    def publish(self, *checkpoints: cards.Weights):
        """Declare published checkpoints."""
        for weights in checkpoints:
            if weights.model not in self.variants or weights.layout not in layouts.REGISTRY.get(self.name, {}):
                raise ValueError(f"No such model or layout in {self.name}: {weights.model!r}, {weights.layout!r}")
            tags = self.checkpoints.setdefault(weights.model, {})
            if weights.tag in tags:
                raise ValueError(f"Tag {weights.tag!r} of {weights.model!r} is declared twice.")
            tags[weights.tag] = weights
            self._document(weights.model)

    def weights(self, model: str) -> dict[str, cards.Weights]:
        """Published checkpoints of `model` by tag, the best one also as `best`."""
        tags = self.checkpoints.get(model, {})
        ranked = [weights for weights in tags.values() if weights.classes == self.classes]
        by_authors = [weights for weights in ranked if weights.publisher == "authors"]
        best = max(by_authors or ranked, key=lambda weights: weights.top1 or 0.0, default=None)
        return ({self.best: best} if best else {}) | tags

    def card(self, model: str) -> cards.ModelCard:
        """The card of one of the variants."""
        row, weights = self.variants[model], self.weights(model)
        return cards.ModelCard(
            name=model,
            family=self.name,
            paper=self.paper,
            weights=weights,
            recipe=self.recipe,
            preprocessing=weights[self.best].preprocessing if self.best in weights else self.preprocessing,
            **row,
        )


def _arguments(
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
            checkpoint of an image model), or the path of a checkpoint file of any format that
            `keras_mlp.load_checkpoint` reads.
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


_ARGUMENTS = list(inspect.signature(_arguments).parameters.values())


def _bind(build, args, kwargs) -> dict:
    """Arguments of a call of a public builder, by name; Python's own `TypeError` if they do not fit its signature."""
    try:
        bound = build.__signature__.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{build.__name__}() {error}") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def _application(
    family,
    model_name,
    config,
    default_shape,
    *,
    include_top,
    weights,
    input_tensor,
    input_shape,
    pooling,
    classes,
    classifier_activation,
    include_preprocessing,
    name,
    new_head,
    dtype,
    layer_prefix,
):
    published = _resolve_weights(family, model_name, weights)
    if not isinstance(include_top, bool):
        raise ValueError(f"`include_top` must be True or False. Received: include_top={include_top!r}")
    if isinstance(classes, bool) or not isinstance(classes, int | np.integer) or classes < 1:
        raise ValueError(f"`classes` must be a positive integer. Received: classes={classes!r}")
    if published and include_top and not new_head and classes != published.classes:
        raise ValueError(
            f'If using weights="{weights}" with `include_top=True`, `classes` should be {published.classes}. '
            f"Received: classes={classes}. To keep the published backbone and start a fresh head, pass `new_head=True`."
        )
    names.check("name", name)
    names.check("layer_prefix", layer_prefix)
    if pooling not in (None, *_POOLINGS):
        raise ValueError(f'`pooling` must be None, "avg" or "max". Received: pooling={pooling!r}')
    activation = keras.activations.get(classifier_activation)
    if (
        include_top
        and weights is not None
        and not new_head
        and activation not in (keras.activations.linear, keras.activations.softmax)
    ):
        raise ValueError(
            "Only `None` and `softmax` activations are allowed for the `classifier_activation` argument when using "
            f"pretrained weights, with `include_top=True`; Received: classifier_activation={classifier_activation!r}"
        )
    for rate in ("drop_path_rate", "dropout_rate"):
        if rate in config and not 0 <= config[rate] < 1:
            raise ValueError(f"`{rate}` must be in [0, 1). Received: {rate}={config[rate]!r}")

    defaults = {parameter.name: parameter.default for parameter in family.architecture}
    _check_stages({argument: (defaults | config)[argument] for argument in family.per_stage})

    policy = keras.config.dtype_policy()
    try:
        if dtype is not None:
            keras.config.set_dtype_policy(dtype)
        if family.at_least_float32:
            keras.config.set_dtype_policy(_at_least_float32())
        inputs, sources = _inputs(input_tensor, input_shape, default_shape)
        x = inputs
        with keras.name_scope(layer_prefix) if layer_prefix else contextlib.nullcontext():
            if include_preprocessing:
                preprocessing = published.preprocessing if published else _default_preprocessing(family, model_name)
                x = _normalise(preprocessing, x)
            x = family.trunk(x, **config)
            outputs = _top(x, include_top, pooling, classes, activation)
        if layer_prefix:
            for operation in _between(inputs, outputs):
                operation.name = names.prefixed(layer_prefix, operation.name)
    finally:
        keras.config.set_dtype_policy(policy)
    model = keras.Model(sources, outputs, name=name)

    keep_activation = config.get("activation") is not None
    if published:
        layout = layouts.REGISTRY[family.name][published.layout]
        load_published(model, published, layout, new_head=new_head, keep_activation=keep_activation)
    elif weights is not None:
        load.load_checkpoint(model, weights, new_head=new_head, keep_activation=keep_activation, family=family.name)
    return model


def _resolve_weights(family, model_name, weights) -> cards.Weights | None:
    """The published checkpoint that `weights` means; `None` for no weights and for a path that exists."""
    if weights is None or load.is_file(weights):
        return None
    tags = family.weights(model_name) if model_name else {}
    if isinstance(weights, str) and weights in tags:
        return tags[weights]
    what = model_name or f"{family.title} of any other size"
    exist = f"For {what} there are: {', '.join(map(repr, tags))}." if tags else f"For {what} no weights are published."
    near = difflib.get_close_matches(str(weights), tags, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(
        "The `weights` argument should be either `None` (random initialization), the tag of published weights, or the "
        f"path of an existing weights file. {exist}{hint} Received: weights={weights!r}"
    )


def _check_stages(lists):
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


def _inputs(input_tensor, input_shape, default_shape):
    """The images as a tensor of the graph, and the inputs of the model to be."""
    if input_shape is not None:
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
    """The layers and operations that make the tensor `outputs` of the tensor `inputs`."""
    found, tensors = {}, [outputs]
    while tensors:
        tensor = tensors.pop()
        operation, node, _ = tensor._keras_history
        if tensor is not inputs and operation not in found:
            found[operation] = None
            tensors += operation._inbound_nodes[node].input_tensors
    return list(found)


def _default_preprocessing(family, model_name):
    return family.card(model_name).preprocessing if model_name else family.preprocessing


def _normalise(preprocessing, x):
    scale, offset = preprocessing.for_channels(x.shape[-1]).scale_and_offset
    x = keras.ops.flip(x, axis=-1) if preprocessing.bgr else x
    # In 16 bits the difference of a pixel and its mean would lose digits.
    return keras.layers.Rescaling(scale, offset, dtype=_at_least_float32(), name="preprocessing")(x)


def _top(x, include_top, pooling, classes, activation):
    axes = len(x.shape) - 2
    pools = {kind: getattr(keras.layers, f"Global{word}Pooling{axes}D") for kind, word in _POOLINGS.items()}
    if include_top:
        x = pools["avg"](dtype=_at_least_float32(), name="avg_pool")(x)
        return keras.layers.Dense(
            classes, activation=activation, kernel_initializer="zeros", dtype=_at_least_float32(), name=load.HEAD
        )(x)
    return pools[pooling](name=f"{pooling}_pool")(x) if pooling else x


def _at_least_float32() -> str:
    policy = keras.config.dtype_policy()
    return "float64" if policy.compute_dtype == "float64" else "float32"


@functools.cache
def _documented(function) -> tuple[str, dict[str, str]]:
    """The text of a docstring before "Args:", and its arguments by name."""
    text, _, arguments = inspect.getdoc(function).partition("Args:\n")
    entries = re.split(r"^    (?=\w+: )", arguments, flags=re.MULTILINE)[1:]
    return text.strip(), {entry.partition(":")[0]: textwrap.dedent("    " + entry).rstrip() for entry in entries}


def _docstring(signature, text, documented, paper, checkpoints=None) -> str:
    """The documentation of a builder, its arguments in the order of its signature."""
    parts = [text, f"Source: {paper}."]
    if checkpoints is not None:
        rows = [_describe(tag, weights) for tag, weights in checkpoints.items()]
        parts.append("Published weights:" + ("".join(rows) if rows else " none."))
    arguments = "\n".join(documented[name] for name in signature.parameters)
    parts += ["Args:\n" + textwrap.indent(arguments, "    "), _RETURNS]
    return "\n\n".join(parts)


def _describe(tag, weights) -> str:
    top1 = f", top-1 {weights.top1} %" if weights.top1 else ""
    return f"\n    {tag!r}: {weights.training_data}{top1}, {weights.classes} classes, {weights.licence}."


_RETURNS = """Returns:
    A functional `keras.Model`: class probabilities `(batch, classes)`; without the top, a feature map
    `(batch, height / stride, width / stride, channels)`, in videos with the frames in front, or `(batch, channels)`
    with `pooling`.

Raises:
    ValueError: an argument is wrong, or the weights do not fit; the message says what is allowed."""
