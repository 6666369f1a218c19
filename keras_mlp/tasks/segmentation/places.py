"""Where in a folder images and masks are: as people put them, as ADE20K is published, and as Cityscapes is."""

import dataclasses
import os
import pathlib
from collections.abc import Callable

from keras_mlp.tasks.segmentation import masks
from keras_mlp.tasks.segmentation.masks import Numbers

IMAGES, MASKS = ("images", "image"), ("masks", "annotations", "labels")
NAMES = "classes.txt"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where images and masks are.

    Args:
        images: the folder of the images, which may have split folders.
        masks: the folder of the masks, in which they are as the images are in theirs.
        ends: how the name of an image ends, how that of its mask ends instead, and what the numbers in it mean. The one
            of which there are the most masks counts, of equals the first. An end of "" is whatever suffix a name has.
    """

    images: pathlib.Path
    masks: pathlib.Path
    ends: tuple[tuple[str, str, Callable[[], Numbers]], ...]

    def pairs(self, images: list[str], split: str | None) -> tuple[list[str | None], Numbers]:
        """The mask of each image, `None` where there is none, and what the numbers in masks mean."""
        tried = [
            ([self._mask(pathlib.Path(image), split, of_image, of_mask) for image in images], numbers)
            for of_image, of_mask, numbers in self.ends
        ]
        found, numbers = max(tried, key=lambda one: len(images) - one[0].count(None))
        return found, numbers()

    def _mask(self, image, split, of_image, of_mask):
        inside = image.relative_to(self.images / (split or ""))
        stem = inside.name.removesuffix(of_image) if of_image else inside.stem
        mask = self.masks / (split or "") / inside.with_name(stem + of_mask)
        return str(mask) if mask.is_file() else None


def find(name) -> Place:
    """Find where images and masks are.

    Args:
        name: path of a folder; "ade20k:PATH" and "cityscapes:PATH" say what it holds, where it does not tell.

    Raises:
        ValueError: there is no such folder, or not what is looked for in it.
    """
    said, _, path = os.fspath(name).partition(":")
    known = {"ade20k": (_ade20k, "images/ and annotations/"), "cityscapes": (_cityscapes, "leftImg8bit/ and gtFine/")}
    if said in known:
        look, holds = known[said]
        path = pathlib.Path(path).expanduser()
        if place := look(path):
            return place
        raise ValueError(f"{path} does not hold what {said} has: a folder with {holds}.")
    path = pathlib.Path(name).expanduser()
    if not path.is_dir():
        raise ValueError(
            f"There is no folder {path}. Data with masks are a folder, scenes, or tfds:NAME for what "
            "tensorflow-datasets has."
        )
    return _cityscapes(path) or (_ade20k(path) if _is_ade20k(path) else None) or _own(path)


def _own(path) -> Place:
    images, of_masks = (_named(path, names) for names in (IMAGES, MASKS))
    names = path / NAMES
    if not names.is_file():
        raise ValueError(f"{path} needs a file {NAMES}, with the name of a class in each line, that of 0 first.")
    classes = [line.strip() for line in names.read_text(encoding="utf-8").splitlines() if line.strip()]
    return Place(images, of_masks, (("", ".png", lambda: masks.plain(classes)),))


def _named(path, names):
    found = [path / name for name in names if (path / name).is_dir()]
    if not found:
        raise ValueError(
            f"There is no folder {' or '.join(names[:2])} in {path}: expected {path}/images and {path}/masks, with a "
            "mask for each image."
        )
    return found[0]


_ADE20K = "ADEChallengeData2016"


def _is_ade20k(path) -> bool:
    """Whether a folder is ADE20K's by its names; one with names of classes of its own is a person's."""
    if (path / NAMES).is_file():
        return False
    known = path.name == _ADE20K or (path / "objectInfo150.txt").is_file()
    return known or (path / _ADE20K).is_dir()


def _ade20k(path) -> Place | None:
    for root in (path, path / _ADE20K):
        if (root / "images").is_dir() and (root / "annotations").is_dir():
            return Place(root / "images", root / "annotations", (("", ".png", masks.ade20k),))
    return None


def _cityscapes(path) -> Place | None:
    images, of_masks = path / "leftImg8bit", path / "gtFine"
    if not (images.is_dir() and of_masks.is_dir()):
        return None
    ends = (
        ("_leftImg8bit.png", "_gtFine_labelTrainIds.png", masks.cityscapes_to_learn),
        ("_leftImg8bit.png", "_gtFine_labelIds.png", masks.cityscapes),
    )
    return Place(images, of_masks, ends)
