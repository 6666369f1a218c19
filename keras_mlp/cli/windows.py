"""Long videos and streams for `predict`: a label for each window, and a copy of the video with the labels in it."""

import dataclasses
import fractions
import os
import pathlib

import numpy as np
from absl import flags as absl_flags

from keras_mlp.cli import console, images
from keras_mlp.extras import need
from keras_mlp.files import atomic_path
from keras_mlp.training.data.videos.windows import is_stream, running, windows
from keras_mlp.walking import readable

_LETTERS = 24  # in the height of a frame
_BITS = 0.15  # of the annotated copy, for each pixel
_LEAST = 20_000  # a second, of small and slow videos: encoders refuse less than 1000
_TICKS = 100  # in the time of a frame: so exact are the times of frames in the copy


def define_flags(flags):
    absl_flags.DEFINE_float(
        "window",
        None,
        "Seconds of a window: a video then gets a prediction for each. By default it gets one.",
        lower_bound=1e-3,
        flag_values=flags,
    )
    absl_flags.DEFINE_float(
        "step", None, "Seconds from one window to the next; --window by default.", lower_bound=1e-3, flag_values=flags
    )
    absl_flags.DEFINE_string(
        "annotate", None, "Folder for copies of the videos with the labels of the windows in them.", flag_values=flags
    )


def refuse_without(flags, arguments):
    """Raise an error for flags and videos that need `--window`, where there is none, and for what cannot be."""
    streams = [word for word in arguments if is_stream(word)]
    if flags.window is None:
        for name in ("step", "annotate"):
            if flags[name].value is not None:
                raise console.UsageError(f"--{name} goes with --window")
        if streams:
            raise console.UsageError(f"{streams[0]} has no end: add --window=SECONDS")
    elif flags.annotate and streams:
        raise console.UsageError(f"--annotate reads a video twice, and {streams[0]} can be read once only")


def run(flags, classifier, files, named, as_json) -> int:
    """Classify the windows of videos, each as soon as it is over.

    Args:
        flags: the flags of `predict`.
        classifier: of videos.
        files: the videos.
        named: from the scores of a window to `(identifier, name, score)` of the classes to tell, the best first.
        as_json: whether JSON is written.

    Returns:
        The exit code.
    """
    from keras_mlp.training.data.images import for_evaluation, with_channels

    count, *size, channels = classifier.input_shape
    looks = dataclasses.replace(classifier.preprocessing, clips=1)
    failed, taken = [], set()

    def look(picture):
        picture = with_channels(picture, channels)
        return np.stack([for_evaluation(picture, tuple(size), looks, place) for place in looks.places])

    for file in files:
        if not as_json:
            print(readable(file))
        found = []
        try:
            with running(file, flags.max_pixels) as (rate, frames):
                for window in windows(frames, rate, flags.window, flags.step or flags.window, count, looks, look):
                    scores = classifier.scores(np.moveaxis(window.clip, 1, 0))
                    best = named(classifier.output.joint(scores, looks.averaged))
                    _print(file, window, best, as_json)
                    if flags.annotate:
                        found.append((window.end, f"{best[0][1]} {100 * best[0][2]:.0f} %" if best else ""))
            if flags.annotate:
                name = images.free_name(pathlib.Path(file).stem, taken)
                annotated(file, found, os.path.join(flags.annotate, f"{name}.mp4"), flags.max_pixels)
        except (OSError, ValueError) as error:
            console.error(f"{readable(file)}: {getattr(error, 'strerror', None) or error}")
            failed.append(file)
    return images.exit_code(failed, files)


def _print(file, window, best, as_json):
    if as_json:
        rows = [{"class": name, "id": identifier, "score": round(score, 6)} for identifier, name, score in best]
        times = {"start": round(window.start, 3), "end": round(window.end, 3)}
        return console.print_json({"file": str(file), **times, "predictions": rows})
    told = ", ".join(f"{name} {100 * score:.1f} %" for _, name, score in best) or "none of the classes"
    print(f"  {_clock(window.start)}–{_clock(window.end)}  {told}", flush=True)


def _clock(seconds) -> str:
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes:02.0f}:{seconds:04.1f}"


def annotated(file, labels: list[tuple[float, str]], path, max_pixels: int):
    """Write a copy of a video, without its sound, with a label at the top of each frame.

    Args:
        file: the video.
        labels: when each ends in seconds, and its text, in order.
        path: an MP4 file, which is written whole or not at all.
        max_pixels: how many pixels a frame may have.
    """
    av = need("av", extra="video")
    codec, ticks = ("libx264", _TICKS) if "libx264" in av.codecs_available else ("mpeg4", 1)  # whose clocks are coarse
    labels = list(labels)
    with atomic_path(path) as temporary, av.open(str(temporary), "w") as container:
        stream, at = None, -1
        with running(file, max_pixels) as (rate, frames):
            for time, picture in frames:
                while len(labels) > 1 and time >= labels[0][0]:
                    labels.pop(0)
                pixels = picture()
                pixels = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]  # as the usual codecs want it
                if stream is None:
                    stream = container.add_stream(codec, rate=fractions.Fraction(rate).limit_denominator(1001))
                    stream.codec_context.time_base = 1 / (stream.codec_context.framerate * ticks)
                    stream.height, stream.width = pixels.shape[:2]
                    stream.pix_fmt = "yuv420p"
                    stream.bit_rate = max(_LEAST, int(_BITS * pixels[..., 0].size * rate))
                drawn = av.VideoFrame.from_ndarray(_with_text(pixels, labels[0][1] if labels else ""), format="rgb24")
                drawn.pts = at = max(at + 1, round(time * rate * ticks))
                drawn.time_base = stream.codec_context.time_base
                container.mux(stream.encode(drawn))
            container.mux(stream.encode())


def _with_text(pixels, text) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(max(10, picture.height // _LETTERS))
    box = pen.textbbox((4, 2), text, font=font)
    if text:
        pen.rectangle((0, 0, box[2] + 4, box[3] + 4), fill="black")
    pen.text((4, 2), text, fill="white", font=font)
    return np.asarray(picture)
