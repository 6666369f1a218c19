"""The recipe and the model that flags ask for."""

import ast
import dataclasses
import re

from keras_mlp.cards import videos
from keras_mlp.cli import console, models

EMBEDDED = ("digits", "moving_digits")
"""Data sets for classifiers that need no network, each with a recipe of its name."""
RECIPES = ("published", "finetune", "finetune_paper", *EMBEDDED, "scenes")


def described(flags, takes_videos: bool = False):
    """The published recipe of the model or family that the flags name, or `None`, and the shape of its input.

    Args:
        flags: the flags.
        takes_videos: whether the command may be for videos. Their frames come first in the shape.
    """
    from keras_mlp import zoo

    family = zoo.FAMILIES.get(flags.model)
    known = family or zoo.model_card(flags.model)
    *frames, height, width, channels = family.default_shape if family else known.input_shape
    if not takes_videos:
        models.refuse_videos(flags.model, (*frames, height, width, channels))
    if frames and flags.frames:
        frames = [flags.frames]
    return known.recipe, (*frames, *(models.parse_size(flags.image_size) or (height, width)), channels)


def build(flags, recipe, shape, **arguments):
    """The model that the flags name, as the recipe wants it; further arguments are its builder's."""
    from keras_mlp import zoo
    from keras_mlp.training import precision
    from keras_mlp.training.remat import rematerialize

    arguments |= dict(
        weights=flags.weights,
        input_shape=shape,
        dtype=recipe.precision or precision.default(),
        drop_path_rate=recipe.drop_path_rate,
        dropout_rate=recipe.dropout_rate,
    )
    try:
        model = zoo.create_model(flags.model, **arguments | pairs("config", flags.config))
    except TypeError as error:
        raise console.UsageError(f"--config: {error}") from error
    return rematerialize(model) if flags.remat else model


def for_classifiers(flags, published):
    """The recipe that the flags ask for."""
    from keras_mlp.training import recipes

    begins = flags.weights or flags.inflate
    name = flags.recipe or (flags.dataset if flags.dataset in EMBEDDED else "finetune" if begins else "published")
    of_model = {one.name: one.recipe for one in videos.published(flags.model)}
    if name not in (*RECIPES[:-1], *of_model):
        known = ", ".join((*RECIPES[:-1], *of_model))
        raise console.UsageError(f"--recipe is one of {known} for classifiers. Received: {name}")
    if name in of_model:
        recipe = of_model[name]
    elif name == "published":
        if published is None:
            raise ValueError(f"For {flags.model} no recipe is published: choose another with --recipe.")
        recipe = published
    elif name in EMBEDDED:
        recipe = getattr(recipes, name)()
    else:
        recipe = recipes.finetune("paper" if name == "finetune_paper" else "adamw")
    return changed(flags, recipe)


def changed(flags, recipe):
    """The recipe with what the flags say instead, at their batch size."""
    from keras_mlp.training import recipes

    recipe = recipes.at_batch_size(recipe, flags.batch_size or recipe.batch_size)
    if flags.epochs:  # the warm-up stays the same share of the whole
        share = recipe.warmup_epochs / recipe.epochs
        if recipe.steps:
            share = (recipe.warmup_steps or 0) / recipe.steps
            recipe = dataclasses.replace(recipe, steps=None, warmup_steps=None)
        recipe = dataclasses.replace(recipe, warmup_epochs=share * flags.epochs)
        if getattr(recipe, "drops", ()):
            drops = tuple(max(1, round(epoch * flags.epochs / recipe.epochs)) for epoch in recipe.drops)
            recipe = dataclasses.replace(recipe, drops=tuple(sorted(set(drops))))
    if flags.warmup_epochs is not None:
        recipe = dataclasses.replace(recipe, warmup_steps=None)
    changes = pairs("change", flags.change)
    fields = [field.name for field in dataclasses.fields(recipe)]
    if unknown := set(changes) - set(fields):
        raise console.UsageError(f"--change: a recipe has no {', '.join(sorted(unknown))}. It has: {', '.join(fields)}")
    given = {name: flags[name].value for name in ("epochs", "warmup_epochs", "learning_rate", "precision")}
    changes |= {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(recipe, **changes)


def pairs(flag, text) -> dict:
    """`name=value` pairs, separated by commas; values are numbers, tuples of such, True, False, None or words."""
    config = {}
    for word in re.split(r",(?=\w+=)", text) if text else []:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise console.UsageError(f"--{flag} is a list of name=value, separated by commas. Received: {word}")
        try:
            config[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            config[name] = value
    return config
