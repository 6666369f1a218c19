"""Annotations in Pascal VOC's XML: a file an image."""

import os
import pathlib
import xml.etree.ElementTree

import numpy as np

from keras_mlp.tasks.detection.annotations import Annotations, Instance, Picture, gathered
from keras_mlp.training.data import split_names
from keras_mlp.training.data.source import choose_split
from keras_mlp.training.data.splits import held_out
from keras_mlp.walking import readable

# fmt: off
CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]
# fmt: on
"""Pascal VOC's own, taken where a folder has no other ones."""
IMAGES = ("JPEGImages", "images", "Images", ".")
XML = ("Annotations", "annotations")


def holds_voc(path: pathlib.Path) -> bool:
    """Whether a folder has annotations in Pascal VOC's XML."""
    return any(next((path / name).glob("*.xml"), None) for name in XML)


def read(path, split: str, *, skip_broken: bool = False) -> tuple[Annotations, str]:
    """Read the annotations of one split.

    VOC counts pixels from 1 and its boxes include their last ones: `xmin` 1 and `xmax` 10 are the box from 0 to 10.
    Instances that it calls difficult are no part of its evaluation; here they count as crowds.

    Args:
        path: a folder with `Annotations/NAME.xml`, `JPEGImages/NAME.jpg` and `ImageSets/Main/SPLIT.txt`, a name in each
            line. Without `ImageSets` every fifth image, drawn once and for all, is the test split. `classes.txt` may
            name the classes, one in each line; else they are VOC's, or of other data all names that there are.
        split: a file in `ImageSets/Main`, or another name for the same; else "train", "test" or "all"; or "evaluation".
        skip_broken: whether broken annotations are left out and counted.

    Returns:
        Annotations, whose pictures are called by the paths of their files; and the name of the split.

    Raises:
        ValueError: there is no such split, a file is missing or cannot be read, or an annotation is broken.
    """
    path = pathlib.Path(path).expanduser()
    files = {file.stem: file for name in XML for file in sorted((path / name).glob("*.xml"))}
    sets = {file.stem: file for file in sorted((path / "ImageSets" / "Main").glob("*.txt")) if "_" not in file.stem}
    if sets:
        split = split_names.choose(split, list(sets), path)
        stems = [line.split()[0] for line in sets[split].read_text(encoding="utf-8").splitlines() if line.strip()]
    else:
        split = choose_split(split, ["train", "test", "all"], path)
        stems = sorted(files)
        if split != "all":
            stems = np.array(stems)[held_out(np.zeros(len(stems), int)) == (split == "test")].tolist()
    if missing := [stem for stem in stems if stem not in files]:
        raise ValueError(f"{path} has no annotations of these images: {', '.join(missing[:5])}.")
    roots = {stem: _parsed(file) for stem, file in files.items()}
    classes = _classes(path, files, roots)
    pictures = [_picture(path, stem, files[stem], roots[stem], classes) for stem in stems]
    return gathered(pictures, classes, None, skip_broken), split


def _classes(path, files, roots) -> list[str]:
    """Names of the classes, the same ones for all splits."""
    if (path / "classes.txt").is_file():
        return [
            line.strip() for line in (path / "classes.txt").read_text(encoding="utf-8").splitlines() if line.strip()
        ]
    found = {_text(instance, "name", files[stem]) for stem, root in roots.items() for instance in root.iter("object")}
    return CLASSES if found <= set(CLASSES) else sorted(found)


def _picture(path, stem, file, root, classes):
    size = root.find("size")
    if size is None:
        raise ValueError(f"{readable(file)} has no size of its image.")
    height, width = (int(float(_text(size, side, file))) for side in ("height", "width"))
    instances = []
    for number, instance in enumerate(root.iter("object"), 1):
        box = instance.find("bndbox")
        if box is None:
            raise ValueError(f"{readable(file)}: object {number} has no bndbox.")
        try:
            left, top, right, bottom = (float(_text(box, side, file)) for side in ("xmin", "ymin", "xmax", "ymax"))
        except ValueError as error:
            raise ValueError(f"{readable(file)}: object {number}: {error}") from error
        name = _text(instance, "name", file)
        if name not in classes:
            raise ValueError(f"{readable(file)}: object {number} is a {name!r}, which classes.txt does not name.")
        difficult = (instance.findtext("difficult") or "0").strip() == "1"
        instances.append(
            Instance(f"object {number}", (left - 1, top - 1, right, bottom), classes.index(name), difficult)
        )
    return Picture(_image(path, stem, root, file), (height, width), instances)


def _image(path, stem, root, file) -> str:
    names = [(root.findtext("filename") or "").strip(), *(f"{stem}{end}" for end in (".jpg", ".png", ".jpeg"))]
    for folder in (*(path / name for name in IMAGES), file.parent):
        for name in names:
            if name and os.path.isfile(folder / name):
                return str(folder / name)
    raise ValueError(f"There is no image of {readable(file)} in {path}: expected JPEGImages/{stem}.jpg.")


def _parsed(file):
    try:
        return xml.etree.ElementTree.parse(file).getroot()
    except xml.etree.ElementTree.ParseError as error:
        raise ValueError(f"{readable(file)} cannot be read as XML: {error}.") from error


def _text(element, name, file) -> str:
    text = (element.findtext(name) or "").strip()
    if not text:
        raise ValueError(f"{readable(file)}: {element.tag} has no {name}.")
    return text
