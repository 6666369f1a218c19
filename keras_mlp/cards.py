"""What is published about a model, as data: weights, preprocessing, training recipe, the model's card.

Everything here is a frozen dataclass of plain values (nothing imports Keras), so that a family file can state
its facts in a few lines and every other part of the package (zoo, checkpoints, training, README) reads the same ones.
"""

import dataclasses
import difflib
import fnmatch
import functools
import json
import re
from importlib import resources
from typing import Annotated

import numpy as np

from keras_mlp.allowed import Number, OneOf, OrNone, Pair, Several, Text, check

INPUTS = ("image", "video")
PRECISIONS = ("float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How pixels become a checkpoint's input.

    Args:
        mean: per-channel mean, in units of pixel / 255.
        std: per-channel standard deviation, in units of pixel / 255.
        crop_pct: share of the resized image's side that the centre crop keeps in evaluation, in (0, 1].
        interpolation: "bilinear" or "bicubic", with antialiasing.
        squash: resize the whole image to the input size, not keeping its aspect ratio, instead of
            resizing the short side and cropping the centre.
        bgr: the checkpoint wants the channels in reverse: blue, green, red.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop_pct: float = 0.875
    interpolation: str = "bicubic"
    squash: bool = False
    bgr: bool = False

    @property
    def views(self) -> int:
        """How many inputs are made of one image or video."""
        return 1

    def for_channels(self, channels: int) -> "Preprocessing":
        """The same for another number of input channels: averaged for one, repeated in turn for more than three."""
        if channels == len(self.mean):
            return self
        if channels == 1:
            mean, std = (float(np.mean(self.mean)),), (float(np.mean(self.std)),)
        else:
            mean = tuple(self.mean[i % len(self.mean)] for i in range(channels))
            std = tuple(self.std[i % len(self.std)] for i in range(channels))
        return dataclasses.replace(self, mean=mean, std=std)

    @property
    def scale_and_offset(self) -> tuple[list[float], list[float]]:
        """Per-channel `scale` and `offset` with `x * scale + offset == (x / 255 - mean) / std`."""
        scale = [1 / (255 * std) for std in self.std]
        offset = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        return scale, offset

    def __call__(self, pixels):
        """Normalise `pixels`.

        Args:
            pixels: array or tensor `(..., channels)`, red first, integers or floats in 0–255. It is not changed.

        Returns:
            A new float array (NumPy in, NumPy out) or tensor of the same shape.
        """
        scale, offset = self.for_channels(pixels.shape[-1]).scale_and_offset
        if isinstance(pixels, np.ndarray):
            dtype = pixels.dtype if np.issubdtype(pixels.dtype, np.floating) else np.float32
            pixels = pixels[..., ::-1] if self.bgr else pixels
            return pixels.astype(dtype) * np.asarray(scale, dtype) + np.asarray(offset, dtype)
        from keras import backend, ops

        dtype = backend.standardize_dtype(pixels.dtype)
        dtype = dtype if backend.is_float_dtype(dtype) else "float32"
        pixels = ops.flip(pixels, axis=-1) if self.bgr else pixels
        return ops.cast(pixels, dtype) * ops.cast(scale, dtype) + ops.cast(offset, dtype)


@dataclasses.dataclass(frozen=True)
class VideoPreprocessing(Preprocessing):
    """How a video becomes a checkpoint's inputs in evaluation: several, if it is looked at more than once.

    Args:
        stride: time from one frame to the next, in frames of a video of 30 a second. `None` to cut the whole video into
            as many parts as there are frames and take one of each.
        clips: how many such rows of frames are taken, evenly over the video.
        crops: 1 for the centre of the frames; 3 for the centre and both ends of their longer side.
    """

    stride: float | None = None
    clips: int = 1
    crops: int = 1

    @property
    def views(self) -> int:
        return self.clips * self.crops

    def sample(self, length: int, frames: int, rate: float = 30.0) -> np.ndarray:
        """Which frames of a video are looked at.

        Args:
            length: how many it has.
            frames: how many the model takes.
            rate: how many it has a second.

        Returns:
            Indices `(clips, frames)`, in order; of a video that is too short, some are repeated.
        """
        clips = np.arange(self.clips)[:, np.newaxis]
        if self.stride is None:
            part = (length - 1) / frames
            starts = np.rint(part * np.arange(frames))
            return (starts + np.floor(part * (clips + 1) / (self.clips + 1))).astype(int)
        span = self.stride * frames * rate / 30
        spare = max(length - span, 0)
        starts = clips * np.floor(spare / (self.clips - 1)) if self.clips > 1 else np.floor([[spare / 2]])
        return np.clip(starts + np.linspace(0, span - 1, frames), 0, length - 1).astype(int)


@dataclasses.dataclass(frozen=True)
class Weights:
    """One published checkpoint.

    Args:
        model: name of the model it is for, e.g. "mlp_mixer_b16".
        tag: what `weights=` calls it, e.g. "imagenet21k". Unique for the model.
        url: where the publisher's own file is.
        format: "npz", "pth" or "safetensors".
        layout: name of the family's layout (tensor names and axis order) the file follows.
        training_data: what it was trained on, in words.
        classes: number of outputs of its head.
        licence: SPDX identifier or the publisher's words.
        publisher: "authors" for the paper's or its repository's authors, else who made it.
        preprocessing: how its input is normalised, and resized for evaluation.
        input_size: height and width it was trained at, in pixels.
        top1: published top-1 accuracy in percent, of ImageNet-1k or of the videos it was trained on, or `None` where
            none is published.
        size: length of the file in bytes, where known.
        sha256: hexadecimal digest, or its leading digits, where a public source states it.
        key: where the tensors are inside the file, e.g. "model_ema"; `None` looks in the usual places.
        by_hand: the url cannot be fetched by a program (a cloud drive): a person has to.
        note: anything a user should know.
    """

    model: str
    tag: str
    url: str
    format: str
    layout: str
    training_data: str
    classes: int
    licence: str
    publisher: str = "authors"
    preprocessing: Preprocessing = Preprocessing()
    input_size: tuple[int, int] = (224, 224)
    top1: float | None = None
    size: int | None = None
    sha256: str | None = None
    key: str | None = None
    by_hand: bool = False
    note: str = ""

    @property
    def file_name(self) -> str:
        """Name of the file in the cache folder, unique over all models and tags."""
        return f"{self.model}-{self.tag}.{self.format}"


@dataclasses.dataclass(frozen=True)
class Paper:
    """Where an architecture was published."""

    title: str
    authors: str
    year: int
    url: str

    def __str__(self):
        return f"{self.authors}, “{self.title}”, {self.year}, {self.url}"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training recipe: what a paper's table of hyper-parameters holds.

    `keras_mlp.training` turns it into `compile` arguments, callbacks and a data pipeline. A value that is not what is
    declared beside its type is a `ValueError`.

    Args:
        source: where the values are published, or what they were inferred from.
        optimizer: "adamw", "adam", "lamb", "lars" or "sgd".
        learning_rate: peak rate at `batch_size`.
        learning_rate_rule: how the rate follows another batch size: "linear", "sqrt" or "constant".
        batch_size: global batch.
        epochs: passes over the training data, warm-up included.
        warmup_epochs: epochs of linear warm-up; may be fractional.
        warmup_steps: steps of linear warm-up, where the source counts steps; overrides `warmup_epochs`.
        schedule: "cosine", "linear" or "constant", after the warm-up.
        final_learning_rate: floor of the schedule, at `batch_size`.
        weight_decay: decoupled, multiplied by the rate at each step.
        no_weight_decay: words in a variable's path that spare it from weight decay.
        loss: "softmax" or "sigmoid" cross entropy; or "contrastive", without labels.
        label_smoothing: in [0, 1).
        mixup, cutmix: Beta parameter alpha; 0 switches it off.
        rand_augment: `(operations, magnitude)`, the magnitude as the source writes it (10 is full), or `None`.
        random_erasing: probability.
        repeated_augmentation: how often an epoch takes each of its images, augmented anew, in the same batch; it is no
            longer for that, so each sees another part of the data.
        horizontal_flip: mirror half of the training images.
        random_resized_crop: `(smallest, largest)` share of the image's area, or `None` for no random crop.
        drop_path_rate: stochastic depth.
        dropout_rate: dropout.
        gradient_clip_norm: clip the gradients' global norm; `None` for no clipping.
        ema_decay: decay of the moving average of the weights; `None` for none.
        layer_decay: factor of the rate from each block to the one below it, for fine-tuning; 1 is the same for all.
        unfreeze_epochs: epochs in which further blocks begin to train, from the top, in the last one all; before the
            first the classifier trains alone. Without any all train from the beginning.
        balance_classes: weigh each image by how rare its class is.
        patience: epochs without a better model after which training ends; `None` for never.
        precision: Keras dtype policy, e.g. "mixed_bfloat16", or `None` to take what suits the machine.
    """

    source: Annotated[str, Text()]
    optimizer: Annotated[str, OneOf(("adamw", "adam", "lamb", "lars", "sgd"))] = "adamw"
    learning_rate: Annotated[float, Number(above=0)] = 1e-3
    learning_rate_rule: Annotated[str, OneOf(("linear", "sqrt", "constant"))] = "linear"
    batch_size: Annotated[int, Number(least=1, whole=True)] = 1024
    epochs: Annotated[int, Number(least=1, whole=True)] = 300
    warmup_epochs: Annotated[float, Number(least=0)] = 5
    warmup_steps: Annotated[int | None, OrNone(Number(least=0, whole=True))] = None
    schedule: Annotated[str, OneOf(("cosine", "linear", "constant"))] = "cosine"
    final_learning_rate: Annotated[float, Number(least=0)] = 1e-5
    weight_decay: Annotated[float, Number(least=0)] = 0.05
    no_weight_decay: Annotated[tuple[str, ...], Several(Text())] = ("bias", "beta", "gamma")
    loss: Annotated[str, OneOf(("softmax", "sigmoid", "contrastive"))] = "softmax"
    label_smoothing: Annotated[float, Number(least=0, below=1)] = 0.1
    mixup: Annotated[float, Number(least=0)] = 0.0
    cutmix: Annotated[float, Number(least=0)] = 0.0
    rand_augment: Annotated[tuple[int, float] | None, OrNone(Pair(Number(least=1, whole=True), Number(least=0)))] = None
    random_erasing: Annotated[float, Number(least=0, most=1)] = 0.0
    repeated_augmentation: Annotated[int, Number(least=1, whole=True)] = 1
    horizontal_flip: Annotated[bool, OneOf((True, False))] = True
    random_resized_crop: Annotated[
        tuple[float, float] | None, OrNone(Pair(Number(above=0, most=1), Number(above=0, most=1), rising=True))
    ] = (0.08, 1.0)
    drop_path_rate: Annotated[float, Number(least=0, below=1)] = 0.0
    dropout_rate: Annotated[float, Number(least=0, below=1)] = 0.0
    gradient_clip_norm: Annotated[float | None, OrNone(Number(above=0))] = None
    ema_decay: Annotated[float | None, OrNone(Number(least=0, below=1))] = None
    layer_decay: Annotated[float, Number(above=0, most=1)] = 1.0
    unfreeze_epochs: Annotated[tuple[int, ...], Several(Number(least=0, whole=True), rising=True)] = ()
    balance_classes: Annotated[bool, OneOf((True, False))] = False
    patience: Annotated[int | None, OrNone(Number(least=1, whole=True))] = None
    precision: Annotated[str | None, OrNone(OneOf(PRECISIONS))] = None

    def __post_init__(self):
        check(self, "A recipe")


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What is known of one model of the zoo.

    Args:
        name: its name for `create_model`, e.g. "mlp_mixer_b16".
        builder: name of the public function that builds it, e.g. "MLPMixerB16".
        family: name of its family, e.g. "mlp_mixer".
        title: the paper's name for it, e.g. "MLP-Mixer B/16".
        paper: where it was published.
        parameters: trainable parameters, with the default number of classes.
        macs: multiply-adds of one image or video in matrix products and convolutions.
        binary_macs: those of them that are products of binary weights with activations of two or three levels.
        input_shape: default input, `(height, width, channels)`; videos have frames in front.
        top1: `{training: percent}`, every ImageNet-1k top-1 that was published for the architecture, or of video models
            the top-1 of every data set, whether its weights were or not.
        config: the arguments of the family's generic builder that make it.
        weights: published checkpoints by tag. "imagenet" is the one of highest published top-1 with the 1000
            ImageNet-1k classes: the authors' own best, where they published any. Those of video models are called
            after their data sets.
        recipe: the family's published training recipe.
        preprocessing: that of the default weights, or the family's where there are none.
        note: what is inferred and not published.
    """

    name: str
    builder: str
    family: str
    title: str
    paper: Paper
    parameters: int
    macs: int
    input_shape: tuple[int, ...]
    top1: dict[str, float]
    config: dict
    weights: dict[str, Weights]
    recipe: Recipe | None
    preprocessing: Preprocessing
    note: str = ""
    binary_macs: int = 0

    @property
    def operations(self) -> float:
        """OPs, as papers on binary networks count them: see `operations`."""
        return operations(self.macs, self.binary_macs)

    @property
    def input(self) -> str:
        """What it takes: "image" or "video"."""
        return kind_of_input(self.input_shape)

    def preprocess(self, pixels, weights: str = "imagenet"):
        """Normalise pixels 0–255 as the checkpoint `weights` wants them, for `include_preprocessing=False`."""
        return (self.weights[weights].preprocessing if weights in self.weights else self.preprocessing)(pixels)


def operations(macs: int, binary_macs: int) -> float:
    """OPs = BOPs / 64 + FLOPs: a machine's word holds 64 of the bits that binary products take.

    Source: Liu et al. 2018 (Bi-Real Net), https://arxiv.org/abs/1808.00278, section 4.3; FLOPs are multiply-adds there.

    Args:
        macs: all multiply-adds.
        binary_macs: those of them (BOPs) that are products of binary weights with activations of few levels.
    """
    return binary_macs / 64 + macs - binary_macs


def kind_of_input(shape: tuple) -> str:
    """What an input without its batch is, one of `INPUTS`: videos have an axis of frames before those of images."""
    return INPUTS[len(shape) - 3]


def natural_order(name: str):
    """Sort key that puts "s2" before "s10"."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def find(
    cards: dict[str, ModelCard],
    pattern: str = "*",
    family: str | None = None,
    input: str | None = None,
    weights: str | bool | None = None,
) -> list[str]:
    """Names of the cards that match; arguments, result and errors are those of `keras_mlp.list_models`."""
    families = {card.family for card in cards.values()}
    if family is not None and family not in families:
        raise ValueError(f"There is no family {family!r}. {nearest(family, families)}")
    if input not in (None, *INPUTS):
        raise ValueError(f"`input` must be {' or '.join(map(repr, INPUTS))}. Received: input={input!r}")
    if not any(c in pattern for c in "*?["):
        pattern = f"*{pattern}*"

    def matches(card):
        if isinstance(weights, bool):
            published = bool(card.weights) == weights
        else:
            published = weights is None or bool(fnmatch.filter(card.weights, weights))
        named = fnmatch.fnmatch(card.name, pattern) and family in (None, card.family)
        return named and input in (None, card.input) and published

    return sorted((name for name, card in cards.items() if matches(card)), key=natural_order)


def named(cards: dict[str, ModelCard], name: str) -> ModelCard:
    """The card of that name; a `ValueError` with near ones where there is none."""
    if name not in cards:
        raise ValueError(f"There is no model {name!r}. {nearest(name, cards)}")
    return cards[name]


def nearest(name, names) -> str:
    """The end of a message that there is no such name."""
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are: {', '.join(sorted(names))}."


FILE = "cards.json"
"""All cards as `to_json` writes them, for those who only want to read them: the families that declare them need Keras,
whose import takes seconds. `python -m weights.tables` writes it, and a test compares."""


def to_json(cards: dict[str, ModelCard]) -> str:
    """All cards as text, a line a card."""
    lines = (f" {json.dumps(name)}: {json.dumps(_plain(cards[name]), ensure_ascii=False)}" for name in sorted(cards))
    return "{\n" + ",\n".join(lines) + "\n}\n"


@functools.cache
def from_file() -> dict[str, ModelCard]:
    """All cards by name, read from `FILE`."""
    text = resources.files("keras_mlp").joinpath(FILE).read_text(encoding="utf-8")
    return {name: _card(card) for name, card in json.loads(text).items()}


_CLASSES = {kind.__name__: kind for kind in (Preprocessing, VideoPreprocessing, Weights, Paper, Recipe, ModelCard)}


def _plain(value):
    if dataclasses.is_dataclass(value):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"is": type(value).__name__} | fields
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [*map(_plain, value)] if isinstance(value, tuple) else value


def _card(value):
    if isinstance(value, dict):
        value = {key: _card(inner) for key, inner in value.items()}
        return _CLASSES[value.pop("is")](**value) if "is" in value else value
    return tuple(map(_card, value)) if isinstance(value, list) else value
