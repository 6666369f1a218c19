"""Names that `predict` is given, as odd as files and folders may be called."""

import os
import signal

import numpy as np
import pytest
from PIL import Image

from keras_mlp.cli import videos


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a picture a.png in it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((32, 32, 3), 128, "uint8")).save("a.png")
    return tmp_path


def files(result):
    return [row["file"] for row in result.rows]


def test_each_name_gets_a_prediction_as_often_as_it_is_given(command, tiny, folder):
    os.symlink(".", "link")
    result = command("predict", f"--model={tiny}", "a.png", "./a.png", "a.png", "link/a.png")
    assert result.code == 0 and files(result) == ["a.png", "a.png", "a.png", "link/a.png"]
    assert len({str(row["predictions"]) for row in result.rows}) == 1


def test_an_empty_name_is_not_the_current_folder(command, tiny, folder):
    for names in ([""], ["a.png", ""]):
        result = command("predict", f"--model={tiny}", *names)
        assert result.code == 2 and 'is empty; "." is the current folder' in result.err and not result.out


@pytest.mark.parametrize("name", ["--my-photo.png", "-p.png", "--help", "--verbose", "--"])
def test_after_two_dashes_names_are_taken_as_they_are(command, tiny, folder, name):
    (folder / "a.png").rename(folder / name)
    result = command("predict", f"--model={tiny}", "--", name)
    assert result.code == 0 and files(result) == [name], result.err


def test_names_that_are_not_utf8_are_predicted_and_named(command, tiny, folder):
    content = (folder / "a.png").read_bytes()
    for name, within in ((b"b\xff.png", content), (b"c\xe4.png", b"no image"), (b"d.png", content)):
        with open(os.fsencode(folder) + b"/" + name, "wb") as file:
            file.write(within)
    result = command("predict", f"--model={tiny}", ".")
    assert result.code == 1
    assert list(map(os.fsencode, files(result))) == [b"a.png", b"b\xff.png", b"d.png"]  # JSON keeps the very name
    assert r"c\xe4.png: not an image" in result.err


def test_what_is_no_regular_file_is_named_and_not_waited_for(command, tiny, folder):
    os.mkfifo("pipe.png")
    os.symlink("nowhere", "dead.png")
    (folder / "folder.png").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "folder.png" / "inside", "png")  # a PNG by content
    signal.alarm(60)  # where it hangs it fails
    try:
        result = command("predict", f"--model={tiny}", "pipe.png", "/dev/zero", "a.png", "folder.png", "dead.png")
    finally:
        signal.alarm(0)
    assert result.code == 1 and files(result) == ["a.png", "folder.png/inside"]
    assert "pipe.png: no regular file" in result.err and "/dev/zero: no regular file" in result.err
    assert "dead.png: No such file" in result.err
    assert files(command("predict", f"--model={tiny}", ".")) == ["a.png", "folder.png/inside"]


def test_links_in_circles_end(command, tiny, folder):
    for name in ("one", "two"):
        os.symlink(".", name)
    result = command("predict", f"--model={tiny}", ".")
    assert result.code == 0 and files(result) == ["a.png"]
    (folder / "videos").mkdir()
    for name in ("one", "two"):
        os.symlink(".", folder / "videos" / name)
    (folder / "videos" / "clip.mp4").write_bytes(b"")
    os.mkfifo(folder / "videos" / "pipe.png")
    (folder / "videos" / "frames.png").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "videos" / "frames.png" / "0.webp")
    found = videos.find([str(folder / "videos")])
    assert [path.name for path in found] == ["clip.mp4", "frames.png"]
