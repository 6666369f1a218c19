"""To tell which class each pixel of an image is of."""

import keras
from keras import ops

from keras_mlp.cards import SegmentationRecipe
from keras_mlp.tasks.segmentation.losses import VOID, PixelCrossEntropy
from keras_mlp.training.data import Data
from keras_mlp.training.objective import Measure, Objective

AUXILIARY_WEIGHT = SegmentationRecipe.auxiliary_weight
"""Of an auxiliary head's loss where no recipe says it, as in mmsegmentation's configurations."""


@keras.saving.register_keras_serializable(package="keras_mlp")
class MeanIoU(keras.metrics.MeanIoU):
    """Mean over the classes of the intersection over union of labels `(batch, height, width)` and logits.

    Void positions are left out, and so are classes that are nowhere.

    Args:
        classes: number of classes.
        void: label of void positions.
    """

    def __init__(self, classes, void=VOID, name="miou", dtype=None):
        super().__init__(classes, name=name, dtype=dtype, ignore_class=void, sparse_y_pred=False)
        self.classes, self.void = classes, void

    def get_config(self):
        return {"classes": self.classes, "void": self.void, "name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable(package="keras_mlp")
class PixelAccuracy(MeanIoU):
    """Share of the positions that have a class whose class is told.

    Args:
        classes: number of classes.
        void: label of void positions.
    """

    def __init__(self, classes, void=VOID, name="accuracy", dtype=None):
        super().__init__(classes, void, name, dtype)

    def result(self):
        counts = ops.cast(self.total_cm, self.dtype)
        return ops.trace(counts) / ops.maximum(ops.sum(counts), 1)


class Segmentation(Objective):
    """Semantic segmentation: a class for each pixel.

    The targets of the data are `{"masks": labels (batch, height, width, 1)}`, of which 255 is void. A model gives
    logits `(batch, height, width, classes)`, or beside them those of an auxiliary head (`tasks.UPerNet`).
    """

    name = "segmentation"
    measures = (
        Measure("miou", "mIoU", axis="mean intersection over union"),
        Measure("accuracy", "pixel accuracy"),
    )
    caption = "Loss, mean intersection over union and pixel accuracy over the epochs"

    def fitted(self, model, data: Data) -> Data:
        shape, classes = logits_of(model).shape, len(data.classes)
        if len(shape) != 4 or shape[-1] != classes:
            raise ValueError(
                f"The data have {classes} classes, the model's logits are {tuple(shape)}. Build it with "
                f"classes={classes}, as keras_mlp.tasks.UPerNet(backbone, classes={classes})."
            )
        targets = data.dataset.element_spec[1]
        if not isinstance(targets, dict) or "masks" not in targets:
            raise ValueError("Segmentation needs data with masks: load them with keras_mlp.tasks.load.")
        names = list(model.output) if isinstance(model.output, dict) else None

        def as_labels(images, targets):
            labels = targets["masks"][..., 0]
            return images, dict.fromkeys(names, labels) if names else labels

        return super().fitted(model, data).mapped(as_labels)

    def loss(self, model, recipe=None):
        weights, classes = getattr(recipe, "class_weight", None), logits_of(model).shape[-1]
        if weights and len(weights) != classes:
            raise ValueError(
                f"`class_weight` of the recipe must have a number for each of the {classes} classes. Received: "
                f"class_weight={weights}"
            )
        if not isinstance(model.output, dict):
            return PixelCrossEntropy(weights)
        return {name: PixelCrossEntropy(weights) for name in model.output}

    def metrics(self, model):
        classes = logits_of(model).shape[-1]
        metrics = [MeanIoU(classes), PixelAccuracy(classes)]
        return {"logits": metrics} if isinstance(model.output, dict) else metrics

    def compile_arguments(self, model, recipe=None):
        arguments = super().compile_arguments(model, recipe)
        if isinstance(model.output, dict):
            weight = getattr(recipe, "auxiliary_weight", AUXILIARY_WEIGHT)
            arguments["loss_weights"] = dict.fromkeys(model.output, weight) | {"logits": 1.0}
        return arguments

    def columns(self, logs):
        """The metrics of a model with an auxiliary head go by the names that they have without one."""
        return {
            name.replace("logits_miou", "miou").replace("logits_accuracy", "accuracy"): v for name, v in logs.items()
        }


def logits_of(model):
    """The output of a segmenter that is not its auxiliary head's."""
    return model.output["logits"] if isinstance(model.output, dict) else model.output
