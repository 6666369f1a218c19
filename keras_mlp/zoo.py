"""The zoo: every published model by name, its card, its builder."""

import importlib
import pkgutil

import keras

from keras_mlp import cards, families
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


def all_cards() -> dict[str, ModelCard]:
    """Every card by the name of its model."""
    return {model: family.card(model) for family in FAMILIES.values() for model in family.variants}
