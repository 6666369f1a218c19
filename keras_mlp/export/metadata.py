"""What a .tflite file tells of itself: a zip archive after the part that the interpreter reads."""

import json
import os
import zipfile

from keras_mlp.checkpoints.untrusted import Allowance, refusing, unpack
from keras_mlp.labels import check_names

_LONGEST = 16 << 20  # bytes of a description and the names of the classes
_DESCRIPTION, _LABELS = "metadata.json", "labels.txt"


def attach_metadata(path: str | os.PathLike, description: dict, classes: list[str] | None = None):
    """Append a description to a .tflite file that has none.

    TFLite's own metadata tools put their files there, too: the interpreter stops reading before it, and apps get at
    `labels.txt` with any zip library. `task_metadata` tells those tools of it.

    Args:
        path: the file.
        description: what JSON has.
        classes: names of the classes, in the order of the outputs.

    Raises:
        ValueError: a name has more than one line.
    """
    check_names(classes or [])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_DESCRIPTION, json.dumps(description, indent=1, ensure_ascii=False) + "\n")
        if classes is not None:
            archive.writestr(_LABELS, "".join(f"{name}\n" for name in classes))


def named_outputs(path: str | os.PathLike) -> list[str] | None:
    """The names of outputs that a .tflite file tells, as those from a model with a dictionary of outputs do."""
    try:
        return read_metadata(path)[0].get("named_outputs")
    except ValueError:  # damaged: the file runs, and who asks for its metadata is told
        return None


def read_metadata(path: str | os.PathLike) -> tuple[dict, list[str] | None]:
    """What a .tflite file tells of itself.

    Args:
        path: the file.

    Returns:
        The description, as `to_tflite` describes it, and the names of the classes. A file that was made otherwise may
        have none: then they are `{}` and `None`.

    Raises:
        ValueError: they are damaged or longer than 16 MB, or the description is no JSON object.
        FileNotFoundError: there is no such file.
    """
    path = os.path.expanduser(path)
    with refusing(path), open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            return {}, None
        allowance = Allowance(os.path.getsize(path), _LONGEST)
        with zipfile.ZipFile(file) as archive:
            infos = [info for info in archive.infolist() if info.filename in (_DESCRIPTION, _LABELS)]
            found = {info.filename: unpack(archive, info, allowance).decode() for info in infos}
        described = json.loads(found.get(_DESCRIPTION, "{}"))
        if not isinstance(described, dict) or not isinstance(described.get("preprocessing", {}), dict):
            raise ValueError(f"its {_DESCRIPTION} is no JSON object")
        return described, found[_LABELS].splitlines() if _LABELS in found else None
