"""Videos for the commands, as files or folders of frames: found, their frames chosen and cropped as in evaluation."""

import dataclasses
import pathlib
import re

import numpy as np
from absl import flags as absl_flags

from keras_mlp.cards import Preprocessing, VideoPreprocessing
from keras_mlp.cli import console, datasets, images
from keras_mlp.training.data.source import MAX_PIXELS
from keras_mlp.training.data.videos import DEFAULT_PREPROCESSING, reading
from keras_mlp.walking import walk

SEGMENTS = "segments"


def define_sampling(flags):
    """Define the flag that says which frames a video model looks at."""
    absl_flags.DEFINE_string(
        "sampling",
        None,
        f'Which frames a video model looks at: "{SEGMENTS}" for one of each part of the whole video, or a number for '
        "frames so far apart, counted at 30 a second. By default as the model was trained.",
        flag_values=flags,
    )


def define_views(flags):
    """Define the flags that say how often a video is looked at."""
    absl_flags.DEFINE_string(
        "views",
        None,
        'How often a video is looked at in a test: "4x1" is four clips in time and one crop in space, "1x3" one clip '
        "and three crops. By default as the model was tested.",
        flag_values=flags,
    )
    define_sampling(flags)


def sampled(sampling: str, preprocessing: VideoPreprocessing = DEFAULT_PREPROCESSING) -> VideoPreprocessing:
    """The same preprocessing with the frames that `--sampling` says."""
    if sampling == SEGMENTS:
        return dataclasses.replace(preprocessing, stride=None)
    try:
        stride = float(sampling)
    except ValueError:
        stride = 0
    if not 0 < stride < np.inf:
        raise console.UsageError(f'--sampling is "{SEGMENTS}" or a positive number. Received: {sampling}')
    return dataclasses.replace(preprocessing, stride=stride)


def asked(flags, preprocessing: VideoPreprocessing) -> VideoPreprocessing:
    """The same with what `--views` and `--sampling` say."""
    if flags.sampling:
        preprocessing = sampled(flags.sampling, preprocessing)
    if not flags.views:
        return preprocessing
    counts = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,1})", flags.views)
    if not counts:
        raise console.UsageError(f'--views is clips x crops, as "4x1" or "1x3". Received: {flags.views}')
    return dataclasses.replace(preprocessing, clips=int(counts[1]), crops=int(counts[2]))


def refuse_for_images(flags, *names: str):
    """Raise an error for flags of videos, where the model takes images."""
    for name in names:
        if flags[name].value:
            raise console.UsageError(f"--{name} goes with a model of videos")


def of_videos(preprocessing: Preprocessing) -> VideoPreprocessing:
    """What is known of a model's preprocessing, with the usual frames where nothing is known of these."""
    if isinstance(preprocessing, VideoPreprocessing):
        return preprocessing
    return VideoPreprocessing(**dataclasses.asdict(preprocessing))


def sample(name: str, count: int, shape, preprocessing: Preprocessing, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Some clips of the videos in a folder, evenly spaced, or of the training part of a data set; or one of a file.

    Args:
        name: the folder, the data set's name, or the file.
        count: how many, at most.
        shape, preprocessing, max_pixels: see `views`; of each video one clip is taken.

    Returns:
        float32 array `(n, *shape)`, pixels 0–255.

    Raises:
        ValueError: there is no such data set, or no video in the folder.
    """
    looks = dataclasses.replace(of_videos(preprocessing), clips=1, crops=1)
    if pathlib.Path(name).is_file():
        return views(pathlib.Path(name), shape, looks, max_pixels)
    if not pathlib.Path(name).is_dir():
        return labelled_sample(name, "train", count, shape, looks, max_pixels)[0]

    def read(file):
        return views(file, shape, looks, max_pixels)[0]

    return np.stack(images.some(name, count, read, "videos", find))


def labelled_sample(name: str, split: str, count: int, shape, preprocessing: Preprocessing, max_pixels=MAX_PIXELS):
    """Some clips of a data set, evenly spaced, their labels, one-hot, and the names of the classes; see `sample`."""
    frames, *size, channels = shape
    options = dict(frames=frames, image_size=size, channels=channels, max_pixels=max_pixels)
    data = datasets.load_videos(name, split, batch_size=1, preprocessing=of_videos(preprocessing), **options)
    clips, labels = zip(*datasets.evenly(data, count), strict=True)
    return np.stack(clips), np.stack(labels), data.classes


def find(paths: list[str]) -> list[pathlib.Path]:
    """The videos that `paths` name, in order, folders searched to the bottom as by `keras_mlp.walking.walk`.

    A folder that holds pictures is one video, of these as its frames; each file in other folders is a video. A path
    that does not exist is kept: reading it tells.
    """
    found = []
    for path in map(pathlib.Path, paths):
        found += walk(path, whole=reading.frames_in)[0] if path.is_dir() else [path]
    return found


def views(
    path: pathlib.Path,
    shape: tuple[int, int, int, int],
    preprocessing: VideoPreprocessing,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """What a model looks at of one video, as pixels 0–255.

    Args:
        path: a file or a folder of frames, as `keras_mlp.training.data.videos.reading.opened` takes it.
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
    video = reading.opened(path, max_pixels)
    clips = preprocessing.sample(video.length, frames, video.rate)
    crops = {}
    for i, picture in reading.pictures(video, clips.flat):
        picture = with_channels(picture, channels)
        crops[i] = np.stack(
            [for_evaluation(picture, tuple(size), preprocessing, place) for place in preprocessing.places]
        )
    return np.concatenate([np.stack([crops[i] for i in clip], axis=1) for clip in clips])
