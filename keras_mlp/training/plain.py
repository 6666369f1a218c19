"""Models that train with others beside them, and models without what they are trained with."""

import inspect

import keras


def plain(model):
    """Return what training is for: the model, or of one that has a teacher or a follower beside it the one within.

    Such models tell it by an attribute `plain`; when they are saved, it is what is saved.
    """
    return getattr(model, "plain", model)


def uncompiled(model, name: str | None = None):
    """Return a model of the same layers, and so the same weights, that is not compiled.

    Args:
        model: a functional or sequential model. One of several outputs keeps their structure, and one of a class that
            is made of inputs and outputs, as `keras.Model` is, keeps its class.
        name: of the result.
    """
    sequential = isinstance(model, keras.Sequential)
    output = model.outputs[0] if sequential or isinstance(model.output, keras.KerasTensor) else model.output
    own = inspect.signature(type(model).__init__).parameters.values()
    kind = type(model) if not sequential and any(one.kind is one.VAR_POSITIONAL for one in own) else keras.Model
    return kind(model.inputs[0], output, name=name)
