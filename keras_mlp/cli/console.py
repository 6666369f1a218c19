"""What the subcommands share of the terminal: errors, tables, JSON lines, progress."""

import codecs
import json
import logging
import os
import shutil
import sys
import textwrap
import unicodedata

# What accents cannot be taken from, for terminals that do not know it.
_PLAIN = {"×": "x", "“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "−": "-", "→": "->"}


class UsageError(Exception):
    """A mistake in the command line."""


def prepare_streams():
    """Give this process three streams, whatever it was started with.

    One that is closed, as under daemons, goes nowhere; otherwise the next file that is opened would take its number,
    and get what is printed. Characters that a stream's encoding lacks are written in plain letters.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free is this one
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="keras_mlp.plain")


def _in_plain_letters(error):
    """Replace characters that an encoding lacks by plain letters; an error handler of `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(letter):
    bare = _PLAIN.get(letter) or unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return bare or letter.encode("ascii", "backslashreplace").decode()


codecs.register_error("keras_mlp.plain", _in_plain_letters)


def flush():
    """Write out what was printed; if nobody takes it any more, Python does not try again when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def error(message: str):
    """Write one line to the error stream, if anybody takes it."""
    try:
        print(f"keras-mlp: {message}", file=sys.stderr, flush=True)
    except OSError:
        flush()


def silence_libraries():
    """Keep what C++ writes to the error stream off the terminal, to which Python's `sys.stderr` still goes."""
    flush()
    own, encoding = os.dup(2), sys.stderr.encoding
    sys.stderr = os.fdopen(own, "w", buffering=1, encoding=encoding, errors="keras_mlp.plain")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def quieten_loggers():
    """No Python log messages below errors from libraries."""
    for name in ("absl", "tensorflow", "jax", "matplotlib", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)


def for_a_person() -> bool:
    """Whether somebody sees the output; if not, a program reads it."""
    return sys.stdout.isatty()


def print_json(value):
    """Print one JSON object in a line of its own. Characters that the encoding lacks become JSON's escapes."""
    encoding = codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name
    text = json.dumps(value, ensure_ascii=encoding != "utf-8")
    # Names of files that are not UTF-8 hold bytes that are no character; JSON's escapes stand for them.
    print(text.encode("utf-8", "backslashreplace").decode(), flush=True)


def table(rows, align: str = "", indent: str = "") -> str:
    """Rows of cells as columns of text; the last column is wrapped to the terminal's width.

    Args:
        rows: tuples of cells; `None` is an empty one.
        align: "<" or ">" for each column; left where it is shorter.
        indent: what every line begins with.
    """
    rows = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align = align.ljust(len(widths), "<")
    lines = []
    for *cells, last in rows:
        start = indent + "".join(f"{cell:{a}{width}}  " for cell, a, width in zip(cells, align, widths, strict=False))
        last = f"{last:>{widths[-1]}}" if align[-1] == ">" else last
        wrapped = textwrap.wrap(
            last,
            max(_width() - len(start), 16),
            drop_whitespace=align[-1] == "<",
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
        lines += [(start + wrapped[0]).rstrip(), *(" " * len(start) + line for line in wrapped[1:])]
    return "\n".join(lines)


def paragraphs(text: str) -> str:
    """Text wrapped to the terminal's width, paragraph by paragraph."""
    return "\n\n".join(textwrap.fill(paragraph, _width()) for paragraph in text.strip().split("\n\n"))


def _width() -> int:
    return min(shutil.get_terminal_size().columns, 120)


def progress(items, description: str, total: int):
    """Iterate with a progress bar on the error stream, if that is a terminal and there is something to wait for."""
    if total < 2 or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description, total, console=Console(file=sys.stderr), transient=True)


def require(flags, *names: str):
    """Refuse a command line that lacks one of these flags."""
    for name in names:
        if flags[name].value in (None, "", []):
            raise UsageError(f"--{name} is missing")


def only(arguments: list[str], most: int = 0):
    """Refuse a command line with too many words."""
    if len(arguments) > most:
        takes = f"takes {'one argument' if most == 1 else f'{most} arguments'}" if most else "takes flags only"
        raise UsageError(f"the command {takes}. Received: {' '.join(arguments)}")
