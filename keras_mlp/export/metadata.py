"""What a .tflite file tells of itself: a zip archive behind the part that the interpreter reads."""

import json
import os
import zipfile

_DESCRIPTION, _LABELS = "metadata.json", "labels.txt"


def attach_metadata(path: str | os.PathLike, description: dict, classes: list[str] | None = None):
    """Append a description to a .tflite file that has none.

    TFLite's own metadata tools put their files there, too: the interpreter stops reading before it, and apps get at
    `labels.txt` with any zip library.

    Args:
        path: the file.
        description: what JSON has.
        classes: names of the classes, in the order of the outputs.
    """
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_DESCRIPTION, json.dumps(description, indent=1, ensure_ascii=False) + "\n")
        if classes is not None:
            archive.writestr(_LABELS, "".join(f"{name}\n" for name in classes))


def read_metadata(path: str | os.PathLike) -> tuple[dict, list[str] | None]:
    """What a .tflite file tells of itself.

    Args:
        path: the file.

    Returns:
        The description, as `to_tflite` describes it, and the names of the classes. A file that was made otherwise may
        have none: then they are `{}` and `None`.
    """
    if not zipfile.is_zipfile(path):
        return {}, None
    with zipfile.ZipFile(path) as archive:
        found = {name: archive.read(name).decode() for name in archive.namelist() if name in (_DESCRIPTION, _LABELS)}
    classes = found[_LABELS].splitlines() if _LABELS in found else None
    return json.loads(found.get(_DESCRIPTION, "{}")), classes
