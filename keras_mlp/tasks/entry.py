"""What is one call for all tasks: data, whatever is to be learnt of them."""

from keras_mlp.tasks.detection import data as boxes
from keras_mlp.tasks.segmentation import data as masks
from keras_mlp.training import data

TASKS = {"segmentation": masks.load, "detection": boxes.load}


def load(name, split: str = "train", *, task: str = "segmentation", **options) -> data.Data:
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
