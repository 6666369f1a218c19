"""A long video, or one without an end, window by window: read once, with no more in memory than a window needs."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import sys
from collections.abc import Callable

import numpy as np

from keras_mlp.cards import VideoPreprocessing
from keras_mlp.training.data.source import MAX_PIXELS
from keras_mlp.training.data.videos import reading

STANDARD_INPUT = "-"
CAMERAS = "/dev/video"
"""What paths of cameras begin with on Linux."""
DEVICES = "v4l2"
"""FFmpeg's name of what reads them."""
LONGEST = 3600.0
"""The longest time between two frames, in seconds. If it is longer, or negative, the clock was set anew, and one frame
is taken to have passed."""


@dataclasses.dataclass(frozen=True)
class Window:
    """A part of a video.

    Args:
        start, end: in seconds from its beginning.
        clip: what was kept of its frames, `(frames, …)`.
    """

    start: float
    end: float
    clip: np.ndarray


def is_stream(path) -> bool:
    """Whether a path stands for a stream that can be read only once: the standard input or a camera."""
    return str(path) == STANDARD_INPUT or str(path).startswith(CAMERAS)


@contextlib.contextmanager
def running(path, max_pixels: int = MAX_PIXELS):
    """Open a video to read it from its beginning to its end.

    Args:
        path: a video file, a folder of frames, "-" for the standard input, or a camera such as "/dev/video0".
        max_pixels: how many pixels a frame may have.

    Yields:
        Frames a second, and an iterator over the frames: of each its time in seconds after the first one, and what
        gives its pixels.

    Raises:
        Exception: as `reading.opened` tells.
    """
    if os.path.isdir(path):
        video = reading.folder(pathlib.Path(path), max_pixels)
        yield video.rate, ((i / video.rate, functools.partial(video.picture, i)) for i in range(video.length))
        return
    with contextlib.ExitStack() as stack:
        if str(path) == STANDARD_INPUT:  # unbuffered, since a buffer waits until it is full
            bytes_in = stack.enter_context(open(sys.stdin.fileno(), "rb", buffering=0, closefd=False))
            opened = reading.container_of(bytes_in, max_pixels)
        elif is_stream(path):
            opened = reading.container_of(str(path), max_pixels, format=DEVICES, options={})
        else:
            opened = reading.container_of(stack.enter_context(reading.file(path)), max_pixels)
        container, stream = stack.enter_context(opened)
        rate = float(stream.average_rate or reading.RATE)
        if not is_stream(path):  # of which decoding in several threads would keep some frames back
            stream.thread_type = "AUTO"
        yield rate, _timed(container.decode(stream), rate)


def _timed(frames, rate):
    """Frames as `running` gives them; the times of cameras and of cut files do not begin at 0."""
    first, last = None, 0.0
    for number, frame in enumerate(frames):
        time = number / rate if frame.time is None else frame.time
        first = time if first is None else first
        if not 0 <= time - first - last <= LONGEST:
            first = time - last - 1 / rate
        last = time - first
        yield last, functools.partial(reading.turned, frame)


def windows(
    frames,
    rate: float,
    seconds: float,
    step: float,
    count: int,
    preprocessing: VideoPreprocessing,
    look: Callable[[np.ndarray], np.ndarray],
):
    """Cut a video into windows.

    A window is cut by the times of the frames. A video whose rate varies is read at a constant one: a frame is repeated
    until the next one comes.

    Args:
        frames: an iterator as `running` gives it.
        rate: frames a second, on average.
        seconds: length of a window.
        step: from the beginning of a window to that of the next, in seconds.
        count: frames of a clip, as many as the model takes.
        preprocessing: which frames of a window are taken.
        look: from the pixels of a frame to what is kept of it.

    Raises:
        ValueError: there is no frame.

    Yields:
        `Window`s, each as soon as its last frame is there. At the end of the video, a window that is at least half as
        long follows, or one of any length where there was none. Its clip is made of the nearest frames that were kept.
    """
    length, step = max(1, round(seconds * rate)), max(1, round(step * rate))
    clips = dataclasses.replace(preprocessing, clips=1)
    offsets = clips.sample(length, count, rate)[0]
    # The video may end early, and then other frames are wanted: the fewer it has, the closer together.
    gap = min(np.diff(offsets), default=length)
    wanted = set(offsets.tolist()) | {i for i in range(length) if i % max(1, min(gap, i // count)) == 0}
    kept, first, number = {}, 0, -1
    for number, picture in _at_constant_rate(frames, rate):
        # The windows that are open begin at multiples of the step.
        begins = range(number - number % step, max(first, number - length + 1) - 1, -step)
        if any(number - begin in wanted for begin in begins):
            kept[number] = look(picture())
        if number == first + length - 1:
            yield Window(first / rate, (first + length) / rate, np.stack([kept[first + offset] for offset in offsets]))
            first += step
            kept = {at: one for at, one in kept.items() if at >= first}
    if number < 0:
        raise ValueError("there are no frames in the video")
    rest, covered = number + 1 - first, first - step + length
    if first == 0 or (number >= covered and rest >= length / 2):
        there = np.array(sorted(kept))
        nearest = [there[np.abs(there - first - offset).argmin()] for offset in clips.sample(rest, count, rate)[0]]
        yield Window(first / rate, (number + 1) / rate, np.stack([kept[at] for at in nearest]))


def _at_constant_rate(frames, rate):
    """Numbers 0, 1, 2 and so on, and what gives the pixels that are seen so many frames after the beginning."""
    number, before = -1, None
    for time, picture in frames:
        at = round(time * rate)
        yield from ((between, before) for between in range(number + 1, at))
        if at > number:
            yield at, picture
        number, before = max(number, at), picture
