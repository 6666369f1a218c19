"""Videos for `predict`, as files or folders of frames: found, their frames chosen and cropped as in evaluation."""

import contextlib
import errno
import pathlib

import numpy as np

from keras_mlp.cards import VideoPreprocessing, natural_order
from keras_mlp.cli import images
from keras_mlp.extras import need
from keras_mlp.training.data.folders import SUFFIXES
from keras_mlp.training.data.source import MAX_PIXELS
from keras_mlp.walking import is_hidden, is_special, walk

RATE = 30.0
"""Frames a second where nothing tells."""
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


def find(paths: list[str]) -> list[pathlib.Path]:
    """The videos that `paths` name, in order, folders searched to the bottom as by `keras_mlp.walking.walk`.

    A folder that holds pictures is one video, of these as its frames; each file in other folders is a video. A path
    that does not exist is kept: reading it tells.
    """
    found = []
    for path in map(pathlib.Path, paths):
        found += walk(path, whole=_frames)[0] if path.is_dir() else [path]
    return found


def _frames(folder) -> list[pathlib.Path]:
    """The pictures in a folder, 2 before 10; a folder or a pipe is none, whatever its name."""
    inside = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not is_hidden(path.name))
    inside = (path for path in inside if not path.is_dir() and not is_special(path))
    return sorted(inside, key=lambda path: natural_order(path.name))


def views(
    path: pathlib.Path,
    shape: tuple[int, int, int, int],
    preprocessing: VideoPreprocessing,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """What a model looks at of one video, as pixels 0–255.

    Args:
        path: a file of one of `CONTAINERS`, or a folder of frames at 30 a second.
        shape: `(frames, height, width, channels)` of the model's input; 1 or 3 channels.
        preprocessing: which frames are taken, and how they are resized and cropped.
        max_pixels: how many pixels a frame may have.

    Returns:
        float32 array `(clips * crops, *shape)`.

    Raises:
        ImportError: PyAV is not installed, which decodes files.
        OSError: a file cannot be read.
        ValueError: it is no video, or a broken one.
    """
    from keras_mlp.training.data.images import for_evaluation, with_channels

    frames, *size, channels = shape
    source = (_Folder if path.is_dir() else _File)(path, max_pixels)
    clips = preprocessing.sample(source.length, frames, source.rate)
    places = np.linspace(0, 1, preprocessing.crops).tolist() if preprocessing.crops > 1 else [0.5]
    crops = {}
    for i, picture in source.pictures(set(clips.flat)):
        picture = with_channels(picture, channels)
        crops[i] = np.stack([for_evaluation(picture, tuple(size), preprocessing, place) for place in places])
    if len(crops) < len(set(clips.flat)):
        raise ValueError(f"the video breaks off: not all of its {source.length} frames can be decoded")
    return np.concatenate([np.stack([crops[i] for i in clip], axis=1) for clip in clips])


class _Folder:
    """A video as pictures in a folder."""

    rate = RATE

    def __init__(self, path, max_pixels):
        self.max_pixels = max_pixels
        self.frames = _frames(path)
        self.length = len(self.frames)

    def pictures(self, wanted):
        """Number and pixels of the frames in `wanted`."""
        for i in sorted(wanted):
            try:
                yield i, images.decode(self.frames[i], self.max_pixels)
            except (OSError, ValueError) as error:
                raise ValueError(f"{self.frames[i].name}: {getattr(error, 'strerror', None) or error}") from error


class _File:
    """A video in a file, decoded by FFmpeg."""

    def __init__(self, path, max_pixels):
        self.path = path
        self.max_pixels = max_pixels
        with self._open() as (container, stream):
            self.rate = float(stream.average_rate or RATE)
            # The container's own count may be missing or wrong.
            self.length = sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream))
        if not self.length:
            raise ValueError("there are no frames in the video")

    @contextlib.contextmanager
    def _open(self):
        av = need("av", extra="video")
        if is_special(self.path):
            raise ValueError("neither a file nor a folder of frames")
        with open(self.path, "rb") as file:
            try:
                with av.open(file, options=SEALED, metadata_errors="replace") as container:
                    if not container.streams.video:
                        raise ValueError("there is no video in the file")
                    stream = container.streams.video[0]
                    if stream.width * stream.height > self.max_pixels:
                        raise ValueError(
                            f"a video of {stream.width}×{stream.height} pixels, more than the limit of "
                            f"{self.max_pixels:,}"
                        )
                    stream.thread_type = "AUTO"
                    yield container, stream
            except (av.FFmpegError, OSError) as error:
                if not isinstance(error, av.FFmpegError) and error.errno != errno.EINVAL:
                    raise  # the file cannot be read; EINVAL is of FFmpeg's seeking before the beginning
                raise ValueError(
                    "not a video, or a broken one (files that hold their frames can be read, as MP4, MKV, WebM, AVI "
                    "and MPEG do; playlists cannot)"
                ) from error

    def pictures(self, wanted):
        """Number and pixels of the frames in `wanted`, as they come."""
        with self._open() as (container, stream):
            for i, frame in enumerate(container.decode(stream)):
                if i in wanted:
                    # Cameras that are held upright write what they see lying down, and by how much it is turned.
                    yield i, np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                if i == max(wanted):
                    return
