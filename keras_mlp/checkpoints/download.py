"""Published files: fetched once, checked, and kept in a cache folder.

Beside a cached file NAME lie `NAME.json` (where it came from, its size and SHA-256, recorded at first use and compared
ever after), `NAME.lock` (held by the process that fetches it) and, while it is incomplete, `NAME.part` with
`NAME.part.json` (what it is a part of), from which the next attempt goes on.
"""

import contextlib
import datetime
import errno
import hashlib
import os
import pathlib
import shutil
import sys
import urllib.parse

import filelock

from keras_mlp.cards import Weights
from keras_mlp.checkpoints import readers, transfer

MIRROR = "KERAS_MLP_MIRROR"
_HUB = "https://huggingface.co/"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DownloadError(OSError, ValueError):
    """A published file could not be had; the message says why, and how to get it in another way.

    It is a `ValueError` as what other values of `weights=` raise is, and an `OSError` as a network's errors are.
    """


def cached_path(weights: Weights, cache_dir=None) -> pathlib.Path:
    """Where `fetch` keeps a published file.

    Args:
        weights: the checkpoint.
        cache_dir: folder; by default `keras_mlp` in Keras' own, which is `~/.keras` or what `KERAS_HOME` names.

    Returns:
        The path, whether the file is there or not.

    Raises:
        DownloadError: the folder is that of a user who does not exist.
    """
    if cache_dir is None:
        cache_dir = pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras") / "keras_mlp"
    return _folder(cache_dir, "The cache folder", "KERAS_HOME") / weights.file_name


def _folder(name, what, variable) -> pathlib.Path:
    try:
        return pathlib.Path(name).expanduser()
    except RuntimeError as error:  # nobody of that name, or no home
        raise DownloadError(
            f"{what} {os.fspath(name)!r} cannot be found: {error}. Name another in the environment variable {variable}."
        ) from error


def sha256(path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(weights: Weights, cache_dir=None, progress: bool = True, timeout: float = 30.0) -> pathlib.Path:
    """The publisher's own file on this machine, downloaded if it is not there yet.

    If the environment variable `KERAS_MLP_MIRROR` is set, the file is taken from there and from nowhere else. It
    names an http(s) url or a folder, in which these are tried, in this order:

    1. `<host>/<path>` of the published url, as `wget --recursive` and the like lay a mirror out;
    2. `weights.file_name`;
    3. the last part of the url. Files of several checkpoints may share that name: keep only one there.

    Without it, files of the Hugging Face Hub are taken from the mirror of the hub that `HF_ENDPOINT` names, if it is
    set.

    Args:
        weights: the checkpoint.
        cache_dir: folder to keep it in; see `cached_path`.
        progress: tell on stderr how far the download is.
        timeout: seconds after which a silent server is given up, or one that sends next to nothing. A failed attempt
            is repeated a few times, going on where it ended.

    Returns:
        Path of the whole, checked file. It is in the cache folder, or in the mirror's if the cache cannot be
        written to.

    Raises:
        DownloadError: (an `OSError` and a `ValueError`) it could not be fetched, or is not what was published; or the
            file in the cache is not, or is not the one it used to be.
    """
    path = cached_path(weights, cache_dir)
    try:
        return _fetch(weights, path, progress, timeout)
    except DownloadError:
        raise
    except (OSError, ValueError, NotImplementedError) as error:  # the last is a disk that knows no locks
        raise _error(weights, path, f"A file or folder is not as it should be: {error}") from error


def _fetch(weights, path, progress, timeout):
    if path.exists():
        return _checked(path, weights)
    places = _places(weights)
    mirrored = next((place for place in places if isinstance(place, pathlib.Path) and place.is_file()), None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquire(path.with_name(path.name + ".lock"), path.name, progress)
    except OSError as error:
        reason = f"The cache folder {path.parent} cannot be written to ({error})"
        if not mirrored:
            raise _error(weights, path, reason, "or let KERAS_HOME name a folder that can be written to") from error
        if problem := _problem(weights, mirrored, _facts(mirrored), {}):
            raise _error(weights, path, f"{reason}, and {mirrored} {problem}") from error
        return mirrored
    with lock:
        if path.exists():  # another process has fetched it meanwhile
            return _checked(path, weights)
        part = path.with_name(path.name + ".part")
        try:
            if mirrored:
                transfer.need_space(part.parent, mirrored.stat().st_size)
                shutil.copyfile(mirrored, part)
            else:
                _download(places, part, weights, path, progress, timeout)
            _accept(part, path, weights)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            size = weights.size or transfer.read_json(transfer.beside(part)).get("size") or "an unknown number of"
            transfer.remove(part)
            reason = f"The disk of {path.parent} is full ({error.strerror}); the file has {size} bytes"
            raise _error(weights, path, reason, "or make space, or let KERAS_HOME name a folder elsewhere") from error
    return path


def _places(weights: Weights) -> list:
    """Where to look for the file, in order: urls, or paths in a mirror folder."""
    mirror = os.environ.get(MIRROR)
    if not mirror:
        endpoint = os.environ.get("HF_ENDPOINT")
        if endpoint and weights.url.startswith(_HUB):
            return [f"{endpoint.rstrip('/')}/{weights.url.removeprefix(_HUB)}"]
        return [] if weights.by_hand else [weights.url]
    try:
        url = urllib.parse.urlsplit(weights.url)
    except ValueError as error:
        raise DownloadError(f"{weights.url!r}, where {weights.file_name} should be, is no url ({error}).") from error
    names = [weights.file_name]
    if not url.query:  # with a query, as cloud drives have, the path alone does not name the file
        names = [f"{url.netloc}{url.path}", weights.file_name, url.path.rsplit("/", 1)[-1]]
    if mirror.startswith(("http://", "https://")):
        return [f"{mirror.rstrip('/')}/{name}" for name in dict.fromkeys(names)]
    folder = _folder(mirror.removeprefix("file://"), "The mirror", MIRROR)
    return [folder / urllib.parse.unquote(name) for name in dict.fromkeys(names)]


def _acquire(lock_path, name, progress):
    lock = filelock.FileLock(lock_path)
    try:
        return lock.acquire(timeout=1)
    except filelock.Timeout:
        if progress and sys.stderr is not None:
            print(f"Another process is downloading {name}; waiting for it.", file=sys.stderr, flush=True)
        return lock.acquire()


def _download(places, part, weights, path, progress, timeout):
    if not places:
        raise _error(weights, path, "No program can fetch it: a person has to, in a browser")
    reason = f"It is not in the mirror {os.environ.get(MIRROR)}"
    for place in places:
        try:
            if not isinstance(place, pathlib.Path):
                whole = bool(weights.size or weights.sha256 or _recorded(path, weights))
                options = dict(size=weights.size, whole=whole, timeout=timeout, progress=progress)
                return transfer.download(place, part, **options)
        except transfer.AbsentError as error:
            reason = str(error)
        except transfer.TransferError as error:
            raise _error(weights, path, str(error)) from error
    raise _error(weights, path, f"{reason}; looked for {', '.join(map(str, places))}")


def _accept(part, path, weights):
    """Put a whole download into its place, if it is what it should be."""
    facts = _facts(part)
    if problem := _problem(weights, part, facts, _recorded(path, weights)):
        transfer.remove(part)
        raise _error(weights, path, f"What was fetched {problem}")
    _record(path, weights, facts)
    os.replace(part, path)
    transfer.remove(part)


def _checked(path, weights):
    """`path`, if it holds what was published and, from the second use on, what it held at the first."""
    if not path.is_file():
        raise _error(weights, path, f"{path} is there and is no file: remove it")
    facts, recorded = _facts(path), _recorded(path, weights)
    if problem := _problem(weights, path, facts, recorded):
        raise DownloadError(
            f"{path}, from {weights.url}, {problem}. Delete it to have it downloaded again; delete the record too if "
            "the publisher's file is known to have changed."
        )
    if not recorded:
        with contextlib.suppress(OSError):  # a cache that is only read
            _record(path, weights, facts)
    return path


def _facts(path) -> dict:
    return {"size": path.stat().st_size, "sha256": sha256(path)}


def _problem(weights, path, facts, recorded) -> str | None:
    """What is wrong with a file, or `None`."""
    with open(path, "rb") as file:
        if what := readers.not_weights(file.read(1024)):
            return f"looks like {what.rstrip('.')}"
    record = transfer.beside(cached_path(weights)).name
    published = {"size": weights.size, "sha256": weights.sha256}
    for expected, whose in ((published, "the published file has"), (recorded, f"{record} recorded at first use")):
        if expected.get("size") not in (None, facts["size"]):
            return f"has {facts['size']} bytes, where {whose} {expected['size']}"
        if not facts["sha256"].startswith((expected.get("sha256") or "").lower()):
            return f"has the SHA-256 {facts['sha256']}, where {whose} {expected['sha256']}"
    return None


def _recorded(path, weights) -> dict:
    record = transfer.read_json(transfer.beside(path))
    complete = isinstance(record.get("size"), int) and isinstance(record.get("sha256"), str)
    return record if complete and record.get("url") == weights.url else {}


def _record(path, weights, facts):
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    transfer.write_json(transfer.beside(path), {"url": weights.url, **facts, "date": date})


def _error(weights, path, reason, advice="") -> DownloadError:
    return DownloadError(
        f"The weights {weights.tag!r} of {weights.model!r} could not be fetched. {reason}. Fetch {weights.url} on a "
        f"machine that can and put it at {path}, or pass its path as `weights=`, or name a mirror (an http url or a "
        f"folder) in the environment variable {MIRROR}{', ' * bool(advice)}{advice}."
    )
