"""Annotations of images, whatever they were read from: boxes, classes and masks, checked once."""

import dataclasses
import math
from typing import Any

import numpy as np

from keras_mlp.extras import need
from keras_mlp.walking import readable

ROUNDING = 1.0
"""Pixels by which a box may lie outside its image, where it is clipped: annotators' tools round."""


@dataclasses.dataclass(slots=True)
class Instance:
    """One annotation.

    Attributes:
        name: what a person may call it, such as "annotation 17".
        box: left, top, right, bottom in the image's pixels, where the first pixel is from 0 to 1.
        label: number of its class.
        crowd: whether it stands for many objects, or for one that is hard to tell. Training leaves it out, and
            evaluation counts detections there as neither right nor wrong.
        area: pixels of the instance by which COCO calls it small or large; `None` for those of its box.
        mask: COCO's run lengths `{"size": [height, width], "counts": bytes}`, or `None`.
        broken: why the mask cannot be read; empty if it can.
    """

    name: str
    box: tuple[float, float, float, float]
    label: int
    crowd: bool = False
    area: float | None = None
    mask: Any = None
    broken: str = ""


@dataclasses.dataclass(slots=True)
class Picture:
    """An image and what is in it.

    Attributes:
        name: the path of its file, or what else a person may call it.
        size: height and width in pixels.
        instances: its annotations; none is allowed.
        identifier: what COCO's results call it; `None` for its number.
    """

    name: str
    size: tuple[int, int]
    instances: list[Instance]
    identifier: Any = None


@dataclasses.dataclass(frozen=True)
class Annotations:
    """All annotations of some images, in rows.

    Attributes:
        pictures: the images, without the instances that were left out.
        classes: names of the classes, in the order of the labels.
        categories: numbers that COCO's files have for the classes.
        left_out: the reasons for what was left out, by the names of the instances.
    """

    pictures: list[Picture]
    classes: list[str]
    categories: list[int]
    left_out: dict[str, str]

    @property
    def has_masks(self) -> bool:
        """Whether each instance has a mask."""
        masks = [instance.mask is not None for picture in self.pictures for instance in picture.instances]
        return bool(masks) and all(masks)

    def counts(self) -> list[int]:
        """In how many images each class is."""
        found = np.zeros(len(self.classes), int)
        for picture in self.pictures:
            found[list({instance.label for instance in picture.instances})] += 1
        return found.tolist()

    def truth(self) -> dict:
        """The annotations as COCO's dictionary, with which evaluation compares."""
        images, annotations = [], []
        for number, picture in enumerate(self.pictures):
            key = number if picture.identifier is None else picture.identifier
            images.append({"id": key, "height": picture.size[0], "width": picture.size[1], "file_name": picture.name})
            for instance in picture.instances:
                left, top, right, bottom = instance.box
                row = {
                    "id": len(annotations) + 1,
                    "image_id": key,
                    "category_id": self.categories[instance.label],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top) if instance.area is None else instance.area,
                    "iscrowd": int(instance.crowd),
                }
                annotations.append(row if instance.mask is None else row | {"segmentation": instance.mask})
        names = zip(self.categories, self.classes, strict=True)
        categories = [{"id": key, "name": name} for key, name in names]
        return {"info": {}, "images": images, "annotations": annotations, "categories": categories}

    def lines(self):
        """A line for each instance, by which changed annotations are told."""
        for picture in self.pictures:
            yield f"{picture.size}"
            for instance in picture.instances:
                mask = "" if instance.mask is None else instance.mask["counts"].decode("ascii")
                yield f"{instance.box} {instance.label} {instance.crowd} {instance.area} {mask}"


def gathered(pictures, classes, categories=None, skip_broken: bool = False) -> Annotations:
    """Check the instances in some images.

    Args:
        pictures: the images.
        classes: names of the classes.
        categories: numbers that COCO's files have for them; by default 1, 2, ….
        skip_broken: whether broken instances are left out and counted.

    Raises:
        ValueError: there is no image or no class, or an instance is broken; the message names image and annotation.
    """
    if not pictures or not classes:
        raise ValueError(f"There are no {'images' if classes else 'classes'} in these annotations.")
    left_out, checked = {}, []
    for picture in pictures:
        sound = []
        for instance in picture.instances:
            if reason := instance.broken or why_broken(instance.box, picture.size):
                left_out[f"{readable(picture.name)}, {instance.name}"] = reason
            else:
                sound.append(dataclasses.replace(instance, box=_clipped(instance.box, picture.size)))
        checked.append(dataclasses.replace(picture, instances=sound))
    if left_out and not skip_broken:
        shown = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:5])
        more = f"; and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        raise ValueError(
            f"Annotations are broken: {shown}{more}. Mend them, or leave them out with skip_broken=True "
            "(--skip_broken)."
        )
    return Annotations(checked, list(classes), categories or list(range(1, len(classes) + 1)), left_out)


def why_broken(box, size) -> str:
    """Why a box is broken in an image of this height and width; empty if it is sound."""
    left, top, right, bottom = box
    told = f"({', '.join(f'{side:g}' for side in box)})"
    if not all(map(math.isfinite, box)):
        return f"the box {told} is not finite"
    if right < left or bottom < top:
        return f"the box {told} is reversed: left, top, right, bottom should grow"
    if right == left or bottom == top:
        return f"the box {told} is empty"
    height, width = size
    if left < -ROUNDING or top < -ROUNDING or right > width + ROUNDING or bottom > height + ROUNDING:
        return f"the box {told} is outside its image of {width} x {height} pixels"
    left, top, right, bottom = _clipped(box, size)
    return "" if right > left and bottom > top else f"the box {told} is outside its image of {width} x {height} pixels"


def _clipped(box, size):
    height, width = size
    left, top, right, bottom = map(float, box)
    return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))


def run_lengths(segmentation, size) -> dict:
    """A mask as COCO's compressed run lengths, `{"size": [height, width], "counts": bytes}`.

    Args:
        segmentation: polygons `[[x, y, x, y, …], …]`; run lengths, plain or compressed; or an array `(height, width)`
            of 0 and 1.
        size: height and width of the image.

    Raises:
        ValueError: it is none of these, or of another size.
    """
    coco = need("faster_coco_eval", extra="train").mask
    height, width = size
    if isinstance(segmentation, np.ndarray):
        return coco.encode(np.asfortranarray(segmentation.astype("uint8")))
    if isinstance(segmentation, dict):
        if list(segmentation.get("size", ())) != [height, width]:
            raise ValueError(f"the mask is of {segmentation.get('size')}, its image of {[height, width]}")
        if not isinstance(segmentation.get("counts"), str | bytes | list):
            raise ValueError("the mask has no run lengths")
    elif not isinstance(segmentation, list) or not segmentation:
        raise ValueError("the mask is neither polygons nor run lengths")
    for polygon in segmentation if isinstance(segmentation, list) else ():
        numbers = isinstance(polygon, list) and all(isinstance(x, int | float) and math.isfinite(x) for x in polygon)
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon of the mask is not x and y of three corners or more")
    try:
        lengths = coco.segmToRle(segmentation, width, height)
        if isinstance(segmentation, dict):
            coco.decode(lengths)  # which finds that some are missing
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"the mask's run lengths cannot be read: {error}") from error
    return lengths


def mask_of(lengths: dict) -> np.ndarray:
    """A mask of run lengths as uint8 `(height, width)`, 0 and 1."""
    return need("faster_coco_eval", extra="train").mask.decode(lengths)
