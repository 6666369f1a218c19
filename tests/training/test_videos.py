"""Videos for training and evaluation: found, sampled, decoded, changed; what cannot be read is named."""

import contextlib
import dataclasses
import os
import pathlib

import av
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from clips import REASONS, brightening, write_broken, write_frames, write_video

from keras_mlp.cards import Recipe, VideoPreprocessing
from keras_mlp.training.data import augment, videos
from keras_mlp.training.data.videos import check, lists, moving_digits, reading

PLAIN = Recipe(source="test", horizontal_flip=False, random_resized_crop=None)
CLIP = dict(frames=4, image_size=16)
WHOLE = VideoPreprocessing(crop_pct=1.0, interpolation="bilinear")


# Which frames are looked at


def test_a_dense_clip_begins_anywhere_and_keeps_its_stride():
    random, dense = np.random.RandomState(0), VideoPreprocessing(stride=3)
    clips = np.array([dense.draw(30, 4, random) for _ in range(300)])
    assert set(np.diff(clips).flat) <= {3, 4} and (clips[:, -1] - clips[:, 0] == 11).all()
    assert set(clips[:, 0]) == set(range(18)) and clips.max() == 28


def test_of_twice_the_rate_twice_as_many_frames_are_passed_over():
    dense = VideoPreprocessing(stride=3)
    clip = dense.draw(60, 4, np.random.RandomState(0), rate=60.0)
    assert clip[-1] - clip[0] == 23


def test_segments_give_a_frame_of_each_part_up_to_its_borders():
    random, whole = np.random.RandomState(0), VideoPreprocessing()
    clips = np.array([whole.draw(41, 4, random) for _ in range(300)])
    for i, column in enumerate(clips.T):
        assert set(column) == set(range(10 * i, 10 * i + 11))


def test_of_short_videos_frames_are_repeated():
    random = np.random.RandomState(0)
    np.testing.assert_array_equal(VideoPreprocessing(stride=4).draw(3, 4, random), [0, 2, 2, 2])
    clip = VideoPreprocessing().draw(2, 4, random)
    assert (np.diff(clip) >= 0).all() and set(clip) <= {0, 1}


# Decoding


class Counted:
    """PyAV's container, of which the frames that are decoded are counted."""

    frames = 0

    def __init__(self, container):
        self.container = container

    def __getattr__(self, name):
        return getattr(self.container, name)

    def decode(self, stream):
        for frame in self.container.decode(stream):
            Counted.frames += 1
            yield frame


@pytest.mark.parametrize(
    "suffix, codec",
    [
        ("mp4", "mpeg4"),
        ("mkv", "mpeg4"),
        ("avi", "mpeg4"),
        ("webm", "libvpx"),
        ("ts", "mpeg2video"),
        ("mp4", "libx264"),
    ],
)
def test_frames_are_the_same_from_the_nearest_key_frame(suffix, codec, tmp_path, monkeypatch):
    file = write_video(tmp_path / f"clip.{suffix}", brightening(60), codec=codec, key_frames=8)
    with av.open(str(file)) as container:
        everything = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(everything) == 60
    opened = reading.container_of

    @contextlib.contextmanager
    def counting(*arguments, **options):
        with opened(*arguments, **options) as (container, stream):
            yield Counted(container), stream

    monkeypatch.setattr(reading, "container_of", counting)
    for wanted in ([0], [33], [2, 17, 18, 55], [59], range(60)):
        Counted.frames = 0
        video = reading.opened(file, threads=1)
        found = dict(reading.pictures(video, wanted))
        assert list(found) == list(wanted)
        for number, picture in found.items():
            np.testing.assert_array_equal(picture, everything[number])
        assert Counted.frames <= (10 * len(wanted) if suffix in ("mp4", "mkv") else 200)


def test_a_file_without_times_of_its_frames_is_decoded_from_the_beginning(tmp_path):
    """As a raw stream of a codec, which has none."""
    file = write_video(tmp_path / "clip.m2v", brightening(20), codec="mpeg2video", key_frames=4)
    found = dict(reading.pictures(reading.opened(file), [13]))
    np.testing.assert_allclose(found[13].mean((0, 1))[2], np.linspace(0, 200, 20)[13], atol=8)


# Data sets


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten videos, dark and bright ones; every second is a folder of frames."""
    for name, level in (("dark", 20), ("light", 180)):
        for i in range(10):
            frames = np.full((8, 24, 32, 3), level, "uint8") + np.arange(8, dtype="uint8")[:, None, None, None]
            if i % 2:
                write_frames(tmp_path / "videos" / name / f"{i}", frames)
            else:
                write_video(tmp_path / "videos" / name / f"{i}.mp4", frames)
    return tmp_path / "videos"


def batches(data, count):
    return [[part.numpy() for part in batch] for batch in data.dataset.take(count)]


def test_class_folders_hold_files_and_folders_of_frames(folder):
    data = videos.load(folder, "all", batch_size=5, preprocessing=WHOLE, **CLIP)
    assert (data.classes, data.examples, data.things, data.frames) == (["dark", "light"], 20, "videos", 4)
    clips, labels = (np.concatenate(part) for part in zip(*batches(data, 4), strict=True))
    assert clips.shape == (20, 4, 16, 16, 3) and not data.broken
    np.testing.assert_array_equal(labels.argmax(-1), np.repeat([0, 1], 10))
    np.testing.assert_allclose(clips.mean((1, 2, 3, 4)), np.repeat([23.0, 183.0], 10), atol=4)


def test_a_class_folder_of_pictures_is_no_video(tmp_path):
    for name in ("a", "b"):
        write_frames(tmp_path / name, brightening(3))
    with pytest.raises(ValueError, match=r"a holds pictures. Those of a video are in a folder of its own: .*/FRAME"):
        videos.load(tmp_path, "all", batch_size=1, **CLIP)


@pytest.mark.parametrize("separator", [" ", ","])
def test_lists_give_paths_and_labels(folder, separator, tmp_path):
    rows = {"train": ["dark/0.mp4 0", "light/1 2"], "val": [f"{folder}/light/2.mp4 2", "dark/3 0"]}
    for name, lines in rows.items():
        text = "\n".join(line.replace(" ", separator) for line in lines)
        (folder / f"{name}.csv").write_text("path label\n" * (name == "train") + text + "\n")
    train = lists.listed(folder, "train")
    assert train.classes == ["0", "1", "2"] and train.counts() == [1, 0, 1]
    data = videos.load(folder, "evaluation", batch_size=2, **CLIP)
    ((clips, labels),) = batches(data, 1)
    assert clips[0].mean() > 150 > clips[1].mean() and labels.argmax(-1).tolist() == [2, 0]
    (folder / "classes.txt").write_text("dark\ngrey\nlight\n")
    assert lists.listed(folder, "train").classes == ["dark", "grey", "light"]
    (folder / "classes.txt").write_text("dark\n")
    with pytest.raises(ValueError, match=r"names 1 classes, and the lists beside it have 3"):
        lists.listed(folder, "train")
    (folder / "val.csv").write_text("dark/0.mp4 0\ndark/1.mp4\n")
    with pytest.raises(ValueError, match=r"val.csv, line 2: expected the path of a video, .* Found: dark/1.mp4"):
        lists.listed(folder, "train")


@pytest.mark.parametrize("line", ["dark/0.mp4 light", "nowhere/0 dark", "0.avi", "3 grey"])
def test_a_first_line_that_names_a_video_is_no_title(tmp_path, line):
    """Though it is none that is there, or a folder of frames with a name like a word."""
    write_frames(tmp_path / "3", brightening(2))
    (tmp_path / "train.csv").write_text(f"{line}\ndark/2.mp4 1\n")
    with pytest.raises(ValueError, match=f"train.csv, line 1: expected the path of a video, .* Found: {line}"):
        lists.listed(tmp_path, "train")


def test_lists_of_paths_in_any_bytes_are_read_and_hidden_files_are_none(folder):
    name = os.fsdecode(b"dark/caf\xe9 1.mp4")
    (folder / "dark" / "0.mp4").rename(folder / name)
    (folder / "train.csv").write_bytes(os.fsencode(f"{name} 0\nlight/1 1\n"))
    (folder / "._train.csv").write_bytes(bytes(range(256)))
    data = videos.load(folder, "train", batch_size=2, **CLIP)
    ((clips, _),) = batches(data, 1)
    assert clips[0].mean() < 50 < 150 < clips[1].mean() and not data.broken


def test_a_list_in_a_folder_without_its_videos_is_refused_at_once(tmp_path):
    (tmp_path / "train.csv").write_text("dark/0.mp4 0\nlight/1 1\n")
    with pytest.raises(ValueError, match=r"None of the 2 videos in .*train.csv is there, such as .*/0.mp4"):
        videos.load(tmp_path, "train", batch_size=2, **CLIP)


class Filmed(tfds.core.GeneratorBasedBuilder):
    """Videos as tensorflow-datasets has them."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "video": tfds.features.Video(shape=(None, 24, 32, 3)),
            "label": tfds.features.ClassLabel(names=["dark", "light"]),
        }
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("video", "label"))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(4):
            yield i, {"video": np.full((5 + i, 24, 32, 3), 100 * (i % 2), "uint8"), "label": i % 2}


def test_videos_of_tensorflow_datasets_are_read(tmp_path):
    Filmed(data_dir=tmp_path).download_and_prepare()
    data = videos.load(tmp_path / "filmed" / "1.0.0", "train", batch_size=4, **CLIP)
    ((clips, labels),) = batches(data, 1)
    np.testing.assert_allclose(clips.mean((1, 2, 3, 4)), 100 * labels.argmax(-1))
    assert data.classes == ["dark", "light"] and sorted(labels.argmax(-1)) == [0, 0, 1, 1]


def test_data_of_images_are_refused(prepared):
    with pytest.raises(ValueError, match=r"'digits' cannot be used here: its examples are not videos"):
        videos.load("digits", "train", batch_size=4, data_dir=prepared, **CLIP)
    with pytest.raises(ValueError, match=r"There is no folder \./nowhere"):
        videos.load("./nowhere", "train", batch_size=4, **CLIP)


# Training data


def load(split="train", **options):
    return videos.load("moving_digits", split, **(dict(batch_size=8, recipe=PLAIN, **CLIP) | options))


def test_the_same_seed_gives_the_same_clips_and_so_does_a_later_beginning():
    recipe = dataclasses.replace(PLAIN, random_resized_crop=(0.5, 1.0), random_erasing=0.5, mixup=0.2)
    first = batches(load(recipe=recipe, seed=3), 4)
    again = batches(load(recipe=recipe, seed=3).after(2), 2)
    for one, other in zip(first[2:], again, strict=True):
        for part, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, same)


def test_the_clip_of_a_video_is_another_one_in_each_epoch():
    first, second = ({clip.tobytes() for clip in clips} for clips, _ in batches(load("test", batch_size=360), 2))
    assert len(first & second) < 0.1 * len(first)


def test_repeated_augmentation_gives_two_clips_of_a_video_in_a_batch():
    data = load(recipe=dataclasses.replace(PLAIN, repeated_augmentation=2))
    ((clips, labels),) = batches(data, 1)
    np.testing.assert_array_equal(labels[0::2], labels[1::2])
    assert not np.array_equal(clips[0], clips[1])


def test_all_frames_of_a_clip_are_changed_alike(tmp_path):
    """Of a video in which nothing moves: crops, mirroring, colours and movements, erased boxes."""
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), "uint8")
    for name in ("a", "b"):
        for i in range(4):
            write_frames(tmp_path / name / f"{i}", np.repeat(picture[None], 6, 0))
    recipe = dataclasses.replace(PLAIN, random_resized_crop=(0.3, 1.0), horizontal_flip=True, rand_augment=(1, 9))
    data = videos.load(tmp_path, "all", batch_size=8, recipe=recipe, **CLIP)
    ((clips, _),) = batches(data, 1)
    np.testing.assert_allclose(clips, np.repeat(clips[:, :1], 4, 1), atol=1e-3)
    assert np.ptp(clips, axis=0).mean() > 20
    erased = augment.random_erasing(tf.zeros((4, 16, 16, 3)), (1, 2), 1.0).numpy()
    box = (erased > 0).any(-1)
    assert box.any() and (box.sum((1, 2)) == box[0].sum()).all() and not np.array_equal(erased[0], erased[1])


def test_clips_are_mixed_whole():
    clips = tf.reshape(tf.range(4, dtype=tf.float32) * 10, (4, 1, 1, 1, 1)) + tf.zeros((4, 3, 6, 6, 1))
    labels = tf.eye(4)
    mixed, weights = augment.mixup(clips, labels, (1, 2), 0.8)
    assert np.ptp(mixed.numpy(), axis=(1, 2, 3)).max() == 0
    np.testing.assert_allclose(mixed[:, 0, 0, 0, 0], weights.numpy() @ np.arange(4) * 10, atol=1e-4)
    pasted, shares = augment.cutmix(clips, labels, (1, 2), 1.0)
    np.testing.assert_allclose(pasted.numpy().mean((1, 2, 3, 4)), shares.numpy() @ np.arange(4) * 10, atol=1e-4)
    np.testing.assert_array_equal(pasted, np.repeat(pasted[:, :1], 3, 1))


@pytest.mark.parametrize("name, mirrored", [("slides left", False), ("waves", True)])
def test_nothing_is_mirrored_where_direction_is_the_label(tmp_path, name, mirrored):
    frames = brightening(4)
    for label in (name, "stands"):
        for i in range(8):
            write_frames(tmp_path / label / f"{i}", frames)
    recipe = dataclasses.replace(PLAIN, horizontal_flip=True)
    ((clips, _),) = batches(videos.load(tmp_path, "all", batch_size=16, recipe=recipe, **CLIP), 1)
    red_at_the_right = clips[:, 0, 8, 12, 0] > clips[:, 0, 8, 3, 0]
    assert red_at_the_right.any() == mirrored


def test_directions_are_found_in_names_of_any_spelling():
    told = ["Pushing something from left to right", "turn_left", "swipeRight2", "LEFT", "CounterClockwise"]
    names = [*told, "brightens", "Upright", "leftovers", "Bright_light"]
    assert [name for name in names if videos.DIRECTIONS.search(name)] == told


# Evaluation


def test_evaluation_data_have_all_views(tmp_path):
    """Two clips, at the beginning and the end, of three crops each: red at the left, green at the right."""
    for name in ("a", "b"):
        write_frames(tmp_path / name / "clip", brightening(21))
    looks = VideoPreprocessing(crop_pct=1.0, stride=2, clips=2, crops=3)
    data = videos.load(tmp_path, "all", batch_size=2, preprocessing=looks, views=True, frames=4, image_size=32)
    ((views, _),) = batches(data, 1)
    assert views.shape == (2, 6, 4, 32, 32, 3)
    blue = views[0, :, :, 16, 16, 2]
    np.testing.assert_allclose(blue, np.repeat([[0, 20, 40, 70], [130, 150, 170, 200]], 3, 0), atol=1e-3)
    red, green = (views[0, 0::3].mean((0, 1, 2, 3)) - views[0, 2::3].mean((0, 1, 2, 3)))[:2]
    assert red > 10 and green < -10


# What cannot be read


@pytest.fixture
def broken(folder):
    """The folder with four files of which nothing can be learnt, in the place of others."""
    write_broken(folder, BROKEN)
    (folder / "light" / "notes.txt").write_text("no video")
    return folder


BROKEN = {"truncated": "dark/2.mp4", "empty": "dark/4.mp4", "one frame": "light/0.mp4", "sound": "light/2.mp4"}


def test_broken_and_short_files_are_left_out_counted_and_named(broken):
    data = videos.load(broken, "all", batch_size=20, recipe=PLAIN, broken_share=0.2, **CLIP)
    ((clips, labels),) = batches(data, 1)
    learnt = labels.sum(-1) == 1  # one of two broken ones in a row has no label
    assert learnt.sum() >= 16 and not clips[~learnt].any()
    assert {str(pathlib.Path(data.broken.name(i)).relative_to(broken)) for i in data.broken.numbers} == {
        *BROKEN.values()
    }
    assert str(data.broken).startswith("4 of 20 videos cannot be read: ")
    told = data.broken.reasons()
    for kind, name in BROKEN.items():
        assert any(line.startswith(f"{broken / name}: {REASONS[kind]}") for line in told), told
    assert "1 not a video" in data.left_out and "notes.txt" in data.left_out
    shown = videos.load(broken, "all", batch_size=20, broken_share=0.2, **CLIP)
    ((clips, _),) = batches(shown, 1)
    assert len(clips) == 16


def test_the_look_before_training_names_the_same(broken):
    (report,) = check.check(broken, ["all"])
    names = {os.path.relpath(name, broken) for name in report.found["unreadable"]}
    assert names == {*BROKEN.values()} and report.broken == 4 and "20 videos of 2 classes" in str(report)


def test_a_file_that_ends_early_is_no_shorter_video(tmp_path):
    """Its index, at the beginning, tells of more frames than are there."""
    file = tmp_path / "clip.mp4"
    with av.open(str(file), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width = 48, 64
        for pixels in brightening(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    assert reading.opened(file).length == 30
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(ValueError, match=r"the video breaks off: \d+ of its 30 frames are there|broken one"):
        reading.opened(file)


def test_a_folder_of_frames_of_different_sizes_is_left_out_and_tells_why(folder):
    write_frames(folder / "dark" / "mixed", brightening(4))
    keras.utils.save_img(folder / "dark" / "mixed" / "frame_1.png", np.zeros((20, 30, 3)), scale=False)
    data = videos.load(folder, "all", batch_size=21, **CLIP)
    ((clips, _),) = batches(data, 1)
    told = f"{folder / 'dark' / 'mixed'}: its frames have different sizes: 64×48 and 30×20 pixels"
    assert len(clips) == 20 and data.broken.reasons() == [told]


# The embedded data


def test_moving_digits_are_the_same_whenever_they_are_drawn():
    clips, labels = moving_digits.draw("test")
    moving_digits.draw.cache_clear()
    np.testing.assert_array_equal(moving_digits.draw("test")[0], clips)
    assert clips.shape == (len(labels), 16, 32, 32) and np.bincount(labels).tolist() == [30] * 12


def test_moving_digits_move_as_their_class_says():
    """By the place and the spread of the ink in the first and the last frame, of most clips."""
    clips, labels = moving_digits.draw("test")
    ink = np.maximum(clips.astype("float64") - 60, 0)
    x = np.arange(32) - 15.5
    weight = ink.sum((2, 3))
    place = (ink.sum(2) * x).sum(-1) / weight
    moves = place[:, -1] - place[:, 0]
    grows = weight[:, -1] / weight[:, 0]
    motion = labels % len(moving_digits.MOTIONS)
    for number, (told, sign) in {0: (moves, -1), 1: (moves, 1), 4: (np.log(grows), -1), 5: (np.log(grows), 1)}.items():
        assert (sign * told[motion == number] > 0).mean() > 0.95
    assert np.abs(moves[(motion == 2) | (motion == 3)]).mean() < np.abs(moves[motion == 0]).mean() / 2
