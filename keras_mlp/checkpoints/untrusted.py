"""Files that others made: what they may take in memory, and the one kind of error that they are refused with."""

import contextlib
import os
import re
import zipfile

RATIO = 64
FLOOR = 64 << 20
"""What a file holds may take `RATIO` times its own length in memory, or `FLOOR` bytes if that is more.

Weights hardly compress, and signs packed to bits unfold to 32 times their size; what is a thousandth of its contents is
made to fill the memory."""


class Allowance:
    """Bytes that the contents of one file may still take.

    Args:
        length: of the file, in bytes.
        limit: what they may take, by default as `RATIO` and `FLOOR` say.
    """

    def __init__(self, length: int, limit: int | None = None):
        self.length = length
        self.left = self.limit = max(FLOOR, RATIO * length) if limit is None else limit

    @classmethod
    def of(cls, path) -> "Allowance":
        """The one of the file at `path`."""
        return cls(os.path.getsize(path))

    def take(self, name: str, count: int):
        """Take `count` bytes for what the file calls `name`, before they are allocated.

        Raises:
            ValueError: so many are not left.
        """
        self.left -= count
        if self.left < 0:
            raise ValueError(
                f"with {name!r} it declares more than {self.limit / 1e6:.0f} MB, which no genuine file of "
                f"{self.length} bytes does"
            )


def unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, allowance: Allowance) -> bytearray:
    """A member of an archive, of exactly the length that the archive declares and `allowance` has left."""
    allowance.take(info.filename, info.file_size)
    data = bytearray(info.file_size)
    # Decompressors other than deflate's give all that they can for what they were given: they get little.
    step = 1 << 20 if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else 4096
    done = 0
    with archive.open(info) as stream, memoryview(data) as view:
        while done < len(data):
            count = stream.readinto(view[done : done + step])
            if not count:
                raise EOFError(f"{info.filename} ends after {done} of {len(data)} bytes")
            done += count
    return data


def one_line(text, most: int = 300) -> str:
    """`text` on one line, of printable characters, not longer than `most`."""
    text = re.sub(r"\s+", " ", str(text)[: 4 * most]).strip()
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= most else text[: most - 1] + "…"


def some(names, most: int = 8) -> str:
    """The first few of `names`, and how many more there are."""
    names = list(names)
    return ", ".join(one_line(n, 200) for n in names[:most]) + (
        f" and {len(names) - most} more" if len(names) > most else ""
    )


@contextlib.contextmanager
def refusing(path):
    """Turn whatever reading the file at `path` raises into a `ValueError` of one line that names it.

    A file that is missing or may not be read keeps Python's own error, which names it, too.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except ValueError as error:
        message = one_line(error, 1000)
        if str(path) not in message:
            message = f"{path} cannot be read: {message.rstrip('.')}."
        raise ValueError(message) from error
    except MemoryError as error:
        raise ValueError(f"{path} cannot be read: it declares more than the memory holds, or is damaged.") from error
    except Exception as error:  # the libraries raise whatever their parts do
        what = one_line(f"{type(error).__name__}: {error}".rstrip(": "))
        raise ValueError(f"{path} cannot be read: it is truncated or damaged ({what}). Fetch it again.") from error
