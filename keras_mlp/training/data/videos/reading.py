"""Videos as files, as folders of frames and as frames in memory: how long they are, and the frames that are wanted."""

import bisect
import contextlib
import errno
import os
import pathlib
from collections.abc import Callable, Iterable

import numpy as np

from keras_mlp.cards import natural_order
from keras_mlp.extras import need
from keras_mlp.training.data.folders import SUFFIXES as PICTURES
from keras_mlp.training.data.source import MAX_PIXELS
from keras_mlp.walking import is_hidden, is_special

RATE = 30.0
"""Frames a second where nothing tells."""
SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".asf", ".flv", ".3gp", ".ogv", ".gif"),
    *(".mpg", ".mpeg", ".mpe", ".vob", ".ts", ".mts", ".m2ts", ".mxf", ".y4m"),
)
"""Ends of names that are believed to be those of videos."""
CONTAINERS = (
    *("mp4", "matroska", "avi", "asf", "flv", "ogg", "mpeg", "mpegts", "rm", "wtv", "swf", "dhav"),
    *("dv", "mxf", "gxf", "nut", "ivf", "yuv4mpegpipe", "gif", "apng"),
    *("mpegvideo", "m4v", "h261", "h263", "h264", "hevc", "vvc", "vc1", "av1", "obu", "dirac", "mjpeg"),
    *("jpeg_pipe", "png_pipe", "bmp_pipe", "webp_pipe", "tiff_pipe", "gif_pipe"),
)
"""FFmpeg's names of the formats of files that hold their frames themselves.

Playlists and descriptions of streams (HLS, DASH, SDP, concat scripts and others) are none: they name other files and
servers, which FFmpeg would open.
"""
SEALED = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"}
"""Options for FFmpeg under which it opens nothing but what it is given."""


def opened(path, max_pixels: int = MAX_PIXELS, threads: int = 0) -> "Pictures | File":
    """Open a video.

    Args:
        path: a file of one of `CONTAINERS`, or a folder of frames at 30 a second.
        max_pixels: how many pixels a frame may have.
        threads: with which a file is decoded; 0 leaves it to FFmpeg. Where many videos are decoded side by side, one
            each is the fastest.

    Raises:
        ImportError: PyAV is not installed, which decodes files.
        OSError: a file cannot be read.
        ValueError: it is no video, or a broken one.
    """
    path = pathlib.Path(path)
    return folder(path, max_pixels) if path.is_dir() else File(path, max_pixels, threads)


def opened_to_learn(path, max_pixels: int = MAX_PIXELS) -> "Pictures | File":
    """Open a video, one of many that are opened side by side; arguments and errors are those of `opened`.

    Raises:
        ValueError: also if it is of a single frame, which tells nothing of what moves.
    """
    video = opened(os.fsdecode(path), max_pixels, threads=1)
    if video.length < 2:
        raise ValueError("a single frame, too short for a video")
    return video


def why_not(path, max_pixels: int = MAX_PIXELS) -> str:
    """Why nothing is learnt of a video; empty if it can be read."""
    try:
        video = opened_to_learn(path, max_pixels)
        for _ in alike(video, range(video.length)):
            pass
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def frames_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """The pictures in a folder, 2 before 10; a folder or a pipe is none, whatever its name."""
    inside = (path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not is_hidden(path.name))
    inside = (path for path in inside if not path.is_dir() and not is_special(path))
    return sorted(inside, key=lambda path: natural_order(path.name))


def pictures(video, wanted: Iterable[int]):
    """Number and pixels `(height, width, 3)` of the frames of a video that are wanted, each once, in order.

    Raises:
        ValueError: not all of them can be decoded.
    """
    wanted = sorted(set(wanted))
    came = 0
    for number, picture in video.pictures(wanted):
        came += 1
        yield number, picture
    if came < len(wanted):
        raise ValueError(f"the video breaks off: not all of its {video.length} frames can be decoded")


def alike(video, wanted: Iterable[int]):
    """The same as `pictures`, all of one size.

    Raises:
        ValueError: they are not, or not all of them can be decoded.
    """
    first = None
    for number, picture in pictures(video, wanted):
        first = first or picture.shape
        if picture.shape != first:
            sizes = [f"{width}×{height}" for height, width, _ in (first, picture.shape)]
            raise ValueError(f"its frames have different sizes: {' and '.join(sizes)} pixels")
        yield number, picture


class Pictures:
    """A video of frames that can be had one by one.

    Args:
        length: how many there are.
        picture: from a frame's number to its pixels.
    """

    rate = RATE

    def __init__(self, length: int, picture: Callable[[int], np.ndarray]):
        self.length = length
        self.picture = picture

    def pictures(self, wanted: list[int]):
        """Number and pixels of the frames in `wanted`, which is sorted."""
        return ((number, self.picture(number)) for number in wanted)


def folder(path: pathlib.Path, max_pixels: int = MAX_PIXELS) -> Pictures:
    """A video as pictures in a folder."""
    from keras_mlp.training.data import decoding

    files = frames_in(path)

    def picture(number):
        try:
            return decoding.decode(files[number].read_bytes(), max_pixels)
        except (OSError, ValueError) as error:
            raise ValueError(f"{files[number].name}: {getattr(error, 'strerror', None) or error}") from error

    if not files:
        raise ValueError("there are no pictures in the folder")
    return Pictures(len(files), picture)


class File:
    """A video in a file, decoded by FFmpeg; arguments and errors are those of `opened`."""

    def __init__(self, path, max_pixels: int = MAX_PIXELS, threads: int = 0):
        self.path = path
        self.max_pixels = max_pixels
        self.threads = threads
        with self._open() as (container, stream):
            self.rate = float(stream.average_rate or RATE)
            # The container's own count may be missing or wrong.
            packets = [packet for packet in container.demux(stream) if packet.size > 0]
            found = [(packet.pts, packet.is_keyframe) for packet in packets if not packet.is_discard]
            if container.format.name.startswith("mov") and len(packets) < stream.frames:  # whose own count is exact
                raise ValueError(f"the video breaks off: {len(packets)} of its {stream.frames} frames are there")
        self.length = len(found)
        if not found:
            raise ValueError("there are no frames in the video")
        known = all(time is not None for time, _ in found) and len(dict(found)) == self.length
        self._times = sorted(time for time, _ in found) if known else []
        self._numbers = {time: number for number, time in enumerate(self._times)}
        self._keys = sorted(self._numbers[time] for time, is_key in found if is_key) if known else []

    @contextlib.contextmanager
    def _open(self):
        with file(self.path) as opened, container_of(opened, self.max_pixels) as (container, stream):
            if self.threads:
                stream.codec_context.thread_count = self.threads
            else:
                stream.thread_type = "AUTO"
            yield container, stream

    def pictures(self, wanted: list[int]):
        """Number and pixels of the frames in `wanted`, which is sorted, as they come."""
        came = -1
        if len(self._keys) > 1:
            for number, frame in self._from_key_frames(wanted):
                came = number
                yield number, turned(frame)
        left = {number for number in wanted if number > came}
        if not left:
            return
        with self._open() as (container, stream):
            for number, frame in enumerate(container.decode(stream)):
                if number in left:
                    yield number, turned(frame)
                if number >= max(left):
                    return

    def _from_key_frames(self, wanted):
        """What is wanted, without decoding what lies before the key frame that it needs.

        It ends early where times of frames or places of key frames are not what the file says.
        """
        with self._open() as (container, stream):
            frames, at = None, -1
            for number in wanted:
                key = self._keys[max(0, bisect.bisect_right(self._keys, number) - 1)]
                jumps = frames is None or key > at
                if jumps:
                    container.seek(self._times[key], stream=stream)
                    frames = container.decode(stream)
                for frame in frames:
                    at = self._numbers.get(frame.pts, self.length)
                    if jumps and not (frame.key_frame and at <= key):
                        return
                    jumps = False
                    if at >= number:
                        break
                if at != number:
                    return
                yield number, frame


def file(path):
    """Open a file that is no pipe, whose reader might wait for ever.

    Raises:
        OSError, ValueError: there is none.
    """
    if is_special(pathlib.Path(path)):
        raise ValueError("neither a file nor a folder of frames")
    return open(path, "rb")


@contextlib.contextmanager
def container_of(file, max_pixels: int, **options):
    """Open what is in a file, or a camera, with FFmpeg, which opens nothing else.

    Args:
        file: the open file, or the path of a camera.
        max_pixels: how many pixels a frame may have.
        **options: further arguments of `av.open`.

    Yields:
        PyAV's container and its first video stream.

    Raises:
        ImportError: PyAV is not installed.
        ValueError: it is no video, or a broken one.
        OSError: the camera cannot be read.
    """
    av = need("av", extra="video")
    try:
        with av.open(file, metadata_errors="replace", **({"options": SEALED} | options)) as container:
            if not container.streams.video:
                raise ValueError("there is no video in the file")
            stream = container.streams.video[0]
            if stream.width * stream.height > max_pixels:
                raise ValueError(
                    f"a video of {stream.width}×{stream.height} pixels, more than the limit of {max_pixels:,}"
                )
            yield container, stream
    except (av.FFmpegError, OSError) as error:
        if not isinstance(error, av.FFmpegError) and error.errno != errno.EINVAL:
            raise  # the file cannot be read; EINVAL is of FFmpeg's seeking before the beginning
        if isinstance(file, str):
            raise OSError(error.errno, f"the camera cannot be read: {error.strerror}") from error
        raise ValueError(
            "not a video, or a broken one (files that hold their frames can be read, as MP4, MKV, WebM, AVI "
            "and MPEG do; playlists cannot)"
        ) from error


def turned(frame) -> np.ndarray:
    """The pixels of one of PyAV's frames as a viewer shows them.

    Cameras that are held upright write what they see lying down, and by how much it is turned.
    """
    return np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
