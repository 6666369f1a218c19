import os

import pytest

from keras_mlp.files import atomic_path, remove_leftovers


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


def test_what_a_killed_process_left_can_be_removed(tmp_path):
    for name in ("a.tmp-0123abcd.keras", "a.keras", "b.tmp-0123abcd.keras", "a.tmp-0123abcd.csv"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a.keras")
    assert sorted(os.listdir(tmp_path)) == ["a.keras", "a.tmp-0123abcd.csv", "b.tmp-0123abcd.keras"]
