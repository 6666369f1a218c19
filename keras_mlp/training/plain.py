"""Models that train with others beside them, and models without what they are trained with."""

import keras


def plain(model):
    """Return what training is for: the model, or of one that has a teacher or a follower beside it the one within.

    Such models tell it by an attribute `plain`; when they are saved, it is what is saved.
    """
    return getattr(model, "plain", model)


def uncompiled(model, name: str | None = None):
    """Return a model of the same layers, and so the same weights, that is not compiled.

    Args:
        model: a functional or sequential model. One of several outputs keeps their structure.
        name: of the result.
    """
    if isinstance(model, keras.Sequential) or isinstance(model.output, keras.KerasTensor):
        return keras.Model(model.inputs[0], model.outputs[0], name=name)
    return keras.Model(model.inputs[0], model.output, name=name)
