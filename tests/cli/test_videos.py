"""`predict` with a video model: files, folders of frames, what cannot be read."""

import http.server
import os
import sys

import av
import keras
import loopback
import numpy as np
import pytest
from clips import brightening, write_frames, write_video

import keras_mlp
from keras_mlp.cards import VideoPreprocessing
from keras_mlp.cli import models, videos

SIZE = 32  # of `mover`


def test_a_video_is_one_prediction_whether_a_file_or_a_folder_of_frames(command, mover, tmp_path):
    frames = brightening(24)
    file, folder = write_video(tmp_path / "clip.mp4", frames), write_frames(tmp_path / "clip", frames)
    result = command("predict", f"--model={mover}", file, folder)
    assert result.code == 0 and not result.err
    by_file, by_folder = result.rows
    assert (by_file["file"], by_folder["file"]) == (str(file), str(folder))
    for one, other in zip(by_file["predictions"], by_folder["predictions"], strict=True):
        assert one["id"] == other["id"] and one["score"] == pytest.approx(other["score"], abs=0.02)
    evenly = videos.views(folder, (4, SIZE, SIZE, 3), VideoPreprocessing())
    expected = keras.models.load_model(mover).predict(evenly, verbose=0)[0]
    scores = {int(row["id"]): row["score"] for row in by_folder["predictions"]}
    np.testing.assert_allclose([scores[i] for i in range(3)], expected, atol=1e-4)


def test_what_cannot_be_read_is_named_and_the_others_are_classified(command, mover, tmp_path):
    folder = tmp_path / "videos"
    write_frames(folder / "b", brightening(6))
    whole = write_video(folder / "a.mp4", brightening(12))
    (folder / "half.mp4").write_bytes(whole.read_bytes()[:400])
    (folder / "notes.txt").write_text("not a video")
    (folder / ".hidden.mp4").write_text("not seen")
    (write_frames(folder / "c", brightening(4)) / "frame_0.png").write_bytes(b"broken")
    result = command("predict", f"--model={mover}", folder, "nowhere.mp4")
    assert result.code == 1
    assert [row["file"] for row in result.rows] == [str(folder / "a.mp4"), str(folder / "b")]
    *errors, summary = result.err.splitlines()
    assert summary == "keras-mlp: 4 of 6 files could not be read"
    for name, told in {"c": "frame_0.png: not an image", "half.mp4": "broken", "notes.txt": "not a video"}.items():
        assert any(f"{folder / name}: " in line and told in line for line in errors), errors
    assert any("nowhere.mp4: No such file" in line for line in errors)


@pytest.fixture
def served(tmp_path):
    """A video on a server on this machine, its address, and the requests that came."""
    write_video(tmp_path / "served" / "clip.ts", brightening(12))
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=tmp_path / "served")

        def log_message(self, *arguments):
            requests.append(self.path)

    with loopback.running(loopback.Server(Handler)) as server:
        yield tmp_path / "served" / "clip.ts", f"{server.url}/clip.ts", requests


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile '{}'\n"
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period>
<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="9"><BaseURL>{}</BaseURL></Representation>
</AdaptationSet></Period></MPD>"""
ASX = '<asx version="3.0"><entry><ref href="{}"/></entry></asx>'
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {} RTP/AVP 96\na=rtpmap:96 H264/90000\n"


def test_of_a_video_nothing_but_its_file_is_opened(command, mover, served, tmp_path):
    """Playlists and the like, whatever their names say, reach no server, no port and no other file."""
    file, address, requests = served
    folder = tmp_path / "videos"
    folder.mkdir()
    playlists = {
        "m3u8": HLS,
        "ffconcat": CONCAT,
        "mpd": DASH,
        "asx": ASX,
        "ram": "{}\n",
        "pls": "[playlist]\nFile1={}\n",
    }
    for suffix, content in playlists.items():
        for i, named in enumerate((address, file, f"file:{file}", f"../{file.parent.name}/{file.name}")):
            for name in (f"{suffix}_{i}.{suffix}", f"{suffix}_{i}.mp4"):
                (folder / name).write_text(content.format(named))
    for name in ("stream.sdp", "stream.mp4"):
        (folder / name).write_text(SDP.format(54321))
    os.symlink(folder, folder / "again")
    os.mkfifo(folder / "pipe.mp4")
    whole = write_video(folder / "whole.mp4", brightening(6))
    result = command("predict", f"--model={mover}", folder)
    assert not requests
    assert result.code == 1 and [row["file"] for row in result.rows] == [str(whole)]
    *errors, summary = result.err.splitlines()
    refused = sorted(path for path in folder.iterdir() if path.name not in ("again", "pipe.mp4", "whole.mp4"))
    assert summary == f"keras-mlp: {len(refused)} of {len(refused) + 1} files could not be read"
    for line, path in zip(errors, refused, strict=True):
        assert f"{path}: " in line and "not a video" in line


CODECS = {"mov": "mpeg4", "mkv": "mpeg4", "avi": "mpeg4", "webm": "libvpx", "wmv": "wmv2", "flv": "flv", "gif": "gif"}
CODECS |= {"mpg": "mpeg2video", "ts": "mpeg2video", "y4m": "rawvideo"}


@pytest.mark.parametrize("suffix, codec", CODECS.items())
def test_usual_files_of_videos_are_read_and_cut_ones_refused(suffix, codec, tmp_path):
    pixels = "rgb8" if codec == "gif" else "yuv420p"
    file = write_video(tmp_path / f"clip.{suffix}", brightening(12), 25, codec, pixels)
    seen = videos.views(file, (4, SIZE, SIZE, 3), VideoPreprocessing())
    assert seen.shape == (1, 4, SIZE, SIZE, 3) and np.ptp(seen[..., 2].mean((0, 2, 3))) > 50
    content = file.read_bytes()
    for length in (0, 1, 10):
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match="not a video"):
            videos.views(file, (4, SIZE, SIZE, 3), VideoPreprocessing())


def test_what_is_neither_a_file_nor_a_folder_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    frames = write_frames(tmp_path / "clip", brightening(4))
    os.mkfifo(frames / "pipe.png")
    (frames / "folder.png").mkdir()
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        videos.views(tmp_path / "pipe.mp4", (4, SIZE, SIZE, 3), VideoPreprocessing())
    assert videos.views(frames, (4, SIZE, SIZE, 3), VideoPreprocessing()).shape == (1, 4, SIZE, SIZE, 3)


def test_a_title_in_an_old_encoding_hinders_nobody(tmp_path):
    file = tmp_path / "clip.avi"
    with av.open(str(file), "w") as container:
        container.metadata["title"] = "a title"
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width = 48, 64
        container.mux(stream.encode(av.VideoFrame.from_ndarray(brightening(1)[0], format="rgb24")))
        container.mux(stream.encode())
    content = file.read_bytes()
    assert b"a title" in content
    file.write_bytes(content.replace(b"a title", "Ünützes".encode("latin-1")))
    assert videos.views(file, (1, SIZE, SIZE, 3), VideoPreprocessing()).shape == (1, 1, SIZE, SIZE, 3)


def test_the_views_of_a_checkpoint_are_its_clips_and_crops(tmp_path):
    """Two clips of every second frame, at the beginning and the end, each at the left, in the centre, at the right."""
    folder = write_frames(tmp_path / "clip", brightening(21))
    twice = VideoPreprocessing(crop_pct=1.0, stride=2, clips=2, crops=3)
    seen = videos.views(folder, (4, SIZE, SIZE, 3), twice)
    assert seen.shape == (6, 4, SIZE, SIZE, 3) and seen.dtype == "float32"
    blue = seen[:, :, SIZE // 2, SIZE // 2, 2]
    np.testing.assert_allclose(blue[:3], np.tile([0, 20, 40, 70], (3, 1)), atol=1e-4)
    np.testing.assert_allclose(blue[3:], np.tile([130, 150, 170, 200], (3, 1)), atol=1e-4)
    red, green = (seen[0::3].mean((0, 1, 2, 3)) - seen[2::3].mean((0, 1, 2, 3)))[:2]
    assert red > 10 and green < -10


def test_the_views_of_a_video_are_averaged_as_logits(command, mover, tmp_path, monkeypatch):
    folder = write_frames(tmp_path / "clip", brightening(40))
    several = VideoPreprocessing(crop_pct=1.0, stride=2, clips=3)
    monkeypatch.setattr(models, "preprocessing", lambda model, weights: several)
    (row,) = command("predict", f"--model={mover}", "--batch_size=2", folder).rows
    each = keras.models.load_model(mover).predict(videos.views(folder, (4, SIZE, SIZE, 3), several), verbose=0)
    expected = np.exp(np.log(each).mean(axis=0))
    scores = {int(prediction["id"]): prediction["score"] for prediction in row["predictions"]}
    np.testing.assert_allclose([scores[i] for i in range(3)], expected / expected.sum(), atol=1e-4)


def test_an_exported_file_predicts_like_the_model(command, mover, tmp_path):
    folder, file = write_frames(tmp_path / "clip", brightening(8)), tmp_path / "mover.tflite"
    assert command("export", f"--model={mover}", f"--output={file}").code == 0
    (by_model,), (by_file,) = (command("predict", f"--model={model}", folder).rows for model in (mover, file))
    scores = [[prediction["score"] for prediction in row["predictions"]] for row in (by_model, by_file)]
    np.testing.assert_allclose(*scores, atol=1e-4)


@pytest.mark.slow
def test_a_model_by_name_looks_four_times_and_names_kinetics_classes(command, tmp_path):
    folder = write_frames(tmp_path / "clip", brightening(70))
    (row,) = command("predict", "--model=morph_mlp_video_s16", "--weights=none", folder).rows
    names = keras_mlp.labels.class_names("k400")
    assert len(row["predictions"]) == 5
    assert all((prediction["id"], prediction["class"]) in names for prediction in row["predictions"])


def test_times_follow_the_rate_of_the_file(tmp_path):
    """At ten frames a second, a stride of six in thirty is every second frame."""
    file = write_video(tmp_path / "slow.mp4", brightening(30), rate=10)
    seen = videos.views(file, (4, SIZE, SIZE, 3), VideoPreprocessing(stride=6, clips=2))
    expected = np.linspace(0, 200, 30)[[[0, 2, 4, 7], [22, 24, 26, 29]]]
    np.testing.assert_allclose(seen[..., 2].mean((2, 3)), expected, atol=8)


def test_a_camera_that_was_held_upright_is_turned_back(tmp_path):
    """Such a file says so in the matrix of its track; red is then at the top or at the bottom."""
    upright = write_video(tmp_path / "clip.mov", brightening(4))
    content = upright.read_bytes()
    as_it_is, turned = ((np.array(m, ">i4") << 16).tobytes() for m in ([1, 0, 0, 0, 1, 0], [0, 1, 0, -1, 0, 0]))
    assert content.count(as_it_is) == 2  # of the film and of its track
    film, track, rest = content.split(as_it_is)
    (tmp_path / "turned.mov").write_bytes(film + as_it_is + track + turned + rest)
    plain = videos.views(upright, (2, SIZE, SIZE, 3), VideoPreprocessing(squash=True))[0, 0, ..., 0]
    clockwise = videos.views(tmp_path / "turned.mov", (2, SIZE, SIZE, 3), VideoPreprocessing(squash=True))[0, 0, ..., 0]
    np.testing.assert_allclose(clockwise, np.rot90(plain, -1), atol=8)


def test_without_pyav_the_error_names_the_extra_and_frames_still_work(command, mover, tmp_path, monkeypatch):
    frames = brightening(4)
    file, folder = write_video(tmp_path / "clip.mp4", frames), write_frames(tmp_path / "clip", frames)
    monkeypatch.setitem(sys.modules, "av", None)
    result = command("predict", f"--model={mover}", file)
    assert result.code == 1 and result.err.endswith('pip install "keras-mlp[video]"\n')
    assert command("predict", f"--model={mover}", folder).code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--dataset=digits"],
        ["export", "--output=clip.tflite", "--precision=int8", "--representative=digits"],
        ["train", "--dataset=digits", "--output=run"],
    ],
)
def test_a_video_model_is_given_no_data_set_of_images(command, mover, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = "morph_mlp_video" if words[0] == "train" else mover
    result = command(*words, f"--model={model}")
    assert result.code == 1 and "'digits' cannot be used here: its examples are not videos" in result.err
    assert not [*tmp_path.glob("clip*"), *tmp_path.glob("run*")]


@pytest.mark.parametrize(
    "words, said",
    [
        (["predict", "--views=4x1"], "--views goes with a model of videos"),
        (["predict", "--window=2"], "--window goes with a model of videos"),
        (["evaluate", "--dataset=digits", "--sampling=4"], "--sampling goes with a model of videos"),
    ],
)
def test_flags_of_videos_are_refused_for_an_image_model(command, tiny, picture, words, said):
    result = command(*words, f"--model={tiny}", *([picture] if words[0] == "predict" else []))
    assert result.code == 2 and said in result.err


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--views=4", '--views is clips x crops, as "4x1" or "1x3". Received: 4'),
        ("--sampling=often", '--sampling is "segments" or a positive number. Received: often'),
        ("--step=1", "--step goes with --window"),
        ("--annotate=out", "--annotate goes with --window"),
    ],
)
def test_flags_of_videos_that_mean_nothing_are_refused(command, mover, tmp_path, flag, said):
    result = command("predict", f"--model={mover}", flag, write_frames(tmp_path / "clip", brightening(8)))
    assert result.code == 2 and said in result.err


def test_views_are_as_many_as_are_asked_for(command, mover, tmp_path):
    """Averaged by logits, as those of a model of which nothing else is known."""
    folder = write_frames(tmp_path / "clip", brightening(40))
    (row,) = command("predict", f"--model={mover}", "--views=2x3", "--sampling=4", folder).rows
    looks = VideoPreprocessing(stride=4, clips=2, crops=3)
    each = keras.models.load_model(mover).predict(videos.views(folder, (4, SIZE, SIZE, 3), looks), verbose=0)
    expected = np.exp(np.log(each).mean(axis=0))
    scores = {int(prediction["id"]): prediction["score"] for prediction in row["predictions"]}
    np.testing.assert_allclose([scores[i] for i in range(3)], expected / expected.sum(), atol=1e-4)
