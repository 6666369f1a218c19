"""Videos for training and evaluation: found, the frames that a model looks at decoded, all changed alike."""

import dataclasses
import functools
import os
import re

import numpy as np
from absl import logging

from keras_mlp.cards import Recipe, VideoPreprocessing
from keras_mlp.extras import need
from keras_mlp.training import data
from keras_mlp.training.data import folders
from keras_mlp.training.data.source import MAX_PIXELS, Source
from keras_mlp.training.data.videos import reading

DEFAULT_PREPROCESSING = VideoPreprocessing()
"""A frame of each part of the whole video, unless a checkpoint says otherwise."""
DIRECTIONS = re.compile(r"(?i:clockwise|(?<![a-z])(left|right)(?![a-z]))|(Left|Right)(?![a-z])")
"""Words in names of classes that are no longer true of a mirrored video."""


def _is_video(path) -> bool:
    return os.path.isdir(path) or os.path.splitext(path)[1].lower() in reading.SUFFIXES


def _is_frames(folder) -> bool:
    """Whether a folder is one video: there are pictures in it, and no videos beside them."""
    return bool(reading.frames_in(folder)) and not any(map(_is_video, folder.iterdir()))


VIDEOS = folders.Kind("video", reading.SUFFIXES, _is_video, reading.why_not, _is_frames)


def load(
    name,
    split: str = "train",
    *,
    frames: int,
    image_size,
    batch_size: int,
    recipe: Recipe | None = None,
    preprocessing: VideoPreprocessing = DEFAULT_PREPROCESSING,
    views: bool = False,
    data_dir=None,
    max_pixels: int = MAX_PIXELS,
    **options,
) -> data.Data:
    """Load videos and their labels.

    Args:
        name: "moving_digits" for handwritten digits in motion, which need no network; a folder of class folders, in
            which videos are files or folders of frames (see `keras_mlp.training.data.folders.folder`); a folder of
            lists (`keras_mlp.training.data.videos.lists.listed`); a data set of tensorflow-datasets such as "ucf101",
            or a folder in which it has prepared one.
        split: see `keras_mlp.training.data.load`.
        frames: of a clip, as many as the model takes.
        image_size: height and width of a frame, in pixels, or one number for both.
        batch_size: videos of a batch.
        recipe: its augmentation makes training data of it, of one clip a video, drawn anew in each epoch. All frames of
            a clip are changed alike. Where names of classes tell directions, as "slides left", none is mirrored.
            `None` gives evaluation data.
        preprocessing: which frames are taken (`VideoPreprocessing.draw` in training, else `sample`), and how they are
            resized.
        views: whether evaluation data have all clips and crops of `preprocessing` of each video, `(batch, views,
            frames, height, width, channels)`, the crops of a clip beside each other. Without, they have one clip from
            the middle, `(batch, frames, height, width, channels)`.
        data_dir: where tensorflow-datasets keeps what it has prepared; by default its own folder.
        max_pixels: how many pixels a frame may have.
        **options: further arguments of `keras_mlp.training.data.load`, such as `seed`.

    Returns:
        The data.

    Raises:
        ImportError: PyAV is not installed, which decodes files.
        ValueError: an argument is wrong, or there is no such data set or split.
        ConnectionError: the data set has to be downloaded and cannot be.
    """
    if frames < 1:
        raise ValueError(f"`frames` should be positive. Received: {frames}")
    if not views:
        preprocessing = dataclasses.replace(preprocessing, clips=1, crops=1)
    source = find(name, split, frames, preprocessing, data_dir)
    if recipe and recipe.horizontal_flip and (told := next(filter(DIRECTIONS.search, source.classes), None)):
        logging.info("Videos are not mirrored: there is a class %r.", told)
        recipe = dataclasses.replace(recipe, horizontal_flip=False)
    return data.load(
        source,
        split,
        image_size=image_size,
        batch_size=batch_size,
        recipe=recipe,
        preprocessing=preprocessing,
        shown=functools.partial(_shown, views=views),
        max_pixels=max_pixels,
        **options,
    )


def find(name, split: str, frames: int, preprocessing: VideoPreprocessing, data_dir=None) -> Source:
    """Return where the videos of a data set are; arguments and errors are those of `load`."""
    from keras_mlp.training.data import catalogue
    from keras_mlp.training.data.videos import lists, moving_digits

    path = os.path.expanduser(name)
    if name == moving_digits.NAME:
        source, opened = moving_digits.source(split), moving_digits.opened
    elif not os.path.isdir(path):
        if os.sep in str(name) or str(name).startswith("."):
            raise ValueError(f"There is no folder {name}.")
        source, opened = catalogue.dataset(str(name), split, data_dir, videos=True), _prepared
    elif os.path.isfile(os.path.join(path, "dataset_info.json")):
        source, opened = catalogue.prepared(path, split, videos=True), _prepared
    else:
        need("av", extra="video")  # an error while data are read would be taken for a broken video
        source = lists.listed(path, split) if lists.holds_lists(path) else folders.folder(path, split, VIDEOS)
        opened = reading.opened_to_learn
    return dataclasses.replace(source, clips=_clips(opened, frames, preprocessing), things="videos")


def _prepared(encoded, max_pixels) -> reading.Pictures:
    """A video of tensorflow-datasets."""
    import tensorflow as tf

    from keras_mlp.training.data import decoding

    files = tf.io.parse_tensor(encoded, tf.string).numpy()
    return reading.Pictures(len(files), lambda number: decoding.decode(files[number], max_pixels))


def _clips(opened, frames, preprocessing):
    """`Source.clips`, of `(encoded, max_pixels) -> video`."""
    import tensorflow as tf

    def chosen(encoded, max_pixels, seed):
        video = opened(np.asarray(encoded, object).item(), max_pixels)  # outside graphs it comes as an array
        if len(seed):
            random = np.random.RandomState(seed.astype("uint32"))
            numbers = preprocessing.draw(video.length, frames, random, video.rate)[np.newaxis]
        else:
            numbers = preprocessing.sample(video.length, frames, video.rate)
        found = dict(reading.alike(video, numbers.flat))
        return np.stack([np.stack([found[number] for number in clip]) for clip in numbers])

    def clips(encoded, max_pixels, seed):
        given = tf.zeros((0,), tf.int32) if seed is None else seed
        found = tf.numpy_function(
            lambda encoded, seed: chosen(encoded, max_pixels, seed), [encoded, given], tf.uint8, stateful=False
        )
        return tf.ensure_shape(found, (None, frames, None, None, 3))

    return clips


def _shown(clips, size, preprocessing, views):
    """What evaluation sees of the clips of a video, `(clips, frames, height, width, channels)`."""
    import tensorflow as tf

    from keras_mlp.training.data import geometry, images

    _, frames, *_, channels = clips.shape
    whole = tf.shape(clips)[2:4]
    resized, _ = images.view(whole, size, preprocessing)
    pictures = tf.reshape(clips, (-1, whole[0], whole[1], channels))
    pictures = geometry.Resize(whole, resized, preprocessing.interpolation).image(pictures)

    def crop(place):
        _, begin = images.view(whole, size, preprocessing, place)
        return tf.reshape(geometry.Cut(begin, size).image(pictures), (-1, frames, *size, channels))

    crops = tf.stack([crop(place) for place in preprocessing.places], axis=1)
    return tf.reshape(crops, (-1, frames, *size, channels)) if views else crops[0, 0]
