"""Writing files so that nothing is ever lost or half-written.

What is being written has a name that tells by which process, as "model.tmp-1a2b3c4d-4711-89abcdef.keras": of a process
that was killed, the next one that writes to the same place removes it.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import re
import shutil
import socket
import tempfile
import uuid

_OLD = "-old"
_MARK = re.compile(r"tmp-(?P<machine>[0-9a-f]{8})-(?P<process>\d{1,10})-[0-9a-f]{8}")
_at_work: set[str] = set()


@functools.cache
def _machine() -> str:
    """What tells this machine's processes, or this container's, from those of others that see the same folder."""
    try:
        processes = os.readlink("/proc/self/ns/pid")
    except OSError:
        processes = ""
    return hashlib.sha256(f"{socket.gethostname()} {processes}".encode()).hexdigest()[:8]


@contextlib.contextmanager
def _mark():
    """A part of a name that is this process's own, and no leftover as long as the block lasts."""
    mark = f"tmp-{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    _at_work.add(mark)
    try:
        yield mark
    finally:
        _at_work.discard(mark)


def _is_left_over(mark: str) -> bool:
    """Whether whoever works under that mark has ended for certain."""
    found = _MARK.fullmatch(mark)
    if found["machine"] != _machine() or os.name != "posix" or mark in _at_work:
        return False
    process = int(found["process"])
    if process == os.getpid():  # of one that had our number before us
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it is somebody else's
        return False
    return False


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
        to make a file or a folder at. If the block fails, it is removed and `path` is as it was; if the process is
        killed, the next use of `path` removes it, or brings it to its place where it was complete.

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
    remove_leftovers(path, of_all=False)
    stem, dot, suffixes = path.name.partition(".")
    with _mark() as mark:
        temporary = path.with_name(f"{stem}.{mark}{dot}{suffixes}")
        try:
            yield temporary
            if not temporary.exists():
                raise FileNotFoundError(f"Nothing was written at {temporary}, which was to become {path}.")
            if temporary.is_file():  # on the disk before it takes its place, for the power may fail
                with open(temporary, "r+b") as file:
                    os.fsync(file.fileno())
            if temporary.is_dir() and path.is_dir():
                _replace_folder(path, temporary)
            else:
                os.replace(temporary, path)
        except BaseException:
            _remove(temporary)
            raise


def _replace_folder(path, temporary):
    """Put a folder in the place of another, which one step cannot do unless that is empty."""
    old = path.with_name(temporary.name + _OLD)
    try:
        path.rename(old)
        temporary.rename(path)  # a process that is killed before leaves both, and `remove_leftovers` does this
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(path, of_all: bool = True):
    """Remove what processes left that were killed while `atomic_path(path)` was at work.

    A folder that was complete and about to replace another takes its place.

    Args:
        path: the path that they were to write.
        of_all: also what may be of processes that still run, on this machine or another; then none may be at work now.
    """
    path = pathlib.Path(os.path.realpath(os.path.expanduser(path)))
    stem, dot, suffixes = map(re.escape, path.name.partition("."))
    name = re.compile(rf"{stem}\.(?P<mark>{_MARK.pattern}){dot}{suffixes}(?P<old>{_OLD})?")
    try:
        found = [match for match in map(name.fullmatch, os.listdir(path.parent)) if match]
    except OSError:  # a folder that may be written and not be listed, or is not there
        return
    for match in sorted(found, key=lambda match: match["old"] is None):  # what was replaced tells of its successor
        left = path.with_name(match[0])
        if of_all or _is_left_over(match["mark"]):
            if match["old"] and not path.exists():
                with contextlib.suppress(FileNotFoundError):  # it was being removed, or another process is quicker
                    path.with_name(match[0].removesuffix(_OLD)).rename(path)
            with contextlib.suppress(OSError):  # it hinders nobody
                _remove(left)


@contextlib.contextmanager
def temporary_folder(inside=None):
    """Make a folder that is gone after the block, or if the process is killed, after the next block.

    Args:
        inside: folder to make it in; by default the system's for temporary files.

    Yields:
        Its path.
    """
    inside = pathlib.Path(inside or tempfile.gettempdir())
    name = re.compile(rf"\.keras_mlp-(?P<mark>{_MARK.pattern})")
    for match in filter(None, map(name.fullmatch, os.listdir(inside))):
        if _is_left_over(match["mark"]):
            shutil.rmtree(inside / match[0], ignore_errors=True)  # it may be another user's
    with _mark() as mark:
        folder = inside / f".keras_mlp-{mark}"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
