"""Photographs to look at models with, which need no network: those that scikit-learn ships."""

import numpy as np
from PIL import Image

from keras_mlp.extras import need


def photos(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Random crops of the two photographs of scikit-learn, a temple and a flower, in turns.

    Args:
        count: number of crops.
        size: their height and width in pixels, to which a crop of at least half the photograph's sides is resized.
        seed: of the crops.

    Returns:
        float32 array `(count, height, width, 3)`, pixels 0–255.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    originals = need("sklearn.datasets", extra="analysis").load_sample_images().images
    generator, found = np.random.default_rng(seed), []
    for number in range(count):
        original = Image.fromarray(originals[number % len(originals)])
        scale = min(original.width / size[1], original.height / size[0]) * generator.uniform(0.5, 1)
        width, height = scale * size[1], scale * size[0]
        left = generator.uniform(0, original.width - width)
        upper = generator.uniform(0, original.height - height)
        box = (left, upper, left + width, upper + height)
        crop = original.resize(size[::-1], Image.Resampling.BICUBIC, box=box)
        found.append(np.asarray(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if generator.random() < 0.5 else crop))
    return np.stack(found).astype("float32")
