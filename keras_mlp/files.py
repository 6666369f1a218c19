"""Writing files so that nothing is ever lost or half-written."""

import contextlib
import os
import pathlib
import shutil
import uuid


def _remove(path: pathlib.Path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_path(path):
    """Write a file or a folder beside its place, then put it there in one step.

    Args:
        path: where the result goes. Folders above it are made; what is there now stays until the end
            of the block and is lost only to a complete successor.

    Yields:
        A temporary path in the same folder, with the same suffixes (Keras looks at them), for the block
        to make a file or a folder at. If the block fails, it is removed and `path` is as it was.

    Raises:
        FileNotFoundError: the block made nothing at the temporary path.

    Example:

    ```python
    with atomic_path("model.keras") as temporary:
        model.save(temporary)
    ```
    """
    path = pathlib.Path(os.path.realpath(os.path.expanduser(path)))  # a link stays, and what it points to is replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    stem, dot, suffixes = path.name.partition(".")
    temporary = path.with_name(f"{stem}.tmp-{uuid.uuid4().hex[:8]}{dot}{suffixes}")
    try:
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(f"Nothing was written at {temporary}, which was to become {path}.")
        if temporary.is_file():  # on the disk before it takes its place, for the power may fail
            with open(temporary, "r+b") as file:
                os.fsync(file.fileno())
        if temporary.is_dir() and path.is_dir():  # a folder cannot replace one that is not empty
            old = path.with_name(f"{temporary.name}-old")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def remove_leftovers(path):
    """Remove what processes left that were killed while `atomic_path(path)` was at work; none may be at work now."""
    path = pathlib.Path(os.path.realpath(os.path.expanduser(path)))
    stem, dot, suffixes = path.name.partition(".")
    for left in path.parent.glob(f"{stem}.tmp-????????{dot}{suffixes}"):
        _remove(left)
