"""The data that need no network: scenes of real handwritten digits on textured ground, with masks and boxes.

The digits are scikit-learn's, scanned from the hands of 43 people. Test scenes are made of digits that no training
scene shows.
"""

import dataclasses
import functools

import numpy as np

from keras_mlp.extras import need
from keras_mlp.training.data.source import Source, choose_split
from keras_mlp.training.data.splits import held_out

SPLITS = {"train": 1600, "test": 300}
"""Scenes of each split."""
SIDE = 64
"""Pixels a side."""
CLASSES = ("ground", *map(str, range(10)))
_DIGITS = (3, 5)  # in a scene
_SIDES = (22, 28)  # of a digit, in pixels
_PLACES = 16  # that are tried for a digit, of which it takes the one where it covers the least
_INK = 0.3  # of a pixel that counts as the digit's
_CONTRASTS = (100, 160)  # between a digit and the mean of its ground, in 0–255


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Scenes and what is in them.

    Attributes:
        images: uint8 `(scenes, side, side, 3)`.
        masks: uint8 `(scenes, side, side)`, numbers of `CLASSES`.
        owners: uint8 `(scenes, side, side)`: of which digit of its scene a pixel is, counted from 1, 0 for the ground.
            Later digits cover earlier ones.
        digits: of each scene its digits, as pairs of the digit 0–9 and its pixels, those that are covered included.
    """

    images: np.ndarray
    masks: np.ndarray
    owners: np.ndarray
    digits: list[list[tuple[int, int]]]


@functools.lru_cache(maxsize=4)
def draw(split: str, count: int | None = None, side: int = SIDE, seed: int = 0) -> Scenes:
    """Draw scenes, the same ones whenever it is asked.

    Args:
        split: "train" or "test".
        count: how many; by default `SPLITS[split]`.
        side: height and width in pixels.
        seed: of everything that is random.
    """
    from PIL import Image

    digits = need("sklearn.datasets", extra="train").load_digits()
    chosen = np.flatnonzero(held_out(digits.target) == (split == "test"))
    random = np.random.RandomState([seed, list(SPLITS).index(split)])  # frozen over NumPy's versions
    count = SPLITS[split] if count is None else count
    images, masks = np.zeros((count, side, side, 3), "uint8"), np.zeros((count, side, side), "uint8")
    owners, drawn_digits = np.zeros_like(masks), [[] for _ in range(count)]
    for image, mask, owner, inside in zip(images, masks, owners, drawn_digits, strict=True):
        ground = _ground(random, side)
        for _ in range(random.randint(_DIGITS[0], _DIGITS[1] + 1)):
            number = chosen[random.randint(len(chosen))]
            large = min(random.randint(_SIDES[0], _SIDES[1] + 1), side)
            drawn = Image.fromarray(digits.images[number].astype("float32") / 16).resize((large, large), Image.BICUBIC)
            ink = np.clip(np.asarray(drawn), 0, 1)
            there = _place(random, owner, ink > _INK)
            cover = np.clip(1.6 * ink, 0, 1)[..., None]
            ground[there] = (1 - cover) * ground[there] + cover * _colour(random, ground[there])
            mask[there][ink > _INK] = digits.target[number] + 1
            inside.append((int(digits.target[number]), int((ink > _INK).sum())))
            owner[there][ink > _INK] = len(inside)
        image[:] = np.clip(ground + random.normal(0, 6, ground.shape), 0, 255)
    return Scenes(images, masks, owners, drawn_digits)


def source(split: str, count: int | None = None, side: int = SIDE, seed: int = 0) -> Source:
    """Scenes as data to be loaded; the arguments are those of `draw`, and "evaluation" is "test".

    Raises:
        ValueError: there is no such split.
    """
    import tensorflow as tf

    split = choose_split(split, list(SPLITS), "scenes")
    drawn = draw(split, count, side, seed)
    encoded = [image.tobytes() for image in drawn.images]

    def targets(label, encoded):
        masks = tf.constant(drawn.masks[..., None])
        return {"masks": tf.cond(label >= 0, lambda: masks[label], lambda: tf.zeros((1, 1, 1), tf.uint8))}

    def counts():
        return [int((drawn.masks == label).any((1, 2)).sum()) for label in range(len(CLASSES))]

    return Source(
        tf.data.Dataset.from_tensor_slices((encoded, np.arange(len(encoded)))),
        lambda content: tf.reshape(tf.io.decode_raw(content, tf.uint8), (side, side, 3)),
        list(CLASSES),
        len(encoded),
        split,
        size=drawn.images.nbytes,
        name=lambda number: f"scene {number}",
        counts=counts,
        sound=True,
        contents=lambda: [f"scenes {split} {len(encoded)} {side} {seed}"],
        targets=targets,
    )


def _ground(random, side):
    """A texture: a light colour that changes slowly, with stripes and grain."""
    from PIL import Image

    coarse = random.uniform(110, 225, 3) + random.normal(0, 22, (5, 5, 3))
    coarse = Image.fromarray(np.clip(coarse, 0, 255).astype("uint8")).resize((side, side), Image.BICUBIC)
    y, x = np.mgrid[:side, :side] / side
    angle, waves = random.uniform(0, np.pi), random.uniform(3, 9)
    stripes = np.sin(2 * np.pi * waves * (np.cos(angle) * x + np.sin(angle) * y)) * random.uniform(0, 14)
    return np.asarray(coarse, "float64") + stripes[..., None]


def _place(random, owner, inked):
    """Where a digit covers as little as it can of those before: two slices."""
    (side, _), (large, _) = owner.shape, inked.shape
    corners = random.randint(0, side - large + 1, (_PLACES, 2))
    places = [(slice(top, top + large), slice(left, left + large)) for top, left in corners]
    return min(places, key=lambda there: np.count_nonzero(owner[there][inked]))


def _colour(random, ground):
    """A colour darker than the ground, as ink on paper."""
    brightness = max(ground.mean() - random.uniform(*_CONTRASTS), 0)
    colour = random.uniform(0, 255, 3)
    return colour * brightness / colour.mean()
