"""The command with streams that are closed, full, gone or know few letters, as cron jobs, daemons and pipes give it."""

import json
import os
import subprocess
import sys

import pytest

from keras_mlp.cli import console, main

# What commands answer without a model: their help, and a mistake in the command line.
EVERY = [["--help"], *([name, word] for name in main.COMMANDS for word in ("--help", "--nonsense"))]
FEW = [["--help"], ["train", "--help"], ["list", "--nonsense"]]
STREAMS = {
    "closed input": "<&-",
    "closed output": ">&-",
    "closed errors": "2>&-",
    "all closed": "<&- >&- 2>&-",
    "full output": ">/dev/full",
    "full errors": "2>/dev/full",
    "both full": ">/dev/full 2>/dev/full",
    "an output nobody reads": "> >(exec true)",
    "errors nobody reads": "2> >(exec true)",
    "an output to be read from": "1</dev/null",
}


def shell(launcher, lines, **environment):
    """Run lines of a shell in which `keras-mlp` is the command; its exit code, output and error stream."""
    define = 'keras-mlp() { "$PYTHON" "$SCRIPT" "$@"; }\n'
    environment = os.environ | dict(zip(("PYTHON", "SCRIPT"), launcher, strict=True)) | environment
    done = subprocess.run(["bash", "-c", define + lines], capture_output=True, env=environment)
    return done.returncode, done.stdout, done.stderr.decode(errors="surrogateescape")


@pytest.mark.parametrize("form", STREAMS)
def test_streams_that_cannot_be_used_change_no_exit_code(launcher, form):
    asked = EVERY if form in ("all closed", "both full") else FEW
    lines = "".join(f"keras-mlp {' '.join(words)} {STREAMS[form]}; echo $? >&3\n" for words in asked)
    _, out, err = shell(launcher, f"exec 3>&1\n{lines}exit 0")
    codes = [int(line) for line in out.decode().splitlines() if line.isdecimal()]
    if form in ("full output", "both full", "an output to be read from"):  # what was asked for could not be said
        helped = 1
    elif form == "an output nobody reads":
        helped = {0, 141}  # it depends on whether the reader is gone already
    else:
        helped = 0
    expected = [helped if "--help" in words else 2 for words in asked]
    assert len(codes) == len(asked)
    for found, right, words in zip(codes, expected, asked, strict=True):
        assert found in right if isinstance(right, set) else found == right, words
    assert "Traceback" not in err and "Exception ignored" not in err and "Error:" not in err, err
    if "errors" not in form and form not in ("all closed", "both full"):
        assert err.count("there is no flag '--nonsense'") == 1


def test_a_file_that_is_opened_does_not_become_a_stream(launcher, tmp_path):
    """Else what libraries print would be written into it."""
    program = f"""
import os, sys
sys.path.insert(0, {os.path.dirname(launcher[1])!r})
import types
sys.modules["keras_mlp"] = types.ModuleType("keras_mlp")  # without Keras, which takes seconds
sys.modules["keras_mlp"].__path__ = [os.path.join(sys.path[0], "keras_mlp")]
from keras_mlp.cli import console
console.prepare_streams()
with open(sys.argv[1], "w") as file:
    print("printed", flush=True)
    print("an error", file=sys.stderr, flush=True)
    file.write(str(file.fileno() > 2))
"""
    command = '"$0" -c "$1" "$2" <&- >&- 2>&-'
    words = ["bash", "-c", command, sys.executable, program, tmp_path / "file"]
    assert subprocess.run(words).returncode == 0
    assert (tmp_path / "file").read_text() == "True"


FEW_LETTERS = {
    "ascii": dict(PYTHONIOENCODING="ascii"),
    "ascii, strictly": dict(PYTHONIOENCODING="ascii:strict"),
    "latin-1": dict(PYTHONIOENCODING="latin-1"),
    "the C locale": dict(LC_ALL="C"),
    "the C locale as it once was": dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
}


@pytest.mark.parametrize("form", FEW_LETTERS)
def test_what_a_terminal_does_not_know_is_written_in_plainer_letters(launcher, form):
    # ResMLP's cards have × and “ ”; a name that no encoding has comes as bytes.
    code, out, err = shell(launcher, "keras-mlp info res_mlp_24; keras-mlp info $'\\xff\\u00d7'", **FEW_LETTERS[form])
    assert code == 1 and "Traceback" not in err
    assert b"224" in out and b"Touvron" in out and err.startswith("keras-mlp: There is no model ")
    if "ascii" in form or "once" in form:
        assert b'"ResMLP: Feedforward' in out and b"224x224x3" in out and out.isascii() and err.isascii()


@pytest.mark.parametrize("form", FEW_LETTERS)
def test_json_stays_json(launcher, form):
    code, out, err = shell(launcher, "keras-mlp info res_mlp_24 --json", **FEW_LETTERS[form])
    assert code == 0 and not err
    encoding = "latin-1" if form == "latin-1" else "utf-8"
    assert json.loads(out.decode(encoding))["paper"]["authors"] == "Touvron et al."


def test_json_of_names_that_no_encoding_has(capfdbinary, monkeypatch):
    with open(1, "w", encoding="utf-8", errors="keras_mlp.plain", closefd=False) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        console.print_json({"file": "caf\udce9 ×"})
        monkeypatch.undo()
    out = capfdbinary.readouterr().out
    assert out == b'{"file": "caf\\udce9 \xc3\x97"}\n'
    assert os.fsencode(json.loads(out)["file"]) == b"caf\xe9 \xc3\x97"


def test_plainer_letters():
    text = "Müller’s “naïve” 3 × 4 → 5 – 6 — 7 − 8 \udcff \u4e2d"
    assert text.encode("ascii", "keras_mlp.plain") == b'Muller\'s "naive" 3 x 4 -> 5 - 6 - 7 - 8 \\udcff \\u4e2d'


@pytest.mark.slow
def test_a_life_without_streams_letters_or_a_home(launcher, tmp_path):
    """Real work of the commands, as a daemon of a user who has no home does it."""
    model = "--config=patch_size=4,dim=8,depth=1 --image_size=8"
    lines = f"""cd {tmp_path}
set -e
keras-mlp train --model=mlp_mixer {model} --dataset=digits --data_dir=data --split='train[:128]' \\
    --validation=none --epochs=1 --warmup_epochs=0 --output=run
keras-mlp predict --model=run/best.keras run/curves.png
keras-mlp export --model=run/best.keras --output=saved <&- >&- 2>&-
"""
    home = dict(HOME="/proc/nowhere", PYTHONIOENCODING="ascii", LC_ALL="C", KERAS_HOME="", MPLCONFIGDIR="")
    code, out, err = shell(launcher, lines, **home)
    assert code == 0, err
    assert (tmp_path / "saved").is_dir()
    assert "run/best.keras: top-1" in out.decode()
    errors = [line for line in err.splitlines() if not line.startswith("keras-mlp: ")]
    assert not [line for line in errors if "Traceback" in line or "matplotlib" in line.lower() or "Warning" in line], (
        err
    )
