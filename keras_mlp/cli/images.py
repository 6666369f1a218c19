"""Image files for the commands: found in folders, decoded, resized and cropped as in evaluation."""

import contextlib
import pathlib
from collections.abc import Callable

import numpy as np

from keras_mlp.cards import Preprocessing
from keras_mlp.cli import console, datasets
from keras_mlp.files import atomic_path
from keras_mlp.training.data.source import MAX_PIXELS
from keras_mlp.walking import is_special, readable, walk


def find(paths: list[str]) -> list[pathlib.Path]:
    """The files that `paths` name, in order, folders searched to the bottom as by `keras_mlp.walking.walk`.

    A path that does not exist is kept: reading it tells.

    Raises:
        console.UsageError: a path is empty, which would be the current folder.
    """
    if not all(paths):
        raise console.UsageError('the name of a file or folder is empty; "." is the current folder')
    found = []
    for path in map(pathlib.Path, paths):
        found += walk(path)[0] if path.is_dir() else [path]
    return found


def read(
    path: pathlib.Path, shape: tuple[int, int, int], preprocessing: Preprocessing, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """One image as pixels 0–255.

    Args:
        path: a file.
        shape: `(height, width, channels)` of the result; 1 or 3 channels.
        preprocessing: how it is resized and cropped.
        max_pixels: how many pixels it may have.

    Returns:
        float32 array of that shape.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no image, or a broken one.
    """
    from keras_mlp.training.data import images

    *size, channels = shape
    pixels = images.with_channels(decode(path, max_pixels), channels)
    return images.for_evaluation(pixels, tuple(size), preprocessing).numpy()


def views(path, shape, preprocessing, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """What a model looks at of one image, `read` alone: `(1, *shape)`."""
    return read(path, shape, preprocessing, max_pixels)[np.newaxis]


def decode(path: pathlib.Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The pixels of an image file, with `read`'s errors: uint8 `(height, width, 3)`."""
    from keras_mlp.training.data import decoding

    if is_special(path):  # a pipe may have no end, or nobody who writes to it
        raise ValueError("no regular file")
    return decoding.decode(path.read_bytes(), max_pixels)


def sample(
    name: str,
    count: int,
    shape: tuple[int, int, int],
    preprocessing: Preprocessing,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Some images of a folder, evenly spaced, or of the training part of a data set.

    Args:
        name: the folder, or the data set's name.
        count: how many images, at most.
        shape, preprocessing, max_pixels: see `read`.

    Returns:
        float32 array `(n, *shape)`, pixels 0–255.

    Raises:
        ValueError: there is no such data set, or no image in the folder.
    """
    folder = pathlib.Path(name)
    if not folder.is_dir():
        *size, channels = shape
        options = dict(preprocessing=preprocessing, channels=channels, max_pixels=max_pixels)
        train = datasets.load(name, "train", image_size=size, batch_size=count, **options)
        return next(iter(train.dataset.take(1)))[0].numpy()
    return np.stack(some(name, count, lambda file: read(file, shape, preprocessing, max_pixels)))


def some(folder: str, count: int, read: Callable, what: str = "images", find: Callable = find) -> list[np.ndarray]:
    """What `read` gives of some image files of a folder, evenly spaced; or of `what` else `find` finds there.

    Raises:
        ValueError: there is no image in the folder.
    """
    files, found = find([folder]), []
    for file in files[:: max(1, len(files) // count)][:count]:
        with contextlib.suppress(OSError, ValueError):  # a folder may hold more than images
            found.append(read(file))
    if not found:
        raise ValueError(f"There are no {what} in {folder}.")
    return found


def labelled_sample(
    name: str,
    count: int,
    shape: tuple[int, int, int],
    preprocessing: Preprocessing,
    multi_label: bool = False,
    max_pixels: int = MAX_PIXELS,
):
    """Some images of the evaluation part of a data set, evenly spaced, and their labels.

    Args:
        name: the data set, or a folder of one folder for each class.
        count: how many images, at most.
        shape, preprocessing, max_pixels: see `read`.
        multi_label: whether each image may be of several classes.

    Returns:
        float32 array `(n, *shape)`, pixels 0–255, labels, one-hot or of multi-label data 0 or 1 `(n, classes)`, and the
        names of the classes.

    Raises:
        ValueError: there is no such data set.
    """
    *size, channels = shape
    options = dict(image_size=size, batch_size=count, preprocessing=preprocessing, channels=channels)
    options |= dict(multi_label=multi_label, max_pixels=max_pixels)
    data = datasets.load(name, "evaluation", **options)
    images, labels = zip(*datasets.evenly(data, count), strict=True)
    return np.stack(images), np.stack(labels), data.classes


def named(arguments: list[str]) -> list[pathlib.Path]:
    """The files of a command's arguments, at least one; see `find`.

    Raises:
        console.UsageError: there are no arguments, or one is empty.
        ValueError: there are no files.
    """
    if not arguments:
        raise console.UsageError("which images? Name files or folders")
    if files := find(arguments):
        return files
    raise ValueError(f"There are no files in {' '.join(arguments)}.")


def decoded(files: list[pathlib.Path], doing: str, max_pixels: int, failed: list):
    """Decode image files one by one, under a progress bar.

    Args:
        files: the files.
        doing: what the bar says, such as "Detecting".
        max_pixels: how many pixels an image may have.
        failed: gets the files that cannot be read. The error stream says why.

    Yields:
        The number of a file, its path, a name for its picture that no other file has, and its pixels.
    """
    taken = set()
    for number, file in enumerate(console.progress(files, doing, total=len(files))):
        try:
            pixels = decode(file, max_pixels)
        except (OSError, ValueError) as error:
            console.error(f"{readable(file)}: {getattr(error, 'strerror', None) or error}")
            failed.append(file)
        else:
            yield number, file, free_name(file.stem, taken), pixels


def exit_code(failed: list, files: list) -> int:
    """Tell how many files could not be read, and return the exit code of the command."""
    if failed:
        console.error(f"{len(failed)} of {len(files)} files could not be read")
    return int(bool(failed))


def free_name(stem: str, taken: set[str]) -> str:
    """A name that no other image of this call has."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name)
    return name


def save(picture, path):
    """Write a picture of Pillow as PNG, whole or not at all."""
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")
