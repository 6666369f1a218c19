"""Public builders of models on top of a backbone: the arguments that all share, their documentation, the weights."""

import inspect
from collections.abc import Callable

import keras

from keras_mlp import arguments, documentation
from keras_mlp.cards import Paper
from keras_mlp.checkpoints import load
from keras_mlp.layers import precision
from keras_mlp.tasks import backbones


def shared(
    backbone,
    classes,
    *,
    level_norm="published",
    weights=None,
    new_head=False,
    name=None,
):
    """The arguments that all tasks share: only the signature and this documentation are used.

    Args:
        backbone: a model of the zoo without its top. One of one level, such as ViT or MLP-Mixer, gets the further
            levels by `keras_mlp.tasks.simple_pyramid`. A model that gives a dictionary of maps, `{"P2": map, …}`, is
            taken as it is.
        classes: number of classes.
        level_norm: the norm of each of the backbone's maps: "published" for what the family's authors have in their
            detectors and segmentors, a function that makes a layer of its name, "last" for norms like the backbone's
            final one, "raw" for none, or `None` for the final one alone, on the last map.
        weights: path of a checkpoint, such as the authors' `.pth`.
        new_head: keep all of the checkpoint but the classifiers, which start fresh with any number of `classes`.
        name: name of the model.
    """


def builder(
    paper: Paper, name: str, *, documents: tuple[Callable, ...], returns: str, finish: Callable, least: int
) -> Callable:
    """Decorator: make a public builder out of what makes a model's outputs.

    The decorated function is `(backbone, classes, *, options…) -> outputs`. It is called under the backbone's dtype
    policy. The builder takes `weights`, `new_head` and `name` beside its arguments, and its docstring tells of all.

    Args:
        paper: where the decoder or detector was published.
        name: name of its models by default.
        documents: functions whose docstrings tell of further arguments that builders of the task share. The arguments
            of these functions take the place of `**options` of the decorated one.
        returns: what the docstring says of what is returned and raised.
        finish: `(image, outputs, name) -> model`, called under the same policy.
        least: the smallest number of classes.
    """
    own = [p for p in inspect.signature(shared).parameters.values() if p.name in ("weights", "new_head", "name")]

    def decorate(make):
        def build_model(*args, **kwargs):
            given = arguments.bind(build_model, args, kwargs)
            weights, new_head, called = (given.pop(parameter.name) for parameter in own)
            check(given["classes"], weights, least)
            backbone = given["backbone"]
            backbones.check(backbone)
            with precision.policy(backbones.policy_of(backbone)):
                model = finish(backbone.inputs[0], make(**given), called)
            if weights is not None:
                load.load_checkpoint(model, weights, new_head=new_head)
            return model

        parameters = [*_parameters(make, documents), *own[:-1], own[-1].replace(default=name)]
        build_model.__signature__ = inspect.Signature(parameters, return_annotation=keras.Model)
        build_model.__name__ = build_model.__qualname__ = make.__name__
        build_model.__module__ = make.__module__
        text, options = documentation.documented(make)
        texts = {}
        for function in (shared, *documents):
            texts |= documentation.documented(function)[1]
        texts |= options
        build_model.__doc__ = documentation.docstring(build_model.__signature__, text, texts, paper, returns=returns)
        return build_model

    return decorate


def _parameters(make, documents) -> list[inspect.Parameter]:
    """The arguments of `make`, with those of `documents` in place of `**options`."""
    own = list(inspect.signature(make).parameters.values())
    if own[-1].kind is not inspect.Parameter.VAR_KEYWORD:
        return own
    return own[:-1] + [one for function in documents for one in inspect.signature(function).parameters.values()]


def check(classes, weights, least: int):
    """Raise a `ValueError` if `classes` is no integer of at least `least`, or `weights` neither `None` nor a file."""
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < least:
        raise ValueError(f"`classes` must be an integer of at least {least}. Received: classes={classes!r}")
    if weights is not None and not load.is_file(weights):
        raise ValueError(f"`weights` must be None or the path of a checkpoint file. Received: weights={weights!r}")
