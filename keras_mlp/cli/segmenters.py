"""Segmenters for the subcommands: in .keras and .tflite files, with their classes and images to measure them on."""

import pathlib

import numpy as np

from keras_mlp.cli import console, datasets, images, models
from keras_mlp.training.data.source import MAX_PIXELS

_PICTURES = ("images", "image", "leftImg8bit")  # folders beside those of the masks


def perhaps(model: str, image_size: list[str] | None = None):
    """The segmenter in a file; `None` for a model by name, and for a file with something else.

    Args:
        model: a .keras or .tflite file; what is else has no segmenter.
        image_size: see `models.open_model`; not for a .tflite file.

    Returns:
        A Keras model, or a `keras_mlp.tasks.ExportedSegmenter`.
    """
    from keras_mlp import tasks

    if model.endswith(".tflite"):
        return models.exported(model, "segmentation", tasks.ExportedSegmenter, image_size)
    if not model.endswith(".keras"):
        return None
    opened = models.open_model(model, None, image_size)
    return opened if output_of(opened) else None


def output_of(model):
    """What a Keras model gives, if it is a segmenter: a `keras_mlp.classifiers.PixelOutput`, else `None`."""
    from keras_mlp.classifiers import PixelOutput
    from keras_mlp.export.outputs import inference_part

    return PixelOutput.perhaps(inference_part(model))


def define_views(flags):
    """Define the flags that say how a segmenter looks at an image."""
    from absl import flags as absl_flags

    absl_flags.DEFINE_list(
        "window", None, "Side in pixels, or height and width, of windows to look at one by one.", flag_values=flags
    )
    absl_flags.DEFINE_integer(
        "stride",
        None,
        "Distance of the windows; by default two thirds of their side.",
        lower_bound=1,
        flag_values=flags,
    )
    absl_flags.DEFINE_list("scales", ["1"], "Factors on the image's size, as 0.75,1,1.25.", flag_values=flags)
    absl_flags.DEFINE_bool("flip", False, "Look at the mirrored image, too.", flag_values=flags)
    absl_flags.DEFINE_list(
        "resize", None, "Longer and shorter side into which the image is fitted before the scales.", flag_values=flags
    )


def views(flags, model) -> dict:
    """What the flags of `define_views` say, as `keras_mlp.tasks.segment` takes it."""
    try:
        scales = tuple(map(float, flags.scales))
    except ValueError:
        raise console.UsageError(f"--scales are numbers. Received: {','.join(flags.scales)}") from None
    window = models.parse_size(flags.window, "window")
    if flags.model.endswith(".tflite") and window not in (None, model.input_shape[1:3]):
        raise console.UsageError(f"--window of {flags.model} is its own size {model.input_shape[1:3]}")
    resize = models.parse_size(flags.resize, "resize")
    return dict(window=window, stride=flags.stride, scales=scales, flip=flags.flip, resize=resize)


def class_names(path: str, segmenter) -> list[str]:
    """Names of a segmenter's classes: as a .tflite file tells, else as `models.class_names` finds them."""
    from keras_mlp.tasks.segmentation.objective import logits_of

    told = getattr(segmenter, "names", None)
    return told or [name for _, name in models.class_names(path, None, logits_of(segmenter).shape[-1])]


def check_classes(data, names: list[str], dataset: str, model: str):
    """Raise a `ValueError` if the classes of data are not those of a model that knows their names."""
    if names != data.classes and names != list(map(str, range(len(names)))):
        raise ValueError(f"The classes of {dataset} are not those in {model}, or in classes.txt beside it.")


def sample(name: str, split: str, count: int, shape: tuple[int, int, int], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Some images that a segmenter is to see, evenly spaced: pixels 0–255, float32 `(n, *shape)`.

    Args:
        name: a data set with masks, or a folder of photos.
        split: part of the data set.
        count: how many images, at most.
        shape, max_pixels: see `images.read`.
    """
    from keras_mlp.tasks.segmentation.data import WHOLE

    folder = pathlib.Path(name)
    if folder.is_dir() and not any((folder / part).is_dir() for part in _PICTURES):
        return images.sample(name, count, shape, WHOLE, max_pixels)
    return labelled_sample(name, split, count, shape, max_pixels)[0]


def labelled_sample(name: str, split: str, count: int, shape: tuple[int, int, int], max_pixels: int = MAX_PIXELS):
    """As `sample`, with masks uint8 `(n, height, width)`, and the data, which know their classes."""
    *size, channels = shape
    options = dict(image_size=size, batch_size=count, channels=channels, max_pixels=max_pixels)
    data = datasets.load_masks(name, split, **options)
    pixels, targets = zip(*datasets.evenly(data, count), strict=True)
    return np.stack(pixels), np.stack([target["masks"][..., 0] for target in targets]), data
