"""Annotations in COCO's JSON, as it is published and as most labelling tools write it."""

import json
import os
import pathlib

from keras_mlp.tasks.detection.annotations import Annotations, Instance, Picture, gathered, run_lengths
from keras_mlp.training.data import split_names
from keras_mlp.walking import is_hidden, readable

BESIDE = "_annotations.coco.json"
"""What Roboflow calls the file that it puts beside the images of a split."""


def holds_coco(path: pathlib.Path) -> bool:
    """Whether a folder has annotations in COCO's JSON, or this is such a file."""
    return path.suffix == ".json" if path.is_file() else bool(_files(path))


def read(path, split: str, *, masks: bool = False, skip_broken: bool = False) -> tuple[Annotations, str]:
    """Read the annotations of one split.

    Args:
        path: a folder with `annotations/instances_train2017.json` and the images in `train2017/`, `images/train2017/`
            or `images/`; one of `train/_annotations.coco.json` beside the images; or a JSON file.
        split: what the name of the file says, or another name for the same ("validation" for "val2017"), or
            "evaluation". A single file has all splits' name.
        masks: whether masks are read, too.
        skip_broken: whether broken annotations are left out and counted.

    Returns:
        Annotations, whose pictures are called by the paths of their files; and the name of the split.

    Raises:
        ValueError: there is no such split, an image is missing, the file is none of COCO's, or an annotation is broken.
    """
    path = pathlib.Path(path).expanduser()
    if path.is_file():
        file = path
    else:
        files = _files(path)
        split = split_names.choose(split, list(files), path)
        file = files[split]
    content = _content(file)
    images = _keyed(content, "images", file)
    names = _keyed(content, "categories", file)
    categories = sorted(names)
    folder = _folder_of(images, file)
    instances = {key: [] for key in images}
    for row in content.get("annotations", []):
        if (key := row.get("image_id")) not in instances:
            raise ValueError(f"{readable(file)}: annotation {row.get('id')} is of the image {key}, which is not there.")
        instances[key].append(_instance(row, images[key], categories, names, masks, file))
    pictures = [
        Picture(str(folder / image["file_name"]), (image["height"], image["width"]), instances[key], key)
        for key, image in images.items()
    ]
    if missing := [readable(one.name) for one in pictures if not os.path.isfile(one.name)]:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ValueError(f"{readable(file)} names images that are not there: {', '.join(missing[:5])}{more}.")
    classes = [str(names[key].get("name", key)) for key in categories]
    return gathered(pictures, classes, categories, skip_broken), split


def _instance(row, image, categories, names, masks, file):
    name = f"annotation {row.get('id')}"
    if row.get("category_id") not in names:
        raise ValueError(f"{readable(file)}: {name} is of the category {row.get('category_id')}, which is not there.")
    mask, broken = None, ""
    try:
        left, top, width, height = map(float, row["bbox"])
    except (KeyError, TypeError, ValueError):
        left = top = width = height = float("nan")
        broken = f"the box is not four numbers: {row.get('bbox')}"
    if masks and not broken:
        try:
            mask = run_lengths(row.get("segmentation"), (image["height"], image["width"]))
        except ValueError as error:
            broken = str(error)
    return Instance(
        name,
        (left, top, left + width, top + height),
        categories.index(row["category_id"]),
        bool(row.get("iscrowd", 0)),
        row.get("area"),
        mask,
        broken,
    )


def _files(path) -> dict[str, pathlib.Path]:
    """The files of annotations in a folder, by the names of their splits."""
    files = {}
    for beside in sorted(path.glob(f"*/{BESIDE}")):
        files[beside.parent.name] = beside
    inside = [*path.glob("annotations/*.json"), *path.glob("*.json")]
    inside = sorted(file for file in inside if not is_hidden(file.name) and file.name != BESIDE)
    instances = [file for file in inside if file.stem.startswith("instances")]
    for file in instances or inside:
        files.setdefault(file.stem.removeprefix("instances").strip("_-") or file.stem, file)
    return files


def _content(file) -> dict:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{readable(file)} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in ("images", "categories")):
        raise ValueError(f"{readable(file)} is no file of COCO's: it has no lists images and categories.")
    return content


def _keyed(content, kind, file) -> dict:
    """The rows of a list by their "id", in its order."""
    needed = {"images": {"id", "file_name", "height", "width"}, "categories": {"id"}}[kind]
    for row in content[kind]:
        if missing := needed - set(row):
            raise ValueError(f"{readable(file)}: one of {kind} has no {', '.join(sorted(missing))}: {row}.")
    rows = {row["id"]: row for row in content[kind]}
    if len(rows) < len(content[kind]):
        raise ValueError(f"{readable(file)}: two of {kind} have the same id.")
    return rows


def _folder_of(images, file) -> pathlib.Path:
    """Where the images of a file are."""
    root, part = file.parent, file.stem.removeprefix("instances").strip("_-")
    above = root.parent if root.name == "annotations" else root
    tried = [above / part, above / "images" / part, above / "images", root, above]
    if split := split_names.part(part):
        tried += [above / split, above / "images" / split]
    first = next((image["file_name"] for image in images.values()), "")
    for folder in tried:
        if first and (folder / first).is_file():
            return folder
    looked = ", ".join(dict.fromkeys(readable(folder) for folder in tried))
    raise ValueError(f"The images of {readable(file)}, such as {first!r}, are in none of: {looked}.")
