import os
import pathlib
import signal
import subprocess
import sys

import pytest

import keras_mlp
from keras_mlp.files import atomic_path, remove_leftovers, temporary_folder


def test_a_file_appears_whole_and_the_old_one_stays_until_then(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent and temporary.name.endswith(".keras")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["model.keras"]


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5", "v1.5.keras", "folder", ".hidden"])
def test_suffixes_are_kept(tmp_path, name):
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.name != name
        assert temporary.name.partition(".tmp-")[2].partition(".")[2] == name.partition(".")[2]
        temporary.touch()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("folder", [False, True])
def test_a_failure_leaves_everything_as_it_was(tmp_path, error, folder):
    (tmp_path / "a").write_text("old")
    with pytest.raises(error), atomic_path(tmp_path / "a") as temporary:
        if folder:
            temporary.mkdir()
            temporary /= "half"
        temporary.write_text("half")
        raise error
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_replaces_a_folder(tmp_path):
    for content in ("one", "two"):
        with atomic_path(tmp_path / "new" / "run") as temporary:
            temporary.mkdir()
            (temporary / content).touch()
    assert os.listdir(tmp_path / "new") == ["run"]
    assert os.listdir(tmp_path / "new" / "run") == ["two"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_path(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="Nothing was written"), atomic_path(tmp_path / "a"):
        pass


# A process that is killed ----------------------------------------------------------------------------------------

WRITE = """
import os, pathlib, shutil, signal, sys, types
sys.modules["keras_mlp"] = types.ModuleType("keras_mlp")  # without Keras, which takes seconds
sys.modules["keras_mlp"].__path__ = [sys.argv[1]]
from keras_mlp.files import atomic_path, temporary_folder
kind, path, content = sys.argv[2:5]

def killed(function, count):
    "The function, in whose call of that number the process is killed, before anything is done."
    calls = []
    def call(*arguments, **options):
        calls.append(arguments)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

exec(sys.argv[5])
with temporary_folder(os.path.dirname(path)) as beside, atomic_path(path) as temporary:
    if kind == "folder":
        temporary.mkdir()
        (temporary / "a").write_text(content)
        ended_here()
        (temporary / "b").write_text(content)
    else:
        temporary.write_text(content)
        ended_here()
"""
NEVER = "ended_here = lambda: None\n"
KILLED = {
    ("file", "never"): NEVER,
    ("file", "while it writes"): "ended_here = killed(None, 1)",
    ("file", "before it takes its place"): NEVER + "os.replace = killed(os.replace, 1)",
    ("folder", "never"): NEVER,
    ("folder", "while it writes"): "ended_here = killed(None, 1)",
    ("folder", "before the first renaming"): NEVER + "pathlib.Path.rename = killed(pathlib.Path.rename, 1)",
    ("folder", "between the two"): NEVER + "pathlib.Path.rename = killed(pathlib.Path.rename, 2)",
    ("folder", "before the old one is removed"): NEVER + "shutil.rmtree = killed(shutil.rmtree, 1)",
    ("folder", "while the old one is removed"): NEVER + "os.unlink = killed(os.unlink, 2)",
}


def write(kind, path, content, when="never"):
    """Write in a process of its own, which may be killed; its code."""
    words = [sys.executable, "-c", WRITE, keras_mlp.__path__[0], kind, path, content, KILLED[kind, when]]
    return subprocess.run(words).returncode


def content(path):
    return [file.read_text() for file in sorted(path.iterdir())] if path.is_dir() else path.read_text()


@pytest.mark.parametrize(("kind", "when"), KILLED)
def test_a_kill_at_any_point_loses_nothing_and_the_next_one_cleans_up(tmp_path, kind, when):
    path = tmp_path / "model.v1.5[a]"
    written = (lambda text: [text, text]) if kind == "folder" else str
    assert write(kind, path, "old") == 0
    assert write(kind, path, "new", when) == (0 if when == "never" else -signal.SIGKILL)
    complete = [written("old"), written("new")]
    assert any(content(left) in complete for left in tmp_path.iterdir() if not left.name.startswith("."))
    if path.exists():
        assert content(path) in complete
    with pytest.raises(KeyError), atomic_path(path):  # which only looks at what is there
        raise KeyError
    with temporary_folder(tmp_path):
        pass
    assert os.listdir(tmp_path) == [path.name]
    assert content(path) in complete


def test_what_may_belong_to_a_process_that_runs_is_left(tmp_path):
    path = tmp_path / "a.keras"
    with atomic_path(path) as mine:
        mine.touch()
        running = mine.name.replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
        elsewhere = "a.tmp-00000000-4194305-01234567.keras"
        ended = mine.name.replace(f"-{os.getpid()}-", "-4194305-")  # more than Linux counts
        before = mine.name[: mine.name.rindex("-")] + "-01234567.keras"  # by a process that had this one's number
        others = {running, elsewhere, "a.keras.tmp-1", "b" + ended[1:], ended.replace(".keras", ".csv")}
        for name in {ended, before} | others:
            (tmp_path / name).touch()
        with atomic_path(path) as inner:
            inner.touch()
            assert set(os.listdir(tmp_path)) == {mine.name, inner.name} | others
    assert set(os.listdir(tmp_path)) == {"a.keras"} | others
    remove_leftovers(path)
    assert set(os.listdir(tmp_path)) == {"a.keras"} | others - {running, elsewhere}


@pytest.mark.parametrize("number", [1, 2])
def test_a_folder_that_cannot_be_replaced_comes_back(tmp_path, monkeypatch, number):
    path, calls, rename = tmp_path / "run", [], pathlib.Path.rename
    path.mkdir()
    (path / "old").touch()

    def fails(self, target):
        calls.append(target)
        if len(calls) == number:
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", fails)
    with pytest.raises(OSError, match="no"), atomic_path(path) as temporary:
        temporary.mkdir()
    assert os.listdir(tmp_path) == ["run"] and os.listdir(path) == ["old"]
