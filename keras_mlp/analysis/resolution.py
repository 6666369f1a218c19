"""What a classifier makes of images of other sizes than its own."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from keras_mlp import files
from keras_mlp.analysis import inner
from keras_mlp.checkpoints import naming
from keras_mlp.checkpoints.resample import Resizer, checked_size, resize
from keras_mlp.extras import need
from keras_mlp.layers import BicubicResize, GridLayer, TokenSequence

OWN = "own size"
TUNED = "weights resampled, fine-tuned"
"""What is measured beside `WAYS`: the model at its own size, and one that has learnt at the new size."""


@dataclasses.dataclass(frozen=True)
class AtSize:
    """Results of a classifier on images of one size.

    Attributes:
        height, width: of the images, in pixels.
        way: how the classifier was made to take them: a key of `WAYS`, `OWN` or `TUNED`.
        agreement: share of the images whose class is that of the same image at the model's own size, from 0 to 1.
        accuracy: share of the images whose class is right, from 0 to 1; `None` without labels.
    """

    height: int
    width: int
    way: str
    agreement: float
    accuracy: float | None = None


def resize_maps(model: keras.Model, size: tuple[int, int]) -> keras.Model:
    """The same model at another input size, with all weights of token mixing as they are: the maps are resized.

    A layer that mixes the positions of a grid gets the map at its own grid, and its output is resized back, by cubic
    convolution. All other weights are carried over as `keras_mlp.resize` does it.

    Source: Tatsunami and Taki 2021 (RaftMLP), https://arxiv.org/abs/2108.04384, whose code does this around each of its
    blocks' token mixings. Here the norm and the shortcut stay outside.

    Args:
        model: a functional model with one input of images, from this package or with its layers in it.
        size: `(height, width)` of the new input in pixels.

    Returns:
        A new model.

    Raises:
        ValueError: see `keras_mlp.resize`; or a layer mixes the positions of a sequence and not of a map.
    """
    return _resized(_MapResizer(), model, size)


def resize_image(model: keras.Model, size: tuple[int, int]) -> keras.Model:
    """The model as it is, behind a layer that resizes images to its own size.

    Args:
        model: a functional model with one input of images of known size.
        size: `(height, width)` of the new input in pixels.

    Returns:
        A new model with the same layers.

    Raises:
        ValueError: `size` is no pair of positive integers, or the model has not one input of images.
    """
    own = inner.only_input(model).shape
    image = keras.Input((*checked_size(size), own[-1]))
    last = dict(data_format="channels_last", antialias=True)
    return keras.Model(image, model(keras.layers.Resizing(*own[1:3], interpolation="bicubic", **last)(image)))


def resize_between_corners(model: keras.Model, size: tuple[int, int]) -> keras.Model:
    """The same model at another input size, with position embeddings as ViT's authors resize them.

    They are interpolated linearly, the outer positions of both grids on each other. `keras_mlp.resize` does it by cubic
    convolution, with positions as cells, as DeiT's authors and timm. All else is as it does it.

    Source: google-research/vision_transformer, `load_pretrained` in vit_jax/checkpoint.py.

    Args:
        model: a functional model with one input of images and a `TokenSequence` with embeddings of positions.
        size: `(height, width)` of the new input in pixels.

    Returns:
        A new model.

    Raises:
        ValueError: see `keras_mlp.resize`; or the model has no such layer.
    """
    return _resized(_CornerResizer(), model, size)


WAYS: dict[str, Callable] = {
    "weights resampled": resize,
    "positions between corners": resize_between_corners,
    "maps resized": resize_maps,
    "image resized": resize_image,
}
"""Ways to give a model images of another size, `(model, (height, width)) -> model`: as `keras_mlp.resize` does it, as
ViT's and RaftMLP's authors do it in their code, and without any change of the model."""


def ways_for(model: keras.Model) -> dict[str, Callable]:
    """`WAYS` without `resize_between_corners` for a model that has no embeddings of positions."""
    return {title: way for title, way in WAYS.items() if way is not resize_between_corners or _has_positions(model)}


def resolution(
    model: keras.Model,
    images_at: Callable,
    sizes,
    labels=None,
    ways: dict[str, Callable] | None = None,
    tune: Callable | None = None,
    batch_size: int = 32,
    progress=lambda steps: steps,
) -> list[AtSize]:
    """Measure a classifier on the same images in several sizes.

    Args:
        model: a functional Keras model `(n, height, width, channels) -> (n, classes)` of images of known size; of two
            units or more.
        images_at: function of `(height, width)` that gives the images in that size, `(n, height, width, channels)`.
        sizes: pairs of height and width in pixels.
        labels: `(n,)`, the numbers of their classes; without them only the agreement is told.
        ways: by title, functions `(model, size) -> model` that make the classifier for a size; by default `ways_for`
            the model.
        tune: function `(model, size)` that trains a model at a size, in place. The model with resampled weights is then
            measured once more after it.
        batch_size: images at a time.
        progress: function that wraps the list of what is measured, to show how far the work is.

    Returns:
        An `AtSize` for the model's own size, and one for each way at each other size.

    Raises:
        ValueError: the model is no classifier of images of known size, a way is impossible at a size, or there is not
            one label an image.
    """
    own = tuple(inner.only_input(model).shape[1:3])
    scores = model.output_shape
    if None in own or not isinstance(scores, tuple) or len(scores) != 2 or scores[-1] < 2:
        raise ValueError(
            "`model` must be a classifier of images of one size, with scores (n, classes) of two classes or more. "
            f"It takes {model.input_shape} and gives {scores}."
        )
    ways = (ways_for(model) if ways is None else ways) | ({TUNED: resize} if tune else {})
    # All models first: a size that one of them refuses is told before anything is measured.
    sizes = [size for size in map(checked_size, sizes) if size != own]
    made = [(size, way, make(model, size)) for size in sizes for way, make in ways.items()]

    def classes(which, size):
        images = np.asarray(images_at(size))
        if labels is not None and len(labels) != len(images):
            raise ValueError(f"`labels` must be one an image. Received: {len(labels)} labels, {len(images)} images")
        return which.predict(images, batch_size=batch_size, verbose=0).argmax(-1)

    expected, found = None, []
    for size, way, which in progress([(own, OWN, model), *made]):
        if way == TUNED:
            tune(which, size)
        seen = classes(which, size)
        expected = seen if expected is None else expected
        right = None if labels is None else float((seen == np.asarray(labels)).mean())
        found.append(AtSize(*size, way, float((seen == expected).mean()), right))
    return found


def plot_resolution(found: dict[str, list[AtSize]], path):
    """Draw the curves of several models, a panel for each.

    Args:
        found: by the model's title, what `resolution` gives. The accuracy is drawn where all know it, else the
            agreement.
        path: PNG file to write.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figures = need("matplotlib.figure", extra="analysis")
    known = all(one.accuracy is not None for results in found.values() for one in results)
    figure = figures.Figure(figsize=(3.6 * len(found) + 0.8, 3.4), layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    ways = [*dict.fromkeys(one.way for results in found.values() for one in results if one.way != OWN)]
    lines = {}
    for axes, (title, results) in zip(panels, found.items(), strict=True):
        for way in dict.fromkeys(one.way for one in results if one.way != OWN):
            chosen = sorted((one for one in results if one.way in (way, OWN)), key=lambda one: one.height)
            heights = [100 * (one.accuracy if known else one.agreement) for one in chosen]
            style = dict(marker="o", markersize=3, color=f"C{ways.index(way)}")  # a way has one colour in all panels
            (lines[way],) = axes.plot([one.height for one in chosen], heights, **style)
        axes.set(title=title, xlabel="height of the images in pixels", ylim=(0, 102))
        axes.title.set_fontsize(9)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy in %" if known else "same class as at the own size, in %")
    panels[-1].legend([lines[way] for way in ways], ways, fontsize=7)
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, facecolor="white")


def _resized(resizer, model, size) -> keras.Model:
    own = inner.only_input(model)
    return resizer(model, keras.Input((*checked_size(size), own.shape[-1]), dtype=own.dtype))


class _MapResizer(Resizer):
    """Copies a model for another size, with resized maps around what mixes the positions of a grid."""

    def call(self, layer, *arguments, **options):
        if not _mixes(layer):
            return super().call(layer, *arguments, **options)
        maps = [x for x in keras.tree.flatten(arguments) if len(x.shape) == 4]
        if len(maps) < len(keras.tree.flatten(arguments)) or layer.in_front:
            raise ValueError(
                f"Layer {layer.name!r} mixes the positions of a sequence: no map is there to resize. "
                "Use `keras_mlp.resize`, which resamples its weights."
            )
        to_grid = BicubicResize(layer.grid, name=f"{layer.name}_to_grid")
        y = super().call(layer, *keras.tree.map_structure(to_grid, arguments), **options)
        return BicubicResize(name=f"{layer.name}_from_grid")(y, maps[0])


class _CornerResizer(Resizer):
    """Copies a model for another size, with embeddings of positions interpolated linearly between their corners."""

    def __call__(self, model, image=None):
        if not _has_positions(model):
            raise ValueError(
                f"Model {model.name!r} has no sequence of tokens with embeddings of positions. Use `keras_mlp.resize`."
            )
        return super().__call__(model, image)

    def axes(self, layer, variable):
        axes = super().axes(layer, variable)
        return _BETWEEN_CORNERS if axes == _AS_CELLS and isinstance(layer, TokenSequence) else axes


_AS_CELLS, _BETWEEN_CORNERS = ("embedding", None), ("corners", None)


def _has_positions(model) -> bool:
    """Whether a model has a sequence of tokens whose embeddings of positions are interpolated by cubic convolution."""
    layers = naming.weighted_layers(model)
    return any(isinstance(layer, TokenSequence) and _AS_CELLS in layer.grid_axes.values() for layer in layers)


def _mixes(layer) -> bool:
    """Whether weights of a layer belong to pairs of positions of one grid."""
    axes = [axis or "" for axes in getattr(layer, "grid_axes", {}).values() for axis in axes]
    return isinstance(layer, GridLayer) and any(axis.endswith(("in", "out")) for axis in axes)
