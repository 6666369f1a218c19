"""Calls that all tasks share: to load data, to measure a model, and to draw what it sees."""

from keras_mlp.tasks.detection import data as boxes
from keras_mlp.tasks.detection import drawing as drawing_of_boxes
from keras_mlp.tasks.detection import evaluation as of_boxes
from keras_mlp.tasks.segmentation import data as masks
from keras_mlp.tasks.segmentation import drawing as drawing_of_masks
from keras_mlp.tasks.segmentation import evaluation as of_masks
from keras_mlp.training.data import Data

TASKS = {"segmentation": masks.load, "detection": boxes.load}


def load(name, split: str = "train", *, task: str = "segmentation", **options) -> Data:
    """Load images with masks or boxes.

    Args:
        name: a data set. "scenes", handwritten digits on textured ground, needs no network.
        split: which part, "train", "test" or "evaluation".
        task: "segmentation" for a class of each pixel, as `keras_mlp.tasks.segmentation.data.load` loads them;
            "detection" for boxes, and masks by instance, as `keras_mlp.tasks.detection.data.load` does.
        **options: `image_size`, `batch_size` and what that function takes beside them.

    Returns:
        The data; their targets are told there.

    Raises:
        ValueError: an argument is wrong, or there is no such task, data set or split.
    """
    if task not in TASKS:
        raise ValueError(f"`task` is one of {', '.join(TASKS)}. Received: {task!r}")
    return TASKS[task](name, split, **options)


def evaluate(model, data: Data, verbose="auto", **options) -> dict:
    """Measure a segmenter or a detector, whichever the data are for.

    Args:
        model: a segmenter, as `keras_mlp.tasks.segmentation.evaluation.evaluate` takes it, or a detector, or anything
            else that gives detections, as `keras_mlp.tasks.detection.evaluation.evaluate` does.
        data: evaluation data, as `load` gives them without a recipe.
        verbose: 1 for a progress bar, 0 for silence; "auto" is 1.
        **options: what those functions take beside these, such as the `window` of a segmenter.

    Returns:
        Of a segmenter "mIoU", "mAcc" and "aAcc", shares of 1, and "IoU" and "Acc" by class. Of a detector COCO's 12
        numbers for "boxes", and for "masks" where there are such (`keras_mlp.tasks.coco_scores`).

    Raises:
        ValueError: the model and the data do not fit together.
    """
    targets = data.dataset.element_spec[1]
    task = of_boxes if isinstance(targets, dict) and "boxes" in targets else of_masks
    return task.evaluate(model, data, verbose, **options)


def draw(image, found, names=None, **options):
    """A picture of an image and of what was found in it.

    Args:
        image: pixels 0–255 `(height, width, 1 or 3)`.
        found: labels `(height, width)` of a segmenter, which become colours with a legend
            (`keras_mlp.tasks.segmentation.drawing.draw`), or the dictionary of a detector, which becomes boxes and
            masks with classes and scores (`keras_mlp.tasks.detection.drawing.draw`).
        names: of the classes.
        **options: what those functions take beside these.

    Returns:
        A `PIL.Image.Image`.

    Raises:
        ValueError: what was found does not fit the image.
    """
    task = drawing_of_boxes if isinstance(found, dict) else drawing_of_masks
    return task.draw(image, found, names, **options)
