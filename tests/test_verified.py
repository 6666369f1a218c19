"""`make test-all` says what passed, at which commit, and goes on where it was stopped."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

TESTS = """
import pathlib, pytest

slow = pytest.mark.slow

@pytest.mark.parametrize("number", [1, pytest.param(2, marks=slow), pytest.param(3, marks=slow)])
def test_numbers(number):
    with open(pathlib.Path(__file__).parents[1] / "ran.log", "a") as log:
        log.write(f"{number}\\n")
    assert number < LIMIT

def test_quick():
    pass
"""


@pytest.fixture
def project(tmp_path):
    """A repository with one file of tests; a function runs its exhaustive cases and gives the numbers that ran."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(path) for path in pathlib.Path(__file__).parents[:2])}
    environment |= {f"GIT_{who}_{what}": "me@here" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*words):
        done = subprocess.run(
            ["git", *words], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(limit):
        (tmp_path / "tests/test_it.py").write_text(TESTS.replace("LIMIT", str(limit)))
        git("add", "--all")
        git("commit", "--quiet", "--message=a step")
        return git("rev-parse", "--short=10", "HEAD")

    def run(*words):
        log = tmp_path / "ran.log"
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-p", "verified", "-m", "slow or not slow", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return sorted(log.read_text().split()) if log.exists() else [], done.stdout

    for folder in ("docs", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".gitignore").write_text("ran.log\n.pytest_cache\n__pycache__\n")
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\nmarkers = ['slow: takes long']\n")
    git("init", "--quiet")
    return commit, run, tmp_path / "docs"


def test_what_passed_is_recorded_and_not_run_again(project):
    commit, run, docs = project
    first = commit(limit=3)
    assert run()[0] == ["1", "2", "3"]
    (row,) = json.loads((docs / "verified.json").read_text())
    counts = {name: row[name] for name in ("test", "cases", "passed", "failed", "commit")}
    assert counts == dict(test="tests/test_it.py::test_numbers", cases=3, passed=2, failed=1, commit=first)
    assert (
        f"| `tests/test_it.py::test_numbers` | 2 of 3, **1 failed** | {first} |" in (docs / "verified.md").read_text()
    )

    assert run("--numprocesses=2")[0] == ["3"]  # also where xdist's processes run the tests
    assert json.loads((docs / "verified.json").read_text()) == [row]
    second = commit(limit=4)
    assert run("--numprocesses=2")[0] == ["1", "2", "3"]
    assert f"| 3 of 3 | {second} |" in (docs / "verified.md").read_text()
    assert run()[0] == []


def test_nothing_is_recorded_of_a_tree_with_changes(project):
    commit, run, docs = project
    commit(limit=4)
    (docs.parent / "tests/test_it.py").write_text(TESTS.replace("LIMIT", "5"))
    ran, printed = run()
    assert ran == ["1", "2", "3"] and not list(docs.iterdir())
    assert "docs/verified.md stays as it is: the tree has changes that are not committed" in printed
