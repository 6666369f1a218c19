"""The declaration of a family: its builders, its published variants and checkpoints.

A family declares itself to a `Family` (see any file in `families/`): its generic builder is a trunk, `images -> feature
map (batch, H, W, C)`, or of videos `(batch, frames, H, W, C)` (`heads.py` tells what else it may give), and the public
functions around it, with their real signatures and docstrings, are made here.
"""

import dataclasses
import inspect
from collections.abc import Callable

import keras

from keras_mlp import arguments, cards
from keras_mlp.build import build
from keras_mlp.checkpoints import layouts
from keras_mlp.checkpoints.layouts import Layout
from keras_mlp.documentation import docstring, documented
from keras_mlp.heads import average_and_classify

BEST = "imagenet"
"""Tag of a model's best published ImageNet-1k checkpoint."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """A published variant of a family.

    Args:
        builder: name of its public builder, e.g. "MLPMixerB16".
        name: its name for `create_model`, e.g. "mlp_mixer_b16".
        title: the paper's name for it.
        parameters: trainable parameters with the family's default classes.
        macs: multiply-adds of one image or video.
        input_shape: default input.
        config: the arguments of the family's generic builder that differ from its defaults.
        scores: what is published of its accuracy.
        note: what is inferred and not published.
        recipe: its published training recipe, if it is another than the family's.
        low_bit_macs: as on a `ModelCard`.
    """

    builder: str
    name: str
    _: dataclasses.KW_ONLY
    title: str
    parameters: int
    macs: int
    input_shape: tuple[int, ...]
    config: dict
    scores: tuple[cards.Score, ...] = ()
    note: str = ""
    recipe: cards.Recipe | None = None
    low_bit_macs: dict[str, int] = dataclasses.field(default_factory=dict)


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
        recipe: the published training recipe, or `None`; a variant may have another.
        per_stage: which arguments of its builder hold one value for each stage.
        head: what follows the trunk with `include_top=True` (see `heads.py`).
        level_norm: the norm of each map in the authors' detectors and segmentors: a function that makes a layer of its
            name, "last" for one like the network's last norm, or "raw" for none, not even after the last block. A
            dictionary has these by the model's name, and the one of all others for `None`. `None` where the authors
            have no detectors and segmentors.
        level_starts: numbers of the levels whose map the authors' detectors and segmentors take before the first block.
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
        head: Callable = average_and_classify,
        level_norm: Callable | str | dict | None = None,
        level_starts: tuple[int, ...] = (),
    ):
        self.name, self.title, self.paper = name, title, paper
        self.default_shape, self.classes, self.best = default_shape, classes, best
        self.preprocessing, self.recipe = preprocessing, recipe
        self.per_stage, self.head = per_stage, head
        self.level_norms = level_norm if isinstance(level_norm, dict) else {None: level_norm}
        self.level_starts = level_starts
        self.head_options = _keyword_only(inspect.signature(head).parameters.values())
        self.mixing: Callable | None = None
        self.variants: dict[str, Variant] = {}
        self.builders: dict[str, Callable[..., keras.Model]] = {}
        self._texts: dict[str, str] = {}
        self.checkpoints: dict[str, dict[str, cards.Weights]] = {}

    @property
    def input(self) -> str:
        """What its models take: "image" or "video"."""
        return cards.kind_of_input(self.default_shape)

    def token_mixing(self, mixing):
        """Decorator: a function `map -> map` of the same shape is what mixes the positions in the family's blocks.

        `keras_mlp.analysis` measures and probes it at maps of all sizes and widths. What else a block has, such as its
        shortcuts and channel MLP, is left out. The docstring tells the settings, and how they grow with the map.
        """
        self.mixing = mixing
        return mixing

    def builder(self, trunk, name: str | None = None):
        """Decorator: make the family's generic builder out of `trunk(x, architecture…, *, options…) -> map`.

        Parameters before the `*` are the architecture, which a published variant fixes; those after it, and those of
        the head, are options that every builder of the family takes, such as `drop_path_rate`. The builder is called as
        the trunk, or `name`.
        """
        self.trunk = trunk
        parameters = list(inspect.signature(trunk).parameters.values())[1:]
        self.architecture = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.options = _keyword_only(parameters) + self.head_options

        def builder(*args, **kwargs):
            shared = arguments.bind(builder, args, kwargs)
            config = {p.name: shared.pop(p.name) for p in self.architecture + self.options}
            return build(self, None, config, self.default_shape, shared)

        defaults = {"weights": None, "classes": self.classes, "name": self.name}
        text = documented(trunk)[0]
        return self._publish(builder, name or trunk.__name__, self.name, self.architecture, defaults, text)

    def variant(self, builder: str, name: str, *, input_shape=None, **declared):
        """Declare a published variant and make its public builder.

        Args:
            builder: name of the public function, e.g. "MLPMixerB16".
            name: name of the model, e.g. "mlp_mixer_b16".
            input_shape: default input where it is not the family's.
            **declared: the other fields of `Variant`, and by name the architecture and options whose default differs.

        Raises:
            TypeError: something declared is neither a field nor an argument of the family's trunk.
        """
        arguments_of_trunk = {p.name for p in self.architecture + self.options}
        config = {key: value for key, value in declared.items() if key in arguments_of_trunk}
        fields = {key: value for key, value in declared.items() if key not in config}
        variant = Variant(builder, name, config=config, input_shape=input_shape or self.default_shape, **fields)
        self.variants[name] = variant

        option_names = [p.name for p in self.options]
        architecture = {key: value for key, value in config.items() if key not in option_names}
        defaults = {key: value for key, value in config.items() if key in option_names}

        def build_variant(*args, **kwargs):
            shared = arguments.bind(build_variant, args, kwargs)
            options = {option: shared.pop(option) for option in option_names}
            return build(self, name, architecture | options, variant.input_shape, shared)

        settings = ", ".join(f"{key}={value!r}" for key, value in architecture.items())
        text = (
            f"{variant.title}: `{self.builders[self.name].__name__}` with {settings}.\n\n"
            f"{variant.parameters:,} parameters; {variant.macs:,} multiply-adds at the default input, "
            f"{variant.input_shape}."
        )
        defaults |= {"weights": self.best, "classes": self.classes, "name": name}
        return self._publish(build_variant, builder, name, [], defaults, text)

    def _publish(self, builder, name, model, architecture, defaults, text):
        """Give `builder` the signature, name and documentation of a public builder."""
        own, options = (
            [p.replace(default=defaults[p.name]) if p.name in defaults else p for p in parameters]
            for parameters in (arguments.SHARED, self.options)
        )
        positional = [*architecture, *(p for p in own if p.kind is p.POSITIONAL_OR_KEYWORD)]
        keyword = [*options, *(p for p in own if p.kind is p.KEYWORD_ONLY)]
        builder.__signature__ = inspect.Signature(positional + keyword, return_annotation=keras.Model)
        builder.__name__ = builder.__qualname__ = name
        builder.__module__ = self.trunk.__module__
        self.builders[model], self._texts[model] = builder, text
        self._document(model)
        return builder

    def _document(self, model):
        builder = self.builders[model]
        texts = documented(arguments.shared)[1] | documented(self.trunk)[1]
        if self.head_options:
            texts |= documented(self.head)[1]
        checkpoints = self.weights(model) if model in self.variants else None
        builder.__doc__ = docstring(builder.__signature__, self._texts[model], texts, self.paper, checkpoints)

    def layout(self, name: str, convention: str, names, ignored=(), activation="gelu", rename=None) -> Layout:
        """Declare the tensor names of a source of checkpoints; see `checkpoints.layouts.Layout`."""
        return layouts.register(Layout(self.name, name, convention, tuple(names), tuple(ignored), activation, rename))

    def publish(self, *checkpoints: cards.Weights):
        """Declare published checkpoints."""
        for weights in checkpoints:
            if weights.model not in self.variants or weights.layout not in layouts.REGISTRY.get(self.name, {}):
                raise ValueError(f"No such model or layout in {self.name}: {weights.model!r}, {weights.layout!r}")
            tags = self.checkpoints.setdefault(weights.model, {})
            if weights.tag in tags:
                raise ValueError(f"Tag {weights.tag!r} of {weights.model!r} is declared twice.")
            tags[weights.tag] = weights
        for model in {weights.model for weights in checkpoints}:
            self._document(model)

    def weights(self, model: str) -> dict[str, cards.Weights]:
        """Published checkpoints of `model` by tag, the best one also as `best`."""
        tags = self.checkpoints.get(model, {})
        ranked = [weights for weights in tags.values() if weights.classes == self.classes]
        ranked = [weights for weights in ranked if weights.publisher == "authors"] or ranked
        # A checkpoint for larger images is better only on those.
        sides = self.variants[model].input_shape[-3:-1] if ranked else None
        ranked = [weights for weights in ranked if weights.input_size == sides] or ranked
        best = max(ranked, key=lambda weights: weights.top1 or 0.0, default=None)
        return ({self.best: best} if best else {}) | tags

    def preprocessing_of(self, model: str | None) -> cards.Preprocessing:
        """What the default weights of a variant assume of images; the family's own for `None` and without weights."""
        weights = self.weights(model) if model else {}
        return weights[self.best].preprocessing if self.best in weights else self.preprocessing

    def level_norm(self, model: str):
        """The norm of each map in the authors' detectors and segmentors on a model; see the class's `level_norm`."""
        return self.level_norms.get(model, self.level_norms[None])

    def card(self, model: str) -> cards.ModelCard:
        """The card of one of the variants; its scores are its own, and the best of segmenters that were made of it."""
        known = vars(self.variants[model])
        known = known | {"scores": (*known["scores"], *cards.segmenters.best(model))}
        known = known | {"recipe": known["recipe"] or self.recipe}
        return cards.ModelCard(
            family=self.name,
            paper=self.paper,
            weights=self.weights(model),
            preprocessing=self.preprocessing_of(model),
            **known,
        )


def _keyword_only(parameters) -> list[inspect.Parameter]:
    return [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
