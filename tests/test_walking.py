"""Folders are searched to the bottom: it ends, and no file is found twice, whatever links there are."""

import os
import random

import pytest
import tensorflow as tf

from keras_mlp.cli import images, videos
from keras_mlp.training.data import folders, records
from keras_mlp.walking import subfolders, walk


def make(folder, *files):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(file)
    return folder


def link(path, to):
    path.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(to, path)


FILES = ("a/1.mp4", "b/2.mp4", "c.mp4")
# Links in a folder with these files, and what they add to them.
LINKS = {
    "to itself": ({"x": "."}, []),
    "two to itself": ({"x": ".", "y": "."}, []),
    "two to itself, below": ({"a/x": "..", "a/y": "../../top"}, []),
    "two to the folder above": ({"x": "..", "b/y": "../.."}, []),
    "to one another": ({"x": "y", "y": "x"}, ["x", "y"]),
    "into one another": ({"a/x": "../b", "b/y": "../a"}, []),
    "to the root": ({"x": "/"}, []),
    "to nothing": ({"x.mp4": "nowhere"}, ["x.mp4"]),
    "to a folder elsewhere": ({"x": "../elsewhere"}, ["x/3.mp4", "x/more/4.mp4"]),
    "two to a folder elsewhere": ({"y": "../elsewhere", "a/x": "../../elsewhere"}, ["a/x/3.mp4", "a/x/more/4.mp4"]),
    "to a folder elsewhere and one in it": ({"x": "../elsewhere/more", "z": "../elsewhere"}, ["x/4.mp4", "z/3.mp4"]),
    "to a folder that links back": ({"x": "../back"}, ["x/5.mp4"]),
    "to files in it": ({"x.mp4": "c.mp4", "a/y.mp4": "../b/2.mp4"}, []),
    "to files elsewhere": (
        {"x.mp4": "../elsewhere/3.mp4", "y.mp4": "../elsewhere/3.mp4", "a/z": "../../elsewhere/more"},
        ["a/z/4.mp4", "x.mp4"],
    ),
    "to a file in a folder elsewhere that is found": (
        {"a.mp4": "../elsewhere/3.mp4", "z": "../elsewhere"},
        ["z/3.mp4", "z/more/4.mp4"],
    ),
    "to files in hidden folders, as git-annex makes them": ({"x.mp4": ".store/6.mp4"}, ["x.mp4"]),
    "chains": ({"x": "y", "y": "z", "z": "../elsewhere"}, ["x/3.mp4", "x/more/4.mp4"]),
}


@pytest.fixture
def top(tmp_path):
    make(tmp_path / "elsewhere", "3.mp4", "more/4.mp4")
    make(tmp_path / "back", "5.mp4")
    link(tmp_path / "back" / "x", "../top")
    link(tmp_path / "back" / "y", "../back")
    return make(tmp_path / "top", *FILES, ".store/6.mp4", ".hidden", "a/.hidden.mp4")


@pytest.mark.parametrize("links, more", LINKS.values(), ids=LINKS)
def test_each_folder_is_searched_once_and_each_file_found_once(top, links, more):
    for name, to in links.items():
        link(top / name, to)
    expected = [top / name for name in [*FILES, *more]]
    expected.sort()
    assert walk(top) == [expected]
    assert images.find([str(top)]) == videos.find([str(top)]) == expected
    link(top.parent / "by a link", top)
    (by_a_link,) = walk(top.parent / "by a link")
    assert [os.path.realpath(file) for file in by_a_link] == [os.path.realpath(file) for file in expected]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_links_there_are_all_that_can_be_reached_is_found_once(tmp_path, seed):
    """As a search does that opens every path and remembers where it was."""
    rng, here = random.Random(seed), [tmp_path / "top"]
    here[0].mkdir()
    for i in range(30):
        path = rng.choice(here) / f"{i}"
        kind = rng.choice(("folder", "file", "link", "link"))
        if kind == "folder":
            path.mkdir()
            here.append(path)
        elif kind == "file":
            path.touch()
        else:
            link(path, rng.choice([*here, tmp_path / "top" / "0", tmp_path / "top" / str(rng.randrange(30))]))
    reached, pending = set(), [os.path.realpath(tmp_path / "top")]
    while pending:
        path = os.path.realpath(pending.pop())
        if path not in reached:
            reached.add(path)
            if os.path.isdir(path):
                pending += [os.path.join(path, name) for name in os.listdir(path)]
    (files,) = walk(tmp_path / "top")
    assert sorted(os.path.realpath(file) for file in files if file.exists()) == sorted(filter(os.path.isfile, reached))


def test_a_folder_given_twice_is_found_twice(top):
    """As it was asked for; what holds of links is of those inside."""
    assert images.find([str(top / "a"), str(top / "a")]) == videos.find([top / "a"] * 2) == [top / "a" / "1.mp4"] * 2


def test_a_folder_of_frames_is_one_video_however_many_links_lead_there(top):
    make(top, "clip/1.png", "clip/more/2.png")
    link(top / "a" / "x", top / "clip")
    link(top / "y", top / "clip" / "1.png")
    assert videos.find([str(top)]) == [*(top / name for name in ("a/1.mp4", "b/2.mp4", "c.mp4", "clip"))]


def test_pipes_and_sockets_are_left_out(top):
    os.mkfifo(top / "pipe.mp4")
    link(top / "x.mp4", "pipe.mp4")
    link(top / "y.mp4", "/dev/zero")
    assert walk(top) == [sorted(top / name for name in FILES)]


def test_a_folder_that_is_not_there_has_no_files(top):
    assert walk(top / "a", top / "nowhere") == [[top / "a" / "1.mp4"], []]


def test_class_folders_have_their_images_once_whatever_links_there_are(tmp_path):
    data = make(tmp_path / "data", *(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(5)))
    make(tmp_path / "elsewhere", "5.png", "6.png")
    for name, to in {
        **{"x": ".", "y": "..", "cat/x": ".", "cat/y": "..", "cat/z": "../..", "dog/x": "../cat", "cat/v": "../dog"},
        **{"dog/more": "../../elsewhere", "dog/too": "../../elsewhere", "dog/1_again.png": "1.png"},
    }.items():
        link(data / name, to)
    assert subfolders(data) == ["cat", "dog"]
    source = folders.folder(data, "all")
    assert source.classes == ["cat", "dog"] and source.counts() == [5, 7]
    split = tmp_path / "split"
    link(split / "train", data)
    make(split, "test/cat/7.png", "test/dog/8.png")
    link(split / "test" / "dog" / "x", "../cat")
    assert [folders.folder(split, name).counts() for name in ("train", "test")] == [[5, 7], [1, 1]]
    link(data / "kitten", "cat")
    with pytest.raises(ValueError, match="cat and .*kitten are one folder"):
        folders.folder(data, "all")


def test_a_file_of_records_that_several_names_lead_to_counts_once(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "train-00000-of-00002")) as writer:
        for label in (0, 1):
            feature = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"an image"])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    link(tmp_path / "train-00001-of-00002", "train-00000-of-00002")
    link(tmp_path / "test.tfrecord", "train-00000-of-00002")
    assert [records.records(tmp_path, name).counts() for name in ("train", "test")] == [[1, 1], [1, 1]]
