"""One file over http(s): resumable, patient with bad connections, and sure of what it gets."""

import contextlib
import errno
import http.client
import json
import pathlib
import re
import shutil
import ssl
import sys
import time
import urllib.error

from keras_mlp import files
from keras_mlp.checkpoints import connection, readers

ATTEMPTS = 4
PAUSE = 1.0
"""Seconds before the second attempt, doubled before each further one."""
LARGEST = 16 * 2**30
"""Bytes that no checkpoint exceeds, where nobody tells how many there are."""

_CHUNK = 1 << 20
_LARGEST_JSON = 1 << 16
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class TransferError(Exception):
    """The file could not be had from its url; the message says why."""


class AbsentError(TransferError):
    """The server says that it has no such file, or not for us."""


class _Interrupted(Exception):
    """A failure that another attempt may mend."""


def beside(path: pathlib.Path) -> pathlib.Path:
    """The small JSON file that tells about `path`."""
    return path.with_name(path.name + ".json")


def read_json(path: pathlib.Path) -> dict:
    """The dictionary in a small JSON file, empty if there is none, or what is there cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_JSON:
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: pathlib.Path, content: dict):
    """Write a dictionary to a JSON file."""
    with files.atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def remove(part: pathlib.Path):
    """Remove a partial file and what tells about it."""
    part.unlink(missing_ok=True)
    beside(part).unlink(missing_ok=True)


def need_space(folder: pathlib.Path, count: int):
    """Raise the error of a full disk if `count` bytes are more than `folder` has room for."""
    free = shutil.disk_usage(folder).free
    if count > free:
        raise OSError(errno.ENOSPC, f"{count} more bytes are needed and {free} are free")


def download(url: str, part: pathlib.Path, *, size: int | None = None, whole=None, timeout=30.0, progress: bool = True):
    """Download a file, going on where an earlier attempt ended.

    Args:
        url: of http or https.
        part: path to download to. What is there is continued if it is the beginning of the same file, which
            `part` + ".json" tells; it stays if the download fails.
        size: length that the file must have, in bytes, where known.
        whole: whether the caller can tell a whole file from the beginning of one. If not, a server has to tell where
            its file ends; by default that is so where `size` is not known.
        timeout: seconds after which a silent server is given up; one that sends less than `connection.SLOWEST` bytes a
            second counts as silent.
        progress: tell on stderr how far the download is.

    Raises:
        AbsentError: the server refuses it.
        TransferError: it is something else than a checkpoint, the host cannot be reached, or all attempts failed.
        OSError: it cannot be written.
    """
    whole = size is not None if whole is None else whole
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        watch = connection.Watch(timeout)
        try:
            with watch:
                return _attempt(url, part, size, whole, watch, progress)
        except Exception as error:
            failure = _mendable(error, url, watch)
    text = str(failure)
    reason = text if text and text.isprintable() else repr(failure)
    raise TransferError(f"{ATTEMPTS} attempts to download {url} failed, the last with: {reason}") from failure


def _mendable(error, url, watch):
    """What another attempt may mend; what none can is raised, as a `TransferError` if it came from the other side."""
    if watch.cut and not isinstance(error, TransferError):
        return _Interrupted(str(watch))
    if isinstance(error, connection.Downgrade):
        raise TransferError(str(error)) from error
    if isinstance(error, urllib.error.URLError):
        if isinstance(error.reason, TimeoutError | ConnectionResetError):
            return error.reason
        raise TransferError(f"{url} cannot be reached ({error.reason})") from error
    broken = _Interrupted | TimeoutError | ConnectionError | http.client.HTTPException | ssl.SSLError
    if isinstance(error, broken | ValueError):  # the last by http.client, of a chunk of negative length
        return error
    raise error


def _attempt(url, part, size, whole, watch, progress):
    state = _state(part, url)
    start = part.stat().st_size if part.exists() and state else 0
    if start and start == state.get("size"):
        return
    headers = {"User-Agent": "keras_mlp", "Accept-Encoding": "identity"}
    if start:  # the rest, if the file is still the same, else all of it
        headers |= {"Range": f"bytes={start}-", "If-Range": state["validator"]}
    try:
        response = connection.open_url(url, headers, watch.timeout, watch)
    except urllib.error.HTTPError as error:
        error.close()
        message = f"the server answered {error.code} {http.client.responses.get(error.code, '')} for {url}"
        if error.code == 416:  # the part is longer than the file
            remove(part)
        if error.code == 416 or error.code in _BUSY:
            raise _Interrupted(message) from error
        raise AbsentError(message) from error
    except (http.client.InvalidURL, ValueError) as error:  # ports, brackets, names that cannot be written
        raise TransferError(f"{url!r} is, or redirects to, no address that can be asked ({error})") from error
    with response:
        length = _length(response, url)
        if response.status == 206:
            unasked = "a part of it, where all was asked for"
            if problem := _not_the_rest(response.headers, state, start, length) if start else unasked:
                remove(part)
                raise _Interrupted(f"the server sent {problem}")
            total = _total(response.headers) or state["size"]
        elif response.status == 200:
            start, total = 0, length
        else:
            raise TransferError(f"the server answered {response.status} {response.reason} for {url}")
        if size and total and total != size:
            raise TransferError(f"{url} has {total} bytes and the published file {size}")
        most = total or size or LARGEST
        if most > LARGEST:
            raise TransferError(f"{url} has {total} bytes, and no checkpoint has more than {LARGEST}")
        if response.headers.get_content_type() == "text/html":
            raise TransferError(f"{url} is a web page, not the file")
        if not (total or whole or response.chunked):
            raise TransferError(
                f"The server does not tell where {url} ends: if the connection broke, nobody would know"
            )
        first = response.read(1024)
        if not start and (what := readers.not_weights(first)) and not watch.cut:
            raise TransferError(f"{url} looks like {what.rstrip('.')}")
        if not start:
            remove(part)
            write_json(beside(part), {"url": url, "validator": _validator(response.headers), "size": total})
        if total:
            need_space(part.parent, total - start)
        _receive(response, first, part, start, total, most, watch, _Bar(part.stem, total, progress))


def _state(part, url) -> dict:
    """What is recorded of a partial file, if it says enough to go on with it."""
    state = read_json(beside(part))
    validator, size = state.get("validator"), state.get("size")
    known = isinstance(validator, str) and validator.isprintable() and (size is None or type(size) is int)
    return state if known and validator and state.get("url") == url else {}


def _length(response, url) -> int | None:
    """Bytes of the body that the server announces, or `None`; it has to be the file as it is."""
    headers = response.headers
    for name, plain in (("Content-Encoding", ("identity",)), ("Transfer-Encoding", ("identity", "chunked"))):
        for coding in headers.get_all(name, []):
            if coding.strip().lower() not in ("", *plain):
                raise TransferError(f"The server sends {url} encoded and not as it is ({name}: {coding})")
    if response.chunked:  # then a length counts for nothing
        return None
    lengths = {length.strip() for length in headers.get_all("Content-Length", [])}
    if len(lengths) > 1 or not all(re.fullmatch("[0-9]{1,18}", length) for length in lengths):
        raise TransferError(f"The server gives {url} the length {' and '.join(map(repr, sorted(lengths)))}")
    return int(lengths.pop()) if lengths else None


def _range(headers):
    """First and last byte and the whole file's length, as a 206 tells them in words."""
    return re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", headers.get("Content-Range", "").strip())


def _total(headers) -> int | None:
    total = _range(headers)[3]
    return None if total == "*" else int(total)


def _not_the_rest(headers, state, start, length) -> str | None:
    """What a 206 sends that is not the rest of the file, from `start` to its end, of the version in `state`."""
    found = _range(headers)
    if not found:
        return f"a part of it that it does not name (Content-Range: {headers.get('Content-Range')})"
    first, last, total = int(found[1]), int(found[2]), _total(headers) or state["size"]
    if first != start or total is None or last != total - 1 or length not in (None, last - first + 1):
        return f"another part of it than the rest from {start} on (Content-Range: {found[0]}, {length} bytes)"
    if state["size"] not in (None, total):
        return f"a part of another file, of {total} bytes instead of {state['size']}"
    # A date need not be repeated, an ETag has to be.
    name = "ETag" if state["validator"].startswith('"') else "Last-Modified"
    there = headers.get(name)
    if there != state["validator"] and (there or name == "ETag"):
        return f"a part of another version ({name}: {there} instead of {state['validator']})"
    return None


def _validator(headers):
    """What names this version of the file in `If-Range`: a strong ETag, or a date."""
    etag = headers.get("ETag")
    return etag if etag and etag.startswith('"') else headers.get("Last-Modified")


def _receive(response, chunk, part, start, total, most, watch, bar):
    with open(part, "r+b" if start else "wb") as file, contextlib.closing(bar):
        file.seek(start)
        done = start
        while chunk:
            done += len(chunk)
            if done > most:
                break
            file.write(chunk)
            watch.received += len(chunk)
            bar.update(done)
            chunk = response.read1(_CHUNK)
    if done > most:
        remove(part)
        raise TransferError(f"the server sends more than the {most} bytes that the file may have")
    if watch.cut or (total is not None and done < total):
        raise _Interrupted(f"the connection ended after {done} of {total or 'an unknown number of'} bytes")


class _Bar:
    """A line on stderr: rewritten on a terminal, else printed once."""

    def __init__(self, name, total, show):
        self.name, self.total, self.shown = name, total, 0.0
        show = show and sys.stderr is not None  # as it is where the error stream is closed
        self.live = show and sys.stderr.isatty()
        if show and not self.live:
            print(f"Downloading {name} ({total or 'unknown'} bytes)", file=sys.stderr, flush=True)

    def update(self, done):
        if self.live and (done == self.total or time.monotonic() - self.shown > 0.1):
            self.shown = time.monotonic()
            total = f" of {self.total / 1e6:.1f} MB, {100 * done // self.total} %" if self.total else " MB"
            print(f"\rDownloading {self.name}: {done / 1e6:.1f}{total}", end="", file=sys.stderr, flush=True)

    def close(self):
        if self.live:
            print(file=sys.stderr, flush=True)
