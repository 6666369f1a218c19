"""Models that train with others beside them."""


def plain(model):
    """Return what training is for: the model, or of one that has a teacher or a follower beside it the one within.

    Such models tell it by an attribute `plain`; when they are saved, it is what is saved.
    """
    return getattr(model, "plain", model)
