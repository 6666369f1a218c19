"""Which pixels reach a position of a map inside a model, and how much each of them counts."""

import dataclasses
import functools

import keras
import numpy as np

from keras_mlp import files, names
from keras_mlp.analysis import inner
from keras_mlp.extras import need
from keras_mlp.families.gc_vit.attention import SqueezeExcitation
from keras_mlp.families.pool_former import NormOfAverage
from keras_mlp.layers import PaddedMaxPooling
from keras_mlp.layers.precision import policy
from keras_mlp.layers.split_attention import SplitAttention
from keras_mlp.retyping import Retyper

SHARES = (0.2, 0.3, 0.5, 0.99)
"""Of the contribution, the shares whose area RepLKNet's authors publish."""


@dataclasses.dataclass(frozen=True)
class Field:
    """What of an image reaches one position of a map.

    Attributes:
        pixels: `(height, width)`, how much each pixel counts, not negative; of a theoretical field 1 or 0.
        layer: the block or layer that the map leaves.
    """

    pixels: np.ndarray
    layer: str

    @property
    def reached(self) -> float:
        """Share of the pixels that count at all, from 0 to 1."""
        return float((self.pixels > 0).mean())

    @property
    def shape(self) -> str:
        """What the pixels that count look like: "whole image", "rectangle", "cross", "scattered" or "nothing"."""
        counts = self.pixels > 0
        rows, columns = np.flatnonzero(counts.any(1)), np.flatnonzero(counts.any(0))
        if counts.all():
            return "whole image"
        if not rows.size:
            return "nothing"
        box = counts[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if box.all():
            return "rectangle"
        whole_rows, whole_columns = box.all(1), box.all(0)
        if whole_rows.any() and whole_columns.any() and not box[np.ix_(~whole_rows, ~whole_columns)].any():
            return "cross"
        return "scattered"

    def square(self, share: float) -> tuple[int, float]:
        """The smallest square around the centre with more than a share of the contribution.

        Args:
            share: from 0 to 1.

        Returns:
            Its side in pixels, odd and at least 3, and the share of the image that it covers, from 0 to 1. Squares
            end at the border, so that the whole image is the largest.

        Source: Ding et al. 2022 (RepLKNet), https://arxiv.org/abs/2203.06717, the authors' `erf/analyze_erf.py`.
        """
        if not 0 < share < 1:
            raise ValueError(f"`share` must lie between 0 and 1. Received: share={share!r}")
        height, width = self.pixels.shape
        away = np.maximum(np.abs(np.arange(height) - height // 2)[:, None], np.abs(np.arange(width) - width // 2))
        within = np.cumsum(np.bincount(away.ravel(), self.pixels.ravel()))
        if not within[-1] > 0:
            raise ValueError(f"No pixel reaches {self.layer!r}: there is no contribution to share.")
        steps = max(1, int(np.argmax(within > share * within[-1])))
        return 2 * steps + 1, float((away <= steps).mean())


def receptive_field(
    model: keras.Model,
    layer: str | None = None,
    position: tuple[int, int] | None = None,
    image_size: tuple[int, int] | None = None,
    statistics: bool = False,
) -> Field:
    """The theoretical receptive field: the pixels that can reach one position of a map at all, exactly.

    They are the pixels whose gradient is not zero, to the last bit, in a copy that computes in float64 and whose
    weights are moved by a random thousandth, so that none is zero by its initialiser. What is learnt and shapes the
    field, such as the offsets of ActiveMLP, is therefore as in `model`.

    Args:
        model: a functional model of images.
        layer: name of a block (see `inner.maps`) or layer; by default the last map.
        position: row and column in that map; by default its centre.
        image_size: height and width in pixels, for a model that takes any; 224 by default.
        statistics: whether averages over the whole map count, with which group norms, squeeze and excitation and split
            attention scale channels. Every pixel reaches every position through them, so they hide what the mixing
            does. They are held constant by default.

    Returns:
        A `Field` of ones and zeros.

    Raises:
        ValueError: `model` takes no images, has no such map, or the map no such position.
        RuntimeError: the Keras backend is not TensorFlow.

    Example:
        keras_mlp.analysis.receptive_field(keras_mlp.ASMLPTiny(weights=None), "stages_0_0").shape  # "cross"
    """
    inner.need_tensorflow()
    name, part = inner.chosen(model, layer)
    size = inner.image_size(model, image_size)
    image = keras.Input((*size, model.inputs[0].shape[-1]), dtype="float64", name=model.inputs[0].name)
    with policy("float64"):
        copy = _Opened(statistics)(part, image)
    place = _position(position, copy.output_shape[1:3])
    generator, reached = np.random.default_rng(0), np.zeros(size, bool)
    # A unit that is cut off (ReLU) on one image is not on another.
    for pixels in generator.uniform(0, 255, (3, 1, *size, image.shape[-1])):
        weights = generator.normal(size=copy.output_shape[-1])
        reached |= (_gradient(copy, pixels, place, lambda output, w=weights: output * w) != 0).any(-1)[0]
    return Field(reached.astype("float32"), name)


def effective_receptive_field(
    model: keras.Model,
    images,
    layer: str | None = None,
    logarithm: bool = True,
    progress=lambda images: images,
) -> Field:
    """How much each pixel counts for the centre of a map, over real images.

        contribution of a pixel = sum over images and channels of max(0, d / d pixel of sum over c of max(0, y_c)),

    where `y` is the map at its centre, and pixels are normalised as the model does it.

    Source: Luo et al. 2016, https://arxiv.org/abs/1701.04128, as Ding et al. 2022 (RepLKNet) compute it:
    `erf/visualize_erf.py` and `erf/analyze_erf.py` of the authors' code.

    Args:
        model: a functional model of images, with the weights to look at.
        images: array `(n, height, width, channels)`, pixels as the model takes them; the authors take 50 of 1024×1024.
        layer: see `receptive_field`.
        logarithm: whether contributions are `log10(1 + x)` of the average over images, divided by the largest, as
            published; else the average itself.
        progress: function that wraps the list of images, to show how far the work is.

    Returns:
        A `Field`.

    Raises:
        ValueError: see `receptive_field`; or `images` are no batch of images that the model takes.
        RuntimeError: the Keras backend is not TensorFlow.
    """
    inner.need_tensorflow()
    name, part = inner.chosen(model, layer)
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(f"`images` must be (n, height, width, channels), n > 0. Received: shape {images.shape}")
    inner.image_size(model, images.shape[1:3])
    normalised = next((layer.output for layer in part.layers if _normalises(layer)), part.inputs[0])
    normalise, rest = keras.Model(part.inputs[0], normalised), keras.Model(normalised, part.output)
    total = np.zeros(images.shape[1:3])
    for pixels in progress(list(images)):
        pixels = normalise(pixels[np.newaxis].astype("float32"), training=False)
        centre = _position(None, rest.compute_output_shape(pixels.shape)[1:3])
        gradient = _gradient(rest, pixels, centre, keras.ops.relu)
        total += np.maximum(gradient, 0).sum((0, -1))
    total /= len(images)
    if logarithm:
        total = np.log10(1 + total)
        total /= total.max() or 1.0
    return Field(total, name)


def plot_receptive_fields(fields: dict[str, dict[str, Field]], path):
    """Draw fields as a picture for each: a row for each model, a column for each of its blocks.

    Args:
        fields: by the model's title, then by what is written above a picture.
        path: PNG file to write.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figures = need("matplotlib.figure", extra="analysis")
    columns = max(map(len, fields.values()))
    figure = figures.Figure(figsize=(0.5 + 2.1 * columns, 0.3 + 2.5 * len(fields)), layout="constrained")
    panels = figure.subplots(len(fields), columns, squeeze=False)
    for row, (title, blocks) in zip(panels, fields.items(), strict=True):
        for axes in row[len(blocks) :]:
            axes.set_axis_off()
        row[0].set_ylabel(title, fontsize=9)
        for axes, (label, field) in zip(row, blocks.items(), strict=False):
            axes.imshow(field.pixels, cmap="Blues", vmin=0, vmax=field.pixels.max() or 1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color="0.8")
            axes.set_title(f"{label}\n{_in_words(field)}", fontsize=7.5)
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, facecolor="white")


def _in_words(field) -> str:
    if np.isin(field.pixels, (0, 1)).all():
        return f"{field.shape}, {field.reached:.1%} of the image"
    return ", ".join(f"{share:.0%} in {field.square(share)[0]} px" for share in (0.5, 0.99))


class _Opened(Retyper):
    """Copies a model in float64 in which every connection that there is passes a gradient on."""

    def __init__(self, statistics):
        super().__init__("float64", adapters=False)
        self._statistics, self._generator = statistics, np.random.default_rng(0)

    def value(self, old, new):
        read = super().value(old, new)

        def value(source, target):
            array = read(source, target)
            if not keras.backend.is_float_dtype(array.dtype.name):
                return array
            array = array.astype("float64")
            # A variance stays positive.
            return array + 1e-3 * (np.abs(array).max() or 1) * self._generator.uniform(0.1, 1, array.shape)

        return value

    def call(self, layer, *arguments, **options):
        plain = functools.partial(super().call, layer, **options)
        return _passed(layer, plain, self._statistics, *arguments)


@functools.singledispatch
def _passed(layer, call, statistics, *inputs):
    """What a layer's copy gives, `call(*inputs)`, or what passes on the same connections more surely.

    Args:
        layer: the original.
        call: function that calls the copy.
        statistics: whether averages over the map count.
        *inputs: symbolic tensors.
    """
    return call(*inputs)


@_passed.register(keras.layers.GroupNormalization)
@_passed.register(NormOfAverage)
@_passed.register(SqueezeExcitation)
def _scaled(layer, call, statistics, x):
    """The map itself where its scales are held constant."""
    return call(x) if statistics else x


@_passed.register
def _summed(layer: SplitAttention, call, statistics, maps):
    return call(maps) if statistics else keras.ops.sum(keras.ops.stack(maps), axis=0)


@_passed.register(keras.layers.GlobalAveragePooling2D)
def _averaged(layer, call, statistics, x):
    return call(x) if statistics else keras.ops.stop_gradient(call(x))


@_passed.register
def _pooled(layer: keras.layers.MaxPooling2D, call, statistics, x):
    """The average, because a maximum passes its gradient to one position alone."""
    return keras.ops.average_pool(x, layer.pool_size, layer.strides, layer.padding, "channels_last")


@_passed.register
def _pooled_with_border(layer: PaddedMaxPooling, call, statistics, x):
    return keras.ops.average_pool(layer.padded(x), layer.size, layer.stride, "valid", "channels_last")


def _gradient(model, pixels, place, of_channels):
    """The gradient of the sum of `of_channels(channels at place)`, of the pixels' shape."""
    import tensorflow as tf

    pixels = tf.convert_to_tensor(pixels, model.inputs[0].dtype)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        output = model(pixels, training=False)[:, place[0], place[1]]
        total = tf.reduce_sum(of_channels(output))
    gradient = tape.gradient(total, pixels)
    return np.zeros(pixels.shape) if gradient is None else np.asarray(gradient)


def _position(given, sides) -> tuple[int, int]:
    position = tuple(side // 2 for side in sides) if given is None else tuple(given)
    inside = len(position) == 2 and all(0 <= at < side for at, side in zip(position, sides, strict=True))
    if not inside:
        size = "×".join(map(str, sides))
        raise ValueError(f"`position` must be a row and a column of a map of {size}. Received: {given!r}")
    return position


def _normalises(layer) -> bool:
    return names.local(layer.name) == names.PREPROCESSING
