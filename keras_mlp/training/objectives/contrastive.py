"""To tell the views of one image from those of others: features learnt without labels."""

from keras_mlp.cards import Recipe
from keras_mlp.training.data import Data
from keras_mlp.training.objective import Objective


class Contrastive(Objective):
    """Pre-training by two views of each image, for a `keras_mlp.training.moco_v3.MoCoV3`, which has its own loss.

    The images are pairs of views. Targets are not looked at.
    """

    name = "contrastive"
    caption = "Loss and accuracy over the epochs"

    def settings(self) -> dict:
        return {}  # the recipe's loss tells

    def check(self, model, train: Data, validation: Data | None) -> tuple[Data, Data | None]:
        for data in filter(None, (train, validation)):  # whose classes may differ
            self.fitted(model, data)
        return train, validation

    def fitted(self, model, data: Data) -> Data:
        pairs = data.dataset.element_spec[0]
        if len(model.inputs) != 2 or not isinstance(pairs, tuple):
            raise ValueError(
                "A contrastive recipe is for a keras_mlp.training.moco_v3.MoCoV3 and for data of pairs, "
                f"load(..., augmentation=keras_mlp.training.data.views.two_views). Received: {model.name} and {pairs}"
            )
        for images, taken in zip(pairs, model.inputs, strict=True):
            if not images.shape[1:].is_compatible_with(taken.shape[1:]):
                raise ValueError(f"The views are {tuple(images.shape[1:])}, the model takes {taken.shape[1:]}.")
        return data

    def loss(self, model, recipe: Recipe | None = None):
        return None
