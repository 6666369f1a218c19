"""The objective of detection: boxes, classes and masks."""

import math

from keras_mlp.tasks.detection import evaluation
from keras_mlp.training.data import Data
from keras_mlp.training.objective import Measure, Objective


class Detection(Objective):
    """Detection and instance segmentation, for a `keras_mlp.tasks.Detector`, which has its own losses.

    The targets of the data are those of `keras_mlp.tasks.load(…, task="detection")`. After each epoch the validation
    data are detected in, and COCO's numbers are columns of the log, 0 where no annotation is of them.
    """

    name = "detection"
    measures = (
        Measure("ap", "AP", axis="average precision of boxes"),
        Measure("ap50", "AP50"),
        Measure("mask_ap", "mask AP"),
        Measure("mask_ap50", "mask AP50"),
    )
    caption = "Loss and COCO's average precision over the epochs"

    def fitted(self, model, data: Data) -> Data:
        targets = data.dataset.element_spec[1]
        if not isinstance(targets, dict) or "boxes" not in targets:
            raise ValueError(
                'Detection needs data with boxes: load them with keras_mlp.tasks.load(…, task="detection").'
            )
        if getattr(model, "has_masks", False) and "masks" not in targets:
            raise ValueError("The detector learns masks, and the data have none: load them with masks=True.")
        return super().fitted(model, data)

    def loss(self, model, recipe=None):
        return None

    def judge(self, model, data: Data) -> dict[str, float]:
        scores = evaluation.evaluate(model, data, verbose=0)
        found = {}
        for kind, prefix in (("boxes", ""), ("masks", "mask_")):
            for name in ("AP", "AP50") if kind in scores else ():
                value = scores[kind][name]
                found[f"{prefix}{name.lower()}"] = 0.0 if math.isnan(value) else value
        return found
