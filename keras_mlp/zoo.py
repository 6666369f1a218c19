"""The zoo: every published model by name, its card, its builder."""

import difflib
import fnmatch
import importlib
import pkgutil

import keras

from keras_mlp import families
from keras_mlp.cards import INPUTS, ModelCard, natural_order
from keras_mlp.family import Family

FAMILIES = {
    found.name: found
    for info in pkgutil.iter_modules(families.__path__)
    for found in vars(importlib.import_module(f"{families.__name__}.{info.name}")).values()
    if isinstance(found, Family)
}
"""All families by name; the image and the video models of one file are two."""

_FAMILY_OF = {model: family for family in FAMILIES.values() for model in family.variants}

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
    if family is not None and family not in FAMILIES:
        raise ValueError(f"There is no family {family!r}. {_nearest(family, FAMILIES)}")
    if input not in (None, *INPUTS):
        raise ValueError(f"`input` must be {' or '.join(map(repr, INPUTS))}. Received: input={input!r}")
    if not any(c in pattern for c in "*?["):
        pattern = f"*{pattern}*"
    names = [name for name in _FAMILY_OF if fnmatch.fnmatch(name, pattern) and family in (None, _FAMILY_OF[name].name)]
    names = [name for name in names if input in (None, _FAMILY_OF[name].input)]
    if isinstance(weights, bool):
        names = [name for name in names if bool(_FAMILY_OF[name].weights(name)) == weights]
    elif weights is not None:
        names = [name for name in names if fnmatch.filter(_FAMILY_OF[name].weights(name), weights)]
    return sorted(names, key=natural_order)


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
    family = FAMILIES[model] if model in FAMILIES else _family_of(model)
    return family.builders[model](**kwargs)


def model_card(name: str) -> ModelCard:
    """What is known of a model: paper, parameters, multiply-adds, published accuracy, weights, recipe.

    Args:
        name: one of `list_models()`.

    Raises:
        ValueError: there is no such model; names near matches.
    """
    return _family_of(name).card(name)


def _family_of(name):
    if name not in _FAMILY_OF:
        raise ValueError(f"There is no model {name!r}. {_nearest(name, _FAMILY_OF)}")
    return _FAMILY_OF[name]


def _nearest(name, names) -> str:
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are: {', '.join(sorted(names))}."
