"""One file over http(s): resumable, patient with bad connections, and sure of what it gets."""

import contextlib
import errno
import http.client
import json
import pathlib
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request

from keras_mlp import files
from keras_mlp.checkpoints import readers

ATTEMPTS = 4
PAUSE = 1.0
"""Seconds before the second attempt, doubled before each further one."""

_CHUNK = 1 << 20
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
    """The dictionary in a JSON file, empty if there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
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


def download(url: str, part: pathlib.Path, *, size: int | None = None, timeout: float = 30.0, progress: bool = True):
    """Download a file, going on where an earlier attempt ended.

    Args:
        url: of http or https.
        part: path to download to. What is there is continued if it is the beginning of the same file, which
            `part` + ".json" tells; it stays if the download fails.
        size: length that the file must have, in bytes, where known.
        timeout: seconds after which a silent server is given up.
        progress: tell on stderr how far the download is.

    Raises:
        AbsentError: the server refuses it.
        TransferError: it is something else than a checkpoint, the host cannot be reached, or all attempts failed.
        OSError: it cannot be written.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            return _attempt(url, part, size, timeout, progress)
        except urllib.error.URLError as error:
            failure = error.reason
            if not isinstance(failure, TimeoutError | ConnectionResetError):
                raise TransferError(f"{url} cannot be reached ({failure})") from error
        except (_Interrupted, TimeoutError, ConnectionError, http.client.HTTPException, ssl.SSLError) as error:
            failure = error
    raise TransferError(f"{ATTEMPTS} attempts to download {url} failed, the last with: {failure!r}") from failure


def _attempt(url, part, size, timeout, progress):
    state = read_json(beside(part))
    start = part.stat().st_size if part.exists() and state.get("url") == url and state.get("validator") else 0
    if start and start == state.get("size"):
        return
    headers = {"User-Agent": "keras_mlp", "Accept-Encoding": "identity"}
    if start:  # the rest, if the file is still the same, else all of it
        headers |= {"Range": f"bytes={start}-", "If-Range": state["validator"]}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        message = f"the server answered {error.code} {error.reason} for {url}"
        if error.code == 416:  # the part is longer than the file
            remove(part)
        if error.code == 416 or error.code in _BUSY:
            raise _Interrupted(message) from error
        raise AbsentError(message) from error
    with response:
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        if size and total and total != size:
            raise TransferError(f"{url} has {total} bytes and the published file {size}")
        if response.headers.get_content_type() == "text/html":
            raise TransferError(f"{url} is a web page, not the file")
        first = response.read(1024)
        if not start and (what := readers.not_weights(first)):
            raise TransferError(f"{url} looks like {what.rstrip('.')}")
        if not start:
            remove(part)
            write_json(beside(part), {"url": url, "validator": _validator(response.headers), "size": total})
        if total:
            need_space(part.parent, total - start)
        _receive(response, first, part, start, total, _Bar(part.stem, total, progress))


def _validator(headers):
    """What names this version of the file in `If-Range`: a strong ETag, or a date."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _receive(response, chunk, part, start, total, bar):
    with open(part, "r+b" if start else "wb") as file, contextlib.closing(bar):
        file.seek(start)
        while chunk:
            file.write(chunk)
            bar.update(file.tell())
            chunk = response.read1(_CHUNK)
        done = file.tell()
    if total is not None and done < total:
        raise _Interrupted(f"the connection ended after {done} of {total} bytes")


class _Bar:
    """A line on stderr: rewritten on a terminal, else printed once."""

    def __init__(self, name, total, show):
        self.name, self.total, self.shown = name, total, 0.0
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
