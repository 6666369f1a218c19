"""What the subcommands share of the terminal: errors, tables, JSON lines, progress."""

import json
import logging
import os
import shutil
import sys
import textwrap


class UsageError(Exception):
    """A mistake in the command line."""


def error(message: str):
    """Write one line to the error stream."""
    print(f"keras-mlp: {message}", file=sys.stderr, flush=True)


def silence_libraries():
    """Keep what C++ writes to the error stream off the terminal, to which Python's `sys.stderr` still goes."""
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def quieten_loggers():
    """No Python log messages below errors from libraries."""
    for name in ("absl", "tensorflow", "jax"):
        logging.getLogger(name).setLevel(logging.ERROR)


def for_a_person() -> bool:
    """Whether somebody sees the output; if not, a program reads it."""
    return sys.stdout.isatty()


def print_json(value):
    """One JSON object in a line of its own."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


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
