"""The zoo: every published model by name, its card, its builder."""

import importlib
import pkgutil

import keras

from keras_mlp import cards, families, names
from keras_mlp.cards import ModelCard
from keras_mlp.family import Family

FAMILIES = {
    found.name: found
    for info in pkgutil.iter_modules(families.__path__)
    for found in vars(importlib.import_module(f"{families.__name__}.{info.name}")).values()
    if isinstance(found, Family)
}
"""All families by name; the image and the video models of one file are two."""

BUILDERS = {build.__name__: build for family in FAMILIES.values() for build in family.builders.values()}
"""Every public builder by its name, the generic ones included."""


def list_models(
    pattern: str = "*", *, family: str | None = None, input: str | None = None, weights: str | bool | None = None
) -> list[str]:
    """Names of the models, in natural order.

    Args:
        pattern: wildcards as in file names, e.g. "*mixer*"; a word without wildcards is looked for anywhere.
        family: of this family only.
        input: of models that take an "image", or a "video".
        weights: with published weights of this tag ("imagenet"; wildcards allowed), with any (`True`), with none
            (`False`).

    Returns:
        Names for `create_model`; an empty list if none match.

    Raises:
        ValueError: there is no such family, or no such kind of input.
    """
    return cards.find(all_cards(), pattern, family, input, weights)


def create_model(model: str, /, **kwargs) -> keras.Model:
    """Build a model of the zoo by name: the same as calling its builder.

    Args:
        model: one of `list_models()`, or a family's name for its generic builder.
        **kwargs: of the builder, such as `weights`, `input_shape`, `classes`; see `help(keras_mlp.MLPMixerB16)`.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: there is no such model (names near matches), or an argument is wrong.
    """
    family = FAMILIES[model if model in FAMILIES else model_card(model).family]
    return family.builders[model](**kwargs)


def model_card(name: str) -> ModelCard:
    """What is known of a model: paper, parameters, multiply-adds, published accuracy, weights, recipe.

    Args:
        name: one of `list_models()`.

    Raises:
        ValueError: there is no such model; names near matches.
    """
    return cards.named(all_cards(), name)


def preprocess_input(x, model: str | keras.Model, weights: str | None = None):
    """Normalise images as a model wants them; as the function of that name in each module of `keras.applications`.

    Args:
        x: pixels 0–255, red first, `(..., channels)`, an array or a tensor; it is not changed.
        model: a built model, or its name: one of `list_models()`, or a family's.
        weights: tag of the published weights that it has; by default its best.

    Returns:
        What `model` takes. A built model that has its preprocessing in it (`include_preprocessing=True`, the default)
        takes pixels: `x` itself is returned.

    Raises:
        ValueError: there is no such model or tag, or a built model has another name.

    Example:
        model = keras_mlp.MLPMixerB16(include_preprocessing=False)
        scores = model(keras_mlp.preprocess_input(pixels, model))
    """
    name = model
    if isinstance(model, keras.Model):
        if any(names.local(layer.name) == names.PREPROCESSING for layer in model._flatten_layers()):
            return x
        name = model.name
        if name not in FAMILIES and name not in all_cards():
            raise ValueError(
                f"How images are normalised is known by the name of a model, and this one was given the name {name!r}. "
                "Pass the name of the published model in its place, one of `keras_mlp.list_models()`."
            )
    if name in FAMILIES and weights is None:
        return FAMILIES[name].preprocessing(x)
    card = model_card(name)
    if weights is not None and weights not in card.weights:
        raise ValueError(f"For {name} there are the weights: {', '.join(card.weights)}. Received: weights={weights!r}")
    return (card.weights[weights].preprocessing if weights else card.preprocessing)(x)


def all_cards() -> dict[str, ModelCard]:
    """Every card by the name of its model."""
    return {model: family.card(model) for family in FAMILIES.values() for model in family.variants}
