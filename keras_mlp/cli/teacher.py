"""The classifier that `keras-mlp train --teacher` learns from."""

import pathlib

from keras_mlp.cli import models


def find(teacher):
    """Refuse a teacher, or a model to inflate, that is not there, before any data are fetched."""
    from keras_mlp import zoo

    if not models.is_file(teacher):
        models.find_weights(teacher, zoo.FAMILIES[zoo.model_card(teacher).family].best)
    elif not pathlib.Path(teacher).is_file():
        raise FileNotFoundError(f"There is no file {teacher}.")


def beside(flags, model, classes):
    """The model, or if it has a teacher the two together."""
    if not flags.teacher:
        return model
    from keras_mlp.training import distill, distill_tokens

    names = pathlib.Path(flags.teacher).with_name("classes.txt")
    known = models.is_file(flags.teacher) and names.is_file()  # training has written it
    if known and names.read_text(encoding="utf-8").splitlines() != classes:
        raise ValueError(f"The teacher's classes, {names}, are not those of {flags.dataset}, or in another order.")
    teacher = models.open_model(flags.teacher, None)
    told, share = models.output_of(flags.teacher, teacher), flags.teacher_share
    if flags.distillation == "tokens":
        distiller = distill_tokens.TokenDistiller(model, teacher, share, teacher_output=told)
        if not flags.weights:
            distill_tokens.begin_as(model, teacher)
        return distiller
    return distill.Distiller(model, teacher, flags.distillation, flags.temperature, share, teacher_output=told)
