"""What the numbers in the masks of a data set mean, and masks as labels."""

import dataclasses
import io

import numpy as np

from keras_mlp import labels
from keras_mlp.tasks.segmentation.losses import VOID

REFUSED = -1
"""The meaning of a number that masks may not have."""
MODES = ("L", "P", "1", "I;16", "I")
"""Pillow's names of images of one number a pixel."""


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The meanings of the numbers in masks.

    Args:
        classes: names of the classes.
        meanings: of the numbers from 0 to 255 the class, `VOID` or `REFUSED`.
        told: what is allowed, in words.
    """

    classes: tuple[str, ...]
    meanings: tuple[int, ...]
    told: str

    def labels(self, mask, name: str) -> np.ndarray:
        """A mask as labels.

        Args:
            mask: integers `(height, width)`.
            name: what a person may call the mask.

        Returns:
            uint8 `(height, width)`: numbers of classes, or `VOID`.

        Raises:
            ValueError: a number may not be; it names the mask and the number.
        """
        mask = np.asarray(mask)
        mask = mask if mask.dtype == np.uint8 else mask.astype("int64")
        outside = (mask < 0) | (mask >= len(self.meanings))
        found = np.asarray(self.meanings, "int16")[np.where(outside, 0, mask)]
        if (wrong := mask[outside | (found == REFUSED)]).size:
            raise ValueError(f"{name} has the label {wrong[0]}. {self.told}")
        return found.astype("uint8")


def _numbers(classes, meanings: dict[int, int], told: str, others: int = REFUSED) -> Numbers:
    return Numbers(tuple(classes), tuple(meanings.get(number, others) for number in range(256)), told)


def plain(classes) -> Numbers:
    """Each number is that of a class, and 255 is void."""
    count = len(classes)
    told = f"There are {count} classes, 0–{count - 1}, and 255 for void."
    return _numbers(classes, dict(enumerate(range(count))) | {VOID: VOID}, told)


def from_one(classes) -> Numbers:
    """0 is void, and the first class is 1, as in ADE20K ("reduce_zero_label" in mmsegmentation)."""
    count = len(classes)
    told = f"There are {count} classes, 1–{count}, and 0 for void."
    return _numbers(classes, {0: VOID, VOID: VOID} | {i + 1: i for i in range(count)}, told)


def _names(of: str) -> list[str]:
    return [name for _, name in labels.class_names(of)]


def ade20k() -> Numbers:
    """Those of ADE20K's 150 classes."""
    return from_one(_names("ade20k"))


def ade20k_things() -> Numbers:
    """Those of the 100 classes of which ADE20K tells instances."""
    return from_one(_names("ade20k-100"))


def cityscapes() -> Numbers:
    """The 34 ids of Cityscapes, of which 19 classes are learnt and the others are void."""
    learnt = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
    meanings = dict.fromkeys(range(34), VOID) | {VOID: VOID} | {number: i for i, number in enumerate(learnt)}
    return _numbers(_names("cityscapes"), meanings, "The ids of Cityscapes are 0–33, and 255 for void.")


def cityscapes_to_learn() -> Numbers:
    """The 19 classes of Cityscapes that are learnt, by the numbers that its authors' scripts give them."""
    return plain(_names("cityscapes"))


def pets() -> Numbers:
    """The "trimaps" of the Oxford-IIIT pets."""
    return dataclasses.replace(
        from_one(("pet", "background", "border")), told="The classes are 1 for a pet, 2 for background, 3 for a border."
    )


def read(file, numbers: Numbers, name: str, channel: int | None = None) -> np.ndarray:
    """Read a mask.

    Args:
        file: path of an image, plain or with a palette, of which the numbers of the colours count; or an open file.
        numbers: what its numbers mean.
        name: what a person may call it.
        channel: the one of the channels of a colour image that holds the numbers; `None` for images of one number a
            pixel only.

    Returns:
        uint8 `(height, width)`: numbers of classes, or 255 for void.

    Raises:
        ValueError: it cannot be read, has several channels, or a number that has no meaning.
    """
    from PIL import Image

    try:
        with Image.open(file) as opened:
            mode, mask = opened.mode, np.asarray(opened)
    except (OSError, SyntaxError) as error:  # the latter of broken PNG
        raise ValueError(f"The mask {name} cannot be read: {error}") from error
    if channel is not None and mask.ndim == 3:
        mask = mask[..., channel]
    elif mode not in MODES:
        raise ValueError(f"A mask has one number a pixel, that of its class. {name} has the mode {mode}.")
    return numbers.labels(mask, name)


def read_content(content, numbers: Numbers, name: str, channel: int | None = None) -> np.ndarray:
    """`read`, from a file's content, as TensorFlow gives it to Python."""
    return read(io.BytesIO(np.asarray(content).item()), numbers, name, channel)
