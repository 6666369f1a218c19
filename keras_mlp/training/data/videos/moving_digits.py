"""The data that need no network: real handwritten digits in motion.

A class is a digit and a motion together, as "3 turns left". There are two digits, 3 and 4, and neither looks like the
other when it is turned: small models are to learn motions here, and more digits take them longer. Motions come in pairs
of opposites, and in the middle of the clip a digit's place, angle and size are drawn alike for all of them. So the
middle frame tells nothing of the motion: who sees it alone is right for one clip in six. The digits are scikit-learn's,
scanned from the hands of 43 people. Test clips are made of digits that no training clip shows.
"""

import functools

import numpy as np

from keras_mlp.extras import need
from keras_mlp.training.data.source import Source, choose_split
from keras_mlp.training.data.splits import held_out
from keras_mlp.training.data.videos import reading

NAME = "moving_digits"
DIGITS = (3, 4)
MOTIONS = ("slides left", "slides right", "turns left", "turns right", "shrinks", "grows")
"""Each is followed by its opposite."""
CLASSES = tuple(f"{digit} {motion}" for digit in DIGITS for motion in MOTIONS)
SPLITS = {"train": 120, "test": 30}
"""Clips of each class."""
FRAMES = 16
SIDE = 32
"""Pixels a side."""
_WIDTH = 15  # of a digit, in pixels
_SHIFT, _ANGLE, _GROWTH = 6.0, 60.0, 0.4  # to either end: pixels, degrees, and the logarithm of the size
_PLACE, _TILT, _SIZE = 3.0, 12.0, 0.1  # most in the middle of the clip, the same


@functools.lru_cache(maxsize=2)
def draw(split: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw clips, the same ones whenever it is asked.

    Args:
        split: "train" or "test".
        seed: of everything that is random.

    Returns:
        uint8 `(clips, FRAMES, SIDE, SIDE)`, and numbers of `CLASSES` `(clips,)`.
    """
    digits = need("sklearn.datasets", extra="train").load_digits()
    chosen = held_out(digits.target) == (split == "test")
    random = np.random.RandomState([seed, list(SPLITS).index(split)])  # frozen over NumPy's versions
    labels = np.arange(len(CLASSES)).repeat(SPLITS[split])
    clips = np.zeros((len(labels), FRAMES, SIDE, SIDE), "uint8")
    for clip, label in zip(clips, labels, strict=True):
        digit, motion = divmod(label, len(MOTIONS))
        image = digits.images[random.choice(np.flatnonzero(chosen & (digits.target == DIGITS[digit])))]
        clip[:] = _moved(image, motion, random)
    return clips, labels


def _moved(image, motion, random) -> np.ndarray:
    """A clip of a digit of 8×8 pixels, 0–16."""
    from PIL import Image

    picture = Image.fromarray(image.astype("float32") * (255 / 16))
    kind, forward = divmod(motion, 2)
    x, y = random.uniform(-_PLACE, _PLACE, 2)
    angle, size = random.uniform(-_TILT, _TILT), random.uniform(-_SIZE, _SIZE)
    ends = np.eye(3)[kind] * (_SHIFT, _ANGLE, _GROWTH) * random.uniform(0.8, 1.2)
    frames = np.zeros((FRAMES, SIDE, SIDE))
    for frame, when in zip(frames, np.linspace(-1, 1, FRAMES) * (1 if forward else -1), strict=True):
        shift, turn, growth = when * ends
        # From a pixel of the frame to the one of the digit that is seen there.
        scale = 8 / (_WIDTH * np.exp(size + growth))
        cos, sin = (scale * function(np.radians(angle + turn)) for function in (np.cos, np.sin))
        left, top = SIDE / 2 + x + shift, SIDE / 2 + y
        there = (cos, sin, 4 - cos * left - sin * top, -sin, cos, 4 + sin * left - cos * top)
        frame[:] = picture.transform((SIDE, SIDE), Image.AFFINE, there, Image.BICUBIC)
    return np.clip(frames + random.normal(0, 8, frames.shape), 0, 255)


def source(split: str, seed: int = 0) -> Source:
    """Moving digits as data to be loaded; "evaluation" is "test".

    Raises:
        ValueError: there is no such split.
    """
    import tensorflow as tf

    split = choose_split(split, list(SPLITS), NAME)
    clips, labels = draw(split, seed)
    return Source(
        tf.data.Dataset.from_tensor_slices(([clip.tobytes() for clip in clips], labels)),
        None,
        list(CLASSES),
        len(clips),
        split,
        size=clips.nbytes,
        name=lambda number: f"clip {number}",
        counts=lambda: np.bincount(labels, minlength=len(CLASSES)).tolist(),
        sound=True,
        contents=lambda: [f"{NAME} {split} {clips.shape} {seed}"],
    )


def opened(encoded: bytes, max_pixels=None) -> reading.Pictures:
    """A clip to read frames from."""
    clip = np.frombuffer(encoded, "uint8").reshape(FRAMES, SIDE, SIDE, 1)
    return reading.Pictures(FRAMES, lambda number: clip[number].repeat(3, axis=-1))
