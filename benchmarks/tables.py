"""Tables of what was measured: printed row by row, kept with `--save`, and written into the pages of docs/.

    python -m benchmarks.roof --models=vip_small7,res_mlp_12 --save=docs/measurements/roof.json
    python -m benchmarks.tables

A file of docs/measurements/ holds a table's columns and rows, the command that measured them, the machine, the commit
of the code and the day. The second command writes each table into the pages that name it: `<!-- measured: roof -->`
begins the place of docs/measurements/roof.json, and `<!-- /measured -->` ends it.
"""

import dataclasses
import datetime
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

from absl import app, flags

from benchmarks import machine

ROOT = pathlib.Path(__file__).parents[1]
MEASUREMENTS = ROOT / "docs" / "measurements"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_SAVE = flags.DEFINE_string(
    "save", None, "File to keep the table in, as JSON, with the command, the machine and the commit."
)


@dataclasses.dataclass
class Measured:
    """A table, and where its numbers are from.

    Attributes:
        columns: headings.
        rows: cells as text, a list a row.
        command: what printed the rows.
        machine: what it ran on.
        commit: of the code, as `git rev-parse --short` gives it.
        date: the day, YYYY-MM-DD.
        note: what else one has to know to read it.
    """

    columns: list[str]
    rows: list[list[str]]
    command: str
    machine: str
    commit: str
    date: str
    note: str = ""

    def markdown(self) -> str:
        """The table and its source."""
        lines = [f"| {' | '.join(cells)} |" for cells in (self.columns, ["---"] * len(self.columns), *self.rows)]
        note = f" {self.note}" if self.note else ""
        source = f"Machine: {self.machine}. Code: commit {self.commit}, {self.date}. Command: `{self.command}`.{note}"
        return "\n".join([*lines, "", source])


def this_run() -> dict[str, str]:
    """Where what is measured now is from: the fields of `Measured` that tell it."""
    return {"command": command(), "machine": here(), "commit": commit(), "date": datetime.date.today().isoformat()}


def sources(rows: list[dict]) -> dict[str, str]:
    """Where rows are from that carry the fields of `Measured` that tell it, each value once."""
    return {
        key: "; ".join(dict.fromkeys(row.get(key, "not noted") for row in rows))
        for key in ("command", "machine", "commit", "date")
    }


class Table:
    """Prints rows in columns as they are measured, and keeps them in the file of `--save`.

    Args:
        columns: pairs of a heading and a format, as `("ms", ">8.1f")`. The format's width, or the heading's if that is
            more, is the column's.
        keep: the file, if it is not that of `--save`.
        source: where the rows are from; by default this process.
        note: as in `Measured`.
    """

    def __init__(self, *columns: tuple[str, str], keep: str | None = None, source: dict | None = None, note: str = ""):
        self.columns, self.keep = columns, keep or _SAVE.value
        self.widths = [max(len(heading), int("0" + re.match(r"[<>]?(\d*)", form)[1])) for heading, form in columns]
        self.measured = Measured([heading for heading, _ in columns], [], **(source or this_run()), note=note)
        self._print([heading for heading, _ in columns])

    def row(self, *values):
        """Print a row, and keep it: what has been measured is not lost if the next one fails."""
        cells = [format(value, form).strip() for value, (_, form) in zip(values, self.columns, strict=True)]
        self._print(cells)
        self.measured.rows.append(cells)
        if self.keep:
            save(self.measured, self.keep)

    def _print(self, cells):
        words = [
            f"{cell:<{width}}" if form.startswith("<") else f"{cell:>{width}}"
            for cell, width, (_, form) in zip(cells, self.widths, self.columns, strict=True)
        ]
        print(" ".join(words).rstrip(), flush=True)


def save(measured: Measured, path):
    """Write a table to a file, whole or not at all."""
    from keras_mlp.files import atomic_path

    with atomic_path(path) as temporary:
        pathlib.Path(temporary).write_text(
            json.dumps(dataclasses.asdict(measured), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def load(name: str) -> Measured:
    """A table of docs/measurements/."""
    return Measured(**json.loads((MEASUREMENTS / f"{name}.json").read_text(encoding="utf-8")))


def command() -> str:
    """This process' command, as one would type it; without `--save`."""
    module = getattr(sys.modules["__main__"].__spec__, "name", None) or pathlib.Path(sys.argv[0]).stem
    words = [word for word in sys.argv[1:] if not re.match("--?save", word)]
    return shlex.join(["python", "-m", module, *words])


def here() -> str:
    """This machine, in words."""
    return f"{machine.processor()}, {os.cpu_count()} cores"


def commit() -> str:
    """The commit of the code, with "+" where files differ from it; "unknown" outside a checkout."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def filled(page: str) -> str:
    """A page with the tables that it names.

    Raises:
        FileNotFoundError: there is no such file of measurements.
    """
    place = re.compile(r"(<!-- measured: (\S+) -->\n).*?(<!-- /measured -->)", re.DOTALL)
    return place.sub(lambda found: f"{found[1]}\n{load(found[2]).markdown()}\n\n{found[3]}", page)


def main(argv):
    if argv[1:]:
        sys.exit(f"error: Unknown argument: {argv[1]!r}. See --help.")
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{', '.join(str(page.relative_to(ROOT)) for page in PAGES)}: written from {MEASUREMENTS.relative_to(ROOT)}")


if __name__ == "__main__":
    app.run(main)
