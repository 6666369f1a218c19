"""To tell which classes an image is of."""

from keras_mlp.cards import Recipe
from keras_mlp.classifiers import Output
from keras_mlp.training import losses, metrics
from keras_mlp.training.data import Data
from keras_mlp.training.objective import Measure, Objective

TOP1 = Measure("top1", "top-1", axis="top-1 accuracy")


class Classification(Objective):
    """Classification of images: of one class each, or of any number of them.

    Targets are one-hot `(batch, classes)`, or with multi-label data 0 or 1 for each class. A model of a single unit
    tells of two classes whether it is the second.

    Args:
        multi_label: whether each class is true of an image or not, whatever the others are.
        output: what the model's output means, where neither its layers nor the loss it is compiled with tell.
    """

    name = "classification"
    measures = TOP1, Measure("accuracy", "accuracy"), Measure("average_precision", "mean average precision")
    caption = "Loss and accuracy over the epochs"

    def __init__(self, multi_label: bool = False, output: Output | None = None):
        self.multi_label = multi_label
        self.output = output

    def settings(self) -> dict:
        return {}  # the recipe's loss tells

    def fitted(self, model, data: Data) -> Data:
        classes = len(data.classes)
        one_for_two = model.output_shape[1:] == (1,) and classes == 2 and not data.multi_label
        if model.output_shape[1:] != (classes,) and not one_for_two:
            raise ValueError(
                f"The data have {classes} classes, the model's output is {model.output_shape}. Build it with "
                f"include_top=True, classes={classes}."
            )
        data = super().fitted(model, data)
        return data.mapped(_of_the_second_class) if one_for_two else data

    def loss(self, model, recipe: Recipe | None = None):
        if recipe is None:
            return losses.cross_entropy(self._output(model))
        return losses.loss(recipe, model, self.multi_label, self.output)

    def metrics(self, model):
        return metrics.of(self._output(model))

    def activation(self, recipe: Recipe) -> str | None:
        """Return the last activation of a classifier to be trained, so that the saved model tells what kind it is."""
        if self.multi_label:
            return "sigmoid"
        return "softmax" if recipe.loss == "softmax" else None

    def _output(self, model):
        return self.output or losses.output_of(model, self.multi_label)


def _of_the_second_class(images, labels, *weights):
    """Labels `(batch, 1)` of two classes: how much of the second one there is."""
    return images, labels[:, 1:], *weights
