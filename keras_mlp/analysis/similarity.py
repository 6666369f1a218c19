"""How alike the maps inside models are: linear CKA over images."""

import dataclasses

import keras
import numpy as np

from keras_mlp import files
from keras_mlp.analysis import inner
from keras_mlp.extras import need


@dataclasses.dataclass(frozen=True)
class Similarity:
    """How alike each block of one model is to each of another.

    Attributes:
        values: `(rows, columns)`, from 0 to 1: 1 where the maps of all images are alike up to a rotation and a scale.
        rows: names of the blocks of the first model.
        columns: names of the blocks of the second.
    """

    values: np.ndarray
    rows: tuple[str, ...]
    columns: tuple[str, ...]


def similarity(
    model: keras.Model, images, other: keras.Model | None = None, batch_size: int = 32, progress=lambda batches: batches
) -> Similarity:
    """Centred kernel alignment (CKA) of the blocks of two models, or of one model with itself.

        CKA(X, Y) = HSIC(X X', Y Y') / sqrt(HSIC(X X', X X') HSIC(Y Y', Y Y')),

    where a row of `X` holds the map of one image. HSIC is the estimate without bias, averaged over batches, so that
    neither the images nor the width of a map shift it.

    Source: Kornblith et al. 2019, https://arxiv.org/abs/1905.00414; in batches after Nguyen et al. 2021,
    https://arxiv.org/abs/2010.15327, equations 2 and 3.

    Args:
        model: a functional model of images.
        images: array `(n, height, width, channels)`, pixels as the models take them.
        other: the second model; by default `model` itself. It takes the same images.
        batch_size: images at a time, at least 4. Images that fill no batch are left out, unless they are all.
        progress: function that wraps the list of batches, to show how far the work is.

    Returns:
        A `Similarity`.

    Raises:
        ValueError: there are fewer than 4 images or images a batch, or a model takes no images.
    """
    images = np.asarray(images)
    batch_size = min(batch_size, len(images))
    if batch_size < 4:
        raise ValueError(
            "`images` and `batch_size` must be at least 4: the estimate of less is undefined. "
            f"Received: {len(images)} images, batch_size={batch_size}"
        )
    models = (model,) if other is None else (model, other)
    parts = [inner.maps(one) for one in models]
    blocks = [tuple(part.output) for part in (parts[0], parts[-1])]
    crossed = np.zeros([len(names) for names in blocks])
    own = [np.zeros(len(names)) for names in blocks]
    for start in progress(range(0, len(images) - batch_size + 1, batch_size)):
        grams = [_grams(part.predict_on_batch(images[start : start + batch_size])) for part in parts]
        first, second = grams[0], grams[-1]
        crossed += _hsic(first, second)
        own[0] += np.diag(_hsic(first, first))
        own[1] += np.diag(_hsic(second, second))
    scale = np.sqrt(np.outer(np.maximum(own[0], 0), np.maximum(own[1], 0)))
    values = np.divide(crossed, scale, out=np.zeros_like(crossed), where=scale > 0)
    return Similarity(np.clip(values, 0, 1), *blocks)


def plot_similarity(found: Similarity, path, titles: tuple[str, str]):
    """Draw the similarity of blocks as a picture, the first blocks at the lower left.

    Args:
        found: what `similarity` gives.
        path: PNG file to write.
        titles: of the two models, for the vertical and the horizontal axis.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figures = need("matplotlib.figure", extra="analysis")
    rows, columns = found.values.shape
    figure = figures.Figure(figsize=(2.2 + 0.24 * columns, 1.6 + 0.24 * rows), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(found.values, origin="lower", vmin=0, vmax=1, cmap="magma")
    axes.set_xticks(range(columns), found.columns, rotation=90, fontsize=7)
    axes.set_yticks(range(rows), found.rows, fontsize=7)
    axes.set(ylabel=titles[0], xlabel=titles[1], title="similarity of blocks (linear CKA)")
    figure.colorbar(picture, ax=axes, shrink=0.8)
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, facecolor="white")


def _grams(maps) -> np.ndarray:
    """`(blocks, n, n)`: the products of the images' maps, centred, without the diagonal."""
    found = []
    for features in maps.values():
        flat = np.asarray(features, "float64").reshape(len(features), -1)
        flat = flat - flat.mean(0)  # changes no HSIC, and keeps digits
        gram = flat @ flat.T
        np.fill_diagonal(gram, 0)
        found.append(gram / (np.abs(gram).max() or 1))  # CKA knows no scale
    return np.stack(found)


def _hsic(first, second) -> np.ndarray:
    """The estimate without bias for each pair of `(blocks, n, n)` and `(blocks, n, n)`."""
    n = first.shape[-1]
    traces = np.einsum("aij,bij->ab", first, second)
    sums = np.outer(first.sum((1, 2)), second.sum((1, 2))) / ((n - 1) * (n - 2))
    rows = first.sum(1) @ second.sum(1).T * (2 / (n - 2))
    return (traces + sums - rows) / (n * (n - 3))
