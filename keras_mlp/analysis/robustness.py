"""Robustness of a classifier to JPEG, blur, noise, darkness, crop and rotation, in steps."""

import dataclasses
import io

import keras
import numpy as np
from PIL import Image, ImageFilter

from keras_mlp import files
from keras_mlp.extras import need

STEPS = {
    "jpeg": (90, 50, 25, 10, 5),
    "blur": (0.5, 1, 2, 4, 6),
    "noise": (4, 8, 16, 32, 64),
    "darkness": (0.8, 0.6, 0.4, 0.2, 0.1),
    "crop": (0.95, 0.9, 0.8, 0.7, 0.5),
    "rotation": (2, 5, 10, 20, 45),
}
"""For each change its steps, from mild to strong.

JPEG: quality, 1 to 95. Blur: standard deviation in pixels of an image of 224, in proportion for other sizes. Noise:
standard deviation in levels of 0–255. Darkness: factor on the pixels. Crop: share of each side that is kept. Rotation:
degrees.
"""


@dataclasses.dataclass(frozen=True)
class Step:
    """Results of a classifier on images that were changed in one way.

    Attributes:
        change: a key of `STEPS`, or "none".
        strength: as `STEPS` says; 0 for "none".
        agreement: share of the images whose class is that of the unchanged image, from 0 to 1.
        accuracy: share of the images whose class is right, from 0 to 1; `None` without labels.
    """

    change: str
    strength: float
    agreement: float
    accuracy: float | None = None


def changed(image: np.ndarray, change: str, strength: float, seed: int = 0) -> np.ndarray:
    """One image as a phone may have made it.

    Args:
        image: `(height, width, 1 or 3)`, pixels 0–255.
        change: a key of `STEPS`.
        strength: as `STEPS` says.
        seed: of the noise.

    Returns:
        uint8 array of the same shape. What a rotation brings in repeats the border.

    Raises:
        ValueError: there is no such change.
    """
    if change not in STEPS:
        raise ValueError(f"`change` must be one of {', '.join(STEPS)}. Received: change={change!r}")
    pixels = np.clip(np.rint(image), 0, 255).astype("uint8")
    made = _CHANGES[change](Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), strength, seed)
    return np.asarray(made, "uint8").reshape(image.shape)


def robustness(
    model: keras.Model,
    images,
    labels=None,
    steps: dict[str, tuple] | None = None,
    batch_size: int = 32,
    progress=lambda steps: steps,
) -> list[Step]:
    """Measure a classifier on images that are changed in steps.

    Args:
        model: a Keras model `(n, height, width, channels) -> (n, classes)` of pixels 0–255; of two units or more.
        images: array of such images.
        labels: `(n,)`, the numbers of their classes; without them only the agreement is told.
        steps: by change, strengths; `STEPS` by default.
        batch_size: images at a time.
        progress: function that wraps the list of steps, to show how far the work is.

    Returns:
        A `Step` for the unchanged images and one for each strength of each change, in order.

    Raises:
        ValueError: the model is no classifier, there is no such change, or labels and images differ in number.
    """
    if not isinstance(model.output_shape, tuple) or len(model.output_shape) != 2 or model.output_shape[1] == 1:
        raise ValueError(f"`model` must be a classifier with two units or more. Its output is {model.output_shape}.")
    images, steps = np.asarray(images), STEPS if steps is None else steps
    if unknown := set(steps) - set(STEPS):
        raise ValueError(f"`steps` must name {', '.join(STEPS)}. Received: {', '.join(sorted(unknown))}")
    if labels is not None and np.shape(labels) != (len(images),):
        raise ValueError(f"`labels` must be ({len(images)},), as many as images. Received: shape {np.shape(labels)}")

    def classes(these):
        return model.predict(these, batch_size=batch_size, verbose=0).argmax(-1)

    def right(found):
        return None if labels is None else float((found == labels).mean())

    clean = classes(images)
    rows = [Step("none", 0.0, 1.0, right(clean))]
    every = [(kind, strength) for kind, strengths in steps.items() for strength in strengths]
    for change, strength in progress(every):
        these = np.stack([changed(image, change, strength, seed) for seed, image in enumerate(images)])
        found = classes(these.astype(images.dtype))
        rows.append(Step(change, float(strength), float((found == clean).mean()), right(found)))
    return rows


def plot_robustness(found: dict[str, list[Step]], path):
    """Draw the curves of several models, a panel for each change.

    Args:
        found: by the model's title, what `robustness` gives. The accuracy is drawn where all know it, else the
            agreement.
        path: PNG file to write.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figures = need("matplotlib.figure", extra="analysis")
    known = all(step.accuracy is not None for steps in found.values() for step in steps)
    kinds = list(dict.fromkeys(step.change for steps in found.values() for step in steps if step.change != "none"))
    figure = figures.Figure(figsize=(2.6 * len(kinds) + 0.6, 3.2), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for title, steps in found.items():
            chosen = [step for step in steps if step.change in ("none", kind)]
            heights = [100 * (step.accuracy if known else step.agreement) for step in chosen]
            axes.plot(range(len(chosen)), heights, marker="o", markersize=3, label=title)
        labels = ["none", *(f"{step.strength:g}" for step in chosen[1:])]
        axes.set_xticks(range(len(labels)), labels, fontsize=7)
        axes.set(title=f"{kind} ({_UNITS[kind]})", ylim=(0, 102))
        axes.title.set_fontsize(9)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy in %" if known else "same class as unchanged, in %")
    panels[-1].legend(fontsize=7)
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, facecolor="white")


_UNITS = {
    "jpeg": "quality",
    "blur": "pixels of 224",
    "noise": "levels of 255",
    "darkness": "factor",
    "crop": "share kept",
    "rotation": "degrees",
}


def _jpeg(image, quality, seed):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(quality))
    return Image.open(file)


def _blur(image, deviation, seed):
    return image.filter(ImageFilter.GaussianBlur(deviation * min(image.size) / 224))


def _noise(image, deviation, seed):
    pixels = np.asarray(image, "float64")
    return np.clip(np.rint(pixels + np.random.default_rng(seed).normal(0, deviation, pixels.shape)), 0, 255)


def _darkness(image, factor, seed):
    return np.rint(np.asarray(image, "float64") * factor)


def _crop(image, share, seed):
    left, upper = ((1 - share) * side / 2 for side in image.size)
    box = (left, upper, image.size[0] - left, image.size[1] - upper)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


def _rotation(image, degrees, seed):
    pixels = np.asarray(image)
    margin = [(side, side) for side in pixels.shape[:2]] + [(0, 0)] * (pixels.ndim - 2)
    wide = Image.fromarray(np.pad(pixels, margin, mode="edge")).rotate(degrees, Image.Resampling.BICUBIC)
    height, width = pixels.shape[:2]
    return np.asarray(wide)[height : 2 * height, width : 2 * width]


_CHANGES = {"jpeg": _jpeg, "blur": _blur, "noise": _noise, "darkness": _darkness, "crop": _crop, "rotation": _rotation}
