"""The objectives that there are, and which of them a recipe asks for."""

from keras_mlp.cards import Recipe
from keras_mlp.training.objective import Objective
from keras_mlp.training.objectives.classification import Classification
from keras_mlp.training.objectives.contrastive import Contrastive


def of(recipe: Recipe, multi_label: bool = False) -> Objective:
    """Return the objective of a recipe: what its loss is made for.

    Args:
        recipe: the recipe.
        multi_label: whether labels say of each class whether it is true.
    """
    return Contrastive() if recipe.loss == Contrastive.name else Classification(multi_label)
