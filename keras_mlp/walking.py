"""Searching folders to the bottom, so that it ends and finds no file twice, whatever links there are."""

import collections
import os
import pathlib
import stat
from collections.abc import Callable

HIDDEN = ("__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information", "lost+found")
"""What systems and programs leave in folders, beside what begins with a dot; in small letters."""
_SHOWN = 5  # names of each reason


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none that a person put there."""
    return name.startswith(".") or name.lower() in HIDDEN


def readable(path) -> str:
    """A path as text that can be printed, also where its bytes are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def summary(left_out: dict[str, str], what: str = "file") -> str:
    """What was left out, by its reasons, in one line that says `what` it is; empty if nothing was."""
    reasons = collections.defaultdict(list)
    for path, reason in left_out.items():
        reasons[reason].append(readable(path))
    parts = []
    for reason, paths in sorted(reasons.items(), key=lambda item: (item[0] == "hidden", item[0])):
        more = f" and {len(paths) - _SHOWN:,} more" if len(paths) > _SHOWN else ""
        parts.append(f"{len(paths):,} {reason} ({', '.join(sorted(paths)[:_SHOWN])}{more})")
    files = f"1 {what} is" if len(left_out) == 1 else f"{len(left_out):,} {what}s are"
    return f"{files} left out: {', '.join(parts)}" if parts else ""


def walk(
    *folders, whole: Callable = lambda folder: False, left_out: dict[str, str] | None = None
) -> list[list[pathlib.Path]]:
    """Find the files in each of some folders.

    Hidden files and folders are left out, and what is neither a file nor a folder (pipes, sockets, devices). Links are
    followed, but each folder is searched once only: under its own name if it is in one of `folders`, else where the
    first link in one of `folders` leads to it. So it is with files: one that several names of links lead to is found
    once. A link to a folder that one of `folders` is in leads nowhere new and is not followed. A link that leads to
    nothing at all is kept: reading it tells.

    Args:
        folders: paths of folders; none of them is searched as a part of another one. One that is not there is empty.
        whole: tells of a folder whether to take it as it is, in the place of the files in it.
        left_out: gets of what is hidden, and what is neither file nor folder, the reason by its path.

    Returns:
        For each of `folders` its files, sorted.

    Raises:
        OSError: a folder cannot be read; the error names it.
    """
    folders = [pathlib.Path(folder) for folder in folders]
    above = {parent for folder in folders for parent in pathlib.Path(os.path.realpath(folder)).parents}
    above = {_identity(parent) for parent in above if parent.is_dir()}
    seen = {_identity(folder) for folder in folders if folder.is_dir()}
    # All of them before any link is followed.
    left_out = {} if left_out is None else left_out
    searched = [_search(folder, seen, whole, left_out) if folder.is_dir() else ([], []) for folder in folders]
    return [
        sorted(files + (_follow(links, set(seen), above, whole, left_out) if links else []))
        for files, links in searched
    ]


def subfolders(folder: pathlib.Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones and links back to it or to what it is in."""
    real = pathlib.Path(os.path.realpath(folder))
    back = {_identity(one) for one in (real, *real.parents)}
    inside = (entry for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name))
    return sorted(entry.name for entry in inside if not entry.is_symlink() or _identity(entry) not in back)


def is_special(path: pathlib.Path) -> bool:
    """Whether there is something at `path` that is neither a file nor a folder, and may keep its reader waiting."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _identity(path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _search(folder, seen, whole, left_out):
    """The files and the links below a folder; `seen` gets what is searched, and `left_out` what is not."""
    files, links, pending = [], [], [folder]
    while pending:
        folder = pending.pop()
        if whole(folder):
            files.append(folder)
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                path = folder / entry.name
                if is_hidden(entry.name):
                    left_out[str(path)] = "hidden"
                elif entry.is_symlink():
                    links.append(path)
                elif entry.is_dir():
                    if (identity := _identity(path)) not in seen:  # a mount, or a junction on Windows, may be a loop
                        seen.add(identity)
                        pending.append(path)
                elif entry.is_file():
                    files.append(path)
                else:
                    left_out[str(path)] = "no regular file"
    return files, links


def _follow(links, seen, above, whole, left_out):
    """What the links lead to that is not found without them."""
    files, to_files, pending = [], [], sorted(links, reverse=True)
    while pending:
        link = pending.pop()
        try:
            mode = os.stat(link).st_mode
        except OSError:
            files.append(link)
            continue
        if stat.S_ISREG(mode):
            to_files.append(link)
        elif stat.S_ISDIR(mode) and (identity := _identity(link)) not in seen and identity not in above:
            seen.add(identity)
            more, further = _search(link, seen, whole, left_out)
            files += more
            pending += sorted(further, reverse=True)
        elif not stat.S_ISDIR(mode):
            left_out[str(link)] = "no regular file"
    reached = set()
    for link in sorted(to_files):  # when all folders are known
        real = pathlib.Path(os.path.realpath(link))
        file = _identity(real.parent), real.name
        if file not in reached and (file[0] not in seen or is_hidden(real.name)):
            reached.add(file)
            files.append(link)
    return files
