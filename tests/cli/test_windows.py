"""`predict` on long videos and streams: a label for each window, in the memory of one."""

import fractions
import io
import os
import sys
import threading
import tracemalloc

import av
import numpy as np
import pytest
from clips import brightening, write_frames, write_video

from keras_mlp.cards import VideoPreprocessing
from keras_mlp.cli import windows as cli_windows
from keras_mlp.training.data.videos import windows as stream
from keras_mlp.training.data.videos.windows import running, windows

SIZE = 32  # of `mover`


@pytest.fixture(scope="module")
def mover(mover):
    """The same with names of its classes beside it."""
    (mover.parent / "classes.txt").write_text("walks\nruns\nstands\n")
    return mover


def spans(rows):
    return [(row["start"], row["end"]) for row in rows]


def test_each_window_has_the_prediction_of_a_video_of_its_own(command, mover, tmp_path):
    frames = brightening(60)
    result = command("predict", f"--model={mover}", "--window=0.5", "--step=0.25", write_frames(tmp_path / "a", frames))
    assert result.code == 0 and not result.err
    starts = [0, 8, 16, 24, 32, 40]  # a quarter of a second is eight frames
    assert spans(result.rows) == [(round(i / 30, 3), round((i + 15) / 30, 3)) for i in starts] + [(1.6, 2.0)]
    parts = [write_frames(tmp_path / f"part{i}", frames[i : i + 15]) for i in starts]
    alone = command("predict", f"--model={mover}", *parts).rows
    for one, other in zip(result.rows, alone, strict=False):
        for row, same in zip(one["predictions"], other["predictions"], strict=True):
            assert row["class"] == same["class"] and row["score"] == pytest.approx(same["score"], abs=1e-4)


def test_a_video_shorter_than_a_window_has_one(command, mover, tmp_path):
    file = write_video(tmp_path / "clip.mp4", brightening(12), rate=10)
    (row,) = command("predict", f"--model={mover}", "--window=5", file).rows
    assert (row["start"], row["end"]) == (0.0, 1.2)


def test_the_annotated_copy_shows_all_frames_with_labels(command, mover, tmp_path):
    file, out = write_video(tmp_path / "clip.mp4", brightening(45, 96, 128)), tmp_path / "out"
    result = command("predict", f"--model={mover}", "--window=0.5", f"--annotate={out}", file)
    assert result.code == 0 and len(result.rows) == 3
    assert os.listdir(out) == ["clip.mp4"]
    with av.open(str(out / "clip.mp4")) as container:
        copy = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate) == 30
    assert len(copy) == 45 and copy[0].shape == (96, 128, 3)
    label = np.array(copy)[:, :12, :60].astype(float)
    assert (label.max((1, 2, 3)) > 150).all() and (label.min((1, 2, 3)) < 60).all()  # white on black
    names = {row["predictions"][0]["class"] for row in result.rows}
    assert names <= {"walks", "runs", "stands"}
    below = np.array(copy)[:, 40:].mean((1, 2, 3))
    np.testing.assert_allclose(below, brightening(45)[:, 20:].mean((1, 2, 3)), atol=8)


@pytest.mark.parametrize("rate", [fractions.Fraction(24000, 1001), fractions.Fraction(2, 5)])
def test_the_annotated_copy_is_as_long_as_the_video(tmp_path, rate):
    file, copy = write_video(tmp_path / "clip.mkv", brightening(4), rate=rate), tmp_path / "copy.mp4"
    cli_windows.annotated(file, [(1.0, "walks")], copy, 10_000)
    with av.open(str(copy)) as container:
        assert container.streams.video[0].average_rate == rate


def test_what_cannot_be_read_is_named_and_the_next_is_read(command, mover, tmp_path):
    (tmp_path / "no.mp4").write_text("no video")
    file, out = write_video(tmp_path / "yes.mp4", brightening(20)), tmp_path / "out"
    result = command("predict", f"--model={mover}", "--window=1", f"--annotate={out}", tmp_path / "no.mp4", file)
    assert result.code == 1 and [row["file"] for row in result.rows] == [str(file)]
    assert "no.mp4: not a video" in result.err and "1 of 2 files could not be read" in result.err
    assert os.listdir(out) == ["yes.mp4"]


def test_a_stream_is_decided_upon_as_it_comes(command, mover, tmp_path, monkeypatch):
    """On the standard input, of which the second half comes when the first window is answered, and not before."""
    content = write_video(tmp_path / "clip.ts", brightening(300), codec="mpeg2video").read_bytes()
    reading, writing = os.pipe()
    answered, in_time = threading.Event(), []
    told = cli_windows._print

    def tell(*arguments):
        told(*arguments)
        answered.set()

    def feed():
        with open(writing, "wb", buffering=0) as pipe:
            pipe.write(content[: len(content) // 2])
            in_time.append(answered.wait(120))
            pipe.write(content[len(content) // 2 :])

    monkeypatch.setattr(cli_windows, "_print", tell)
    with open(reading, "rb") as pipe:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(pipe))
        thread = threading.Thread(target=feed)
        thread.start()
        result = command("predict", f"--model={mover}", "--window=1", "-")
    thread.join()
    assert result.code == 0, result.err
    assert in_time == [True]
    assert [row["end"] - row["start"] for row in result.rows] == pytest.approx([1] * 10, abs=0.05)


@pytest.mark.parametrize(
    "words, said",
    [
        (["-"], "- has no end: add --window=SECONDS"),
        (["--window=1", "--annotate=out", "-"], "--annotate reads a video twice, and - can be read once only"),
    ],
)
def test_what_cannot_be_done_with_a_stream_is_refused(command, mover, words, said):
    result = command("predict", f"--model={mover}", *words)
    assert result.code == 2 and said in result.err


def test_an_hour_of_frames_needs_the_memory_of_a_window():
    picture, seen = np.zeros((48, 64, 3), "uint8"), []

    def frames(count):
        for i in range(count):
            yield i / 10, picture.copy

    def peak(minutes):
        tracemalloc.start()
        taken = windows(frames(600 * minutes), 10.0, 2.0, 2.0, 4, VideoPreprocessing(), lambda one: one[:16])
        seen.append(sum(1 for _ in taken))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    first, hour = peak(1), peak(60)
    assert seen == [30, 1800]
    assert hour < first + 100_000


def test_windows_overlap_or_have_gaps_between_them():
    looks = VideoPreprocessing()
    for step, starts in ((5, range(0, 31, 5)), (15, [0, 15, 30])):
        frames = ((i / 30, lambda i=i: np.full((1, 1, 3), i)) for i in range(40))
        found = list(windows(frames, 30.0, 10 / 30, step / 30, 4, looks, lambda one: one[0, 0, 0]))
        for window, start in zip(found, starts, strict=True):
            np.testing.assert_array_equal(window.clip, start + looks.sample(10, 4)[0])


def numbered(length, **options):
    """The numbers of the frames in the clips of a video of so many at 30 a second, by windows of five seconds."""
    frames = ((i / 30, lambda i=i: i) for i in range(length))
    looks = VideoPreprocessing(**options)
    return [window.clip for window in windows(frames, 30.0, 5.0, 5.0, 8, looks, lambda number: number)]


@pytest.mark.parametrize("stride", [None, 2, 4])
@pytest.mark.parametrize("length", [1, 2, 5, 30, 80, 230, 290])
def test_a_window_that_the_end_cuts_short_is_looked_at_all_over(length, stride):
    """However short it is: where a whole window would be looked at, there may be no frame."""
    last, begin = numbered(length, stride=stride)[-1], length // 150 * 150
    whole = begin + VideoPreprocessing(stride=stride).sample(length - begin, 8)[0]
    assert np.abs(last - whole).max() <= max(1, np.diff(whole).max() / 2)


def test_times_are_counted_from_the_first_frame(tmp_path):
    file = write_video(tmp_path / "cut.mkv", brightening(5), rate=10, numbers=range(50, 55))
    with running(file) as (_, frames):
        assert [time for time, _ in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_a_clock_that_is_set_anew_does_not_turn_back_time(tmp_path):
    """As where one stream follows another."""
    file = write_video(tmp_path / "clip.ts", brightening(30), codec="mpeg2video")
    file.write_bytes(2 * file.read_bytes())
    with running(file) as (_, frames):
        times = [time for time, _ in frames]
    np.testing.assert_allclose(times, np.arange(len(times)) / 30, atol=0.04)
    assert len(times) >= 58


@pytest.fixture
def slowing(tmp_path):
    """A video of three seconds: thirty frames in the first one, then five a second."""
    numbers = [*range(30), *range(30, 90, 6)]
    return write_video(tmp_path / "slowing.mkv", brightening(90)[numbers], numbers=numbers)


def test_windows_are_of_one_length_though_frames_come_slower(slowing):
    looks = VideoPreprocessing()
    with running(slowing) as (rate, frames):
        found = list(windows(frames, rate, 1.0, 1.0, 4, looks, lambda picture: picture[..., 2].mean()))
    assert [window.start for window in found] == pytest.approx([0, 1, 2], abs=0.05)
    for window in found:
        seen = window.clip * 89 / 200  # the numbers of frames: each is seen until the next one, six later
        np.testing.assert_allclose(seen + 4, 30 * window.start + looks.sample(30, 4)[0], atol=7)


def test_frames_of_the_annotated_copy_come_when_those_of_the_video_do(slowing, tmp_path):
    cli_windows.annotated(slowing, [(1.0, "walks")], tmp_path / "copy.mp4", 10_000)
    found = []
    for file in (slowing, tmp_path / "copy.mp4"):
        with running(file) as (_, frames):
            found.append([time for time, _ in frames])
    np.testing.assert_allclose(*found, atol=2e-3)


def test_a_camera_is_read_by_ffmpeg(command, mover, monkeypatch):
    """FFmpeg's test picture, which is a device to it as a camera is."""
    monkeypatch.setattr(stream, "CAMERAS", "testsrc")
    monkeypatch.setattr(stream, "DEVICES", "lavfi")
    camera = "testsrc=size=64x48:rate=10:duration=3"
    result = command("predict", f"--model={mover}", "--window=1", camera)
    assert result.code == 0, result.err
    assert [row["file"] for row in result.rows] == [camera] * 3
    assert spans(result.rows) == [(0, 1), (1, 2), (2, 3)]


def test_of_a_camera_that_cannot_be_read_the_system_says_why(command, mover):
    result = command("predict", f"--model={mover}", "--window=1", "/dev/video-none")
    assert result.code == 1
    assert "/dev/video-none: the camera cannot be read: No such file or directory" in result.err
