"""From the name of a data set to batches for `model.fit` and `model.evaluate`."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging

from keras_mlp.cards import Preprocessing, Recipe
from keras_mlp.training.data.broken import Broken, reader
from keras_mlp.training.data.source import MAX_PIXELS, MOST_PIXELS, Source, Supply
from keras_mlp.walking import summary

CACHED_IMAGES = 2**28  # bytes of decoded images that are kept for the next evaluation
CACHED_FILES = 2**30  # bytes of encoded images that are kept for the next epoch
SHUFFLED_FILES = 2**30  # bytes of encoded images among which the next one is drawn

DEFAULT_PREPROCESSING = Preprocessing()
"""How images are resized for evaluation, unless a checkpoint says otherwise: as most papers do."""

# Pictures of characters: mirrored they are no character or another one, whatever the recipe says.
NEVER_MIRRORED = ("digits", "emnist", "kmnist", "mnist", "mnist_corrupted", "omniglot", "svhn_cropped")


@dataclasses.dataclass(frozen=True)
class Data:
    """Batches of images and of what is to be learnt of them.

    Args:
        dataset: `tf.data.Dataset` of `(images, targets)`: float32 pixels 0–255 `(batch, height, width, channels)`, of
            videos `(batch, frames, height, width, channels)`, and what the objective takes. A classifier's targets are
            labels, one-hot float32 `(batch, classes)`; those of multi-label data have 0 or 1 for each class. Weights
            `(batch,)` follow where classes are balanced. For training the data go on for ever, one epoch of `steps`
            batches after the other, so `fit` needs `steps_per_epoch=data.steps`.
        classes: names of the classes, in the order of the labels; none where targets are no classes.
        examples: how many different images there are.
        steps: batches of one epoch.
        batch_size: images of a batch; in evaluation the last one may be smaller. Where several workers share a batch it
            is the batch of all of them, of which `dataset` has this one's part.
        broken: the images that could not be read, as far as is known; by default none may be.
        starting_at: from a number of batches to the data set without so many at its beginning, where there is a quicker
            way than to make them.
        multi_label: whether labels say of each class whether it is true, in place of which one it is.
        identity: gives what tells these examples from others (`source.Source.identity`); that may take a while.
        left_out: what files of the folder are no examples, and why, in a line; empty where all are.
        truth: gives what evaluation compares with where the targets are not enough (`source.Source.truth`).
        things: what the examples are called, "images" or "videos".
        supply: counts the batches of training data of videos.
    """

    dataset: Any
    classes: list[str]
    examples: int
    steps: int
    batch_size: int
    broken: Broken = dataclasses.field(default_factory=lambda: Broken(0, 0.0, str))
    starting_at: Callable[[int], Any] | None = None
    multi_label: bool = False
    identity: Callable[[], dict] | None = None
    left_out: str = ""
    truth: Callable[[], Any] | None = None
    things: str = "images"
    supply: Supply | None = None

    @property
    def frames(self) -> int | None:
        """How many frames a clip has; `None` of images."""
        return self.dataset.element_spec[0].shape[1] if self.things == "videos" else None

    def after(self, batches: int) -> "Data":
        """Return the same data without the first batches."""
        if not batches:
            return self
        dataset = self.starting_at(batches) if self.starting_at else self.dataset.skip(batches)
        return dataclasses.replace(self, dataset=dataset)

    def mapped(self, change: Callable) -> "Data":
        """Return the same data with each batch changed.

        Args:
            change: from images, targets and, if there are any, weights to what takes their place.
        """
        starting_at = self.starting_at and (lambda batches: self.starting_at(batches).map(change))
        return dataclasses.replace(self, dataset=self.dataset.map(change), starting_at=starting_at)


def _augmented(image, seed, size, recipe, interpolation, targets=None):
    """An image, or all frames of a clip alike, as a recipe wants it; and its targets, if some follow it."""
    import tensorflow as tf

    from keras_mlp.training.data import augment, rand_augment
    from keras_mlp.training.data.geometry import Steps

    crop, flip, change, erase = tf.unstack(tf.random.split(seed, 4))
    whole = tf.shape(image)[-3:-1]
    if recipe.random_resized_crop:
        steps = [augment.random_crop(whole, crop, size, recipe.random_resized_crop, interpolation)]
    else:
        steps = [_seen(whole, size, Preprocessing(crop_pct=1.0, interpolation=interpolation))]
    if recipe.horizontal_flip:
        steps.append(augment.random_mirror(flip, size[1]))
    if recipe.rand_augment:
        steps.append(rand_augment.drawn(change, size, *recipe.rand_augment))
    geometry = Steps(*steps)
    image = geometry.image(image)
    if recipe.random_erasing:
        image = augment.random_erasing(image, erase, recipe.random_erasing)
    return image if targets is None else (image, geometry.targets(targets))


def _shown(image, size, preprocessing, targets=None):
    """An image as it is evaluated; and its targets, if some follow it."""
    import tensorflow as tf

    seen = _seen(tf.shape(image)[:2], size, preprocessing)
    return seen.image(image) if targets is None else (seen.image(image), seen.targets(targets))


def _seen(whole, size, preprocessing):
    """The part of an image of this height and width that is evaluated."""
    from keras_mlp.training.data import geometry, images

    resized, begin = images.view(whole, size, preprocessing)
    return geometry.Steps(geometry.Resize(whole, resized, preprocessing.interpolation), geometry.Cut(begin, size))


def load(
    name,
    split: str = "train",
    *,
    image_size,
    batch_size: int,
    recipe: Recipe | None = None,
    preprocessing: Preprocessing = DEFAULT_PREPROCESSING,
    channels: int = 3,
    seed: int = 0,
    data_dir=None,
    broken_share: float = 0.01,
    augmentation: Callable = _augmented,
    shown: Callable = _shown,
    worker: tuple[int, int] = (0, 1),
    multi_label: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Data:
    """Load images and their labels.

    Args:
        name: of a data set in tensorflow-datasets ("digits" is there without network), or a folder: of class folders
            (see `keras_mlp.training.data.folders.folder`), of TFRecords (`keras_mlp.training.data.records.records`), or
            one that tensorflow-datasets has prepared. A folder that has a data set's name is given as "./name". Or a
            `keras_mlp.training.data.source.Source`, whose split is chosen.
        split: which part, e.g. "train", "train[:90%]", "test"; "evaluation" is the one that is there to evaluate on.
        image_size: height and width of the images, in pixels, or one number for both.
        batch_size: images of a batch.
        recipe: its augmentation makes training data of it: shuffled anew in each epoch, batches all of one size.
            `None` gives evaluation data: each image once, in the data set's order.
        preprocessing: how images are resized (its mean and std are the model's business). The default shows the middle
            of the image, in which things are as large as random crops show them in training.
        channels: 1 or 3.
        seed: of order and augmentation. The same seed gives the same batches.
        data_dir: where tensorflow-datasets keeps what it has prepared; by default its own folder.
        broken_share: of the images that may turn out to be broken, one at least unless it is 0. In training the image
            that came before takes the place of a broken one; in evaluation it is left out.
        augmentation: what makes an image to learn from of one of any size, with the arguments of
            `keras_mlp.training.data.views.two_views`, which makes pairs; by default what the recipe says of crops,
            mirroring, RandAugment and erasing. Where a source has `targets`, they are its last argument, and it gives
            the image and them.
        shown: what makes an image to evaluate on of one of any size, of the image, the size, `preprocessing` and, where
            a source has `targets`, them; by default what `preprocessing` says.
        worker: which one of how many workers this is, counted from 0. In training each decodes its own images of every
            batch only; all together have the batches that one alone would have, with the same augmentation. In
            evaluation each has all images.
        multi_label: whether each image may be of several classes, or of none. `name` is then a folder with a table of
            labels (`keras_mlp.training.data.multi_label.labelled`).
        max_pixels: how many pixels an image may have, as its header says, up to 178,956,970; one of more is broken.

    Returns:
        The data.

    Raises:
        ValueError: an argument is out of its range, there is no such data set or split, it is smaller than a batch, or
            the recipe balances classes, which needs one class an image.
        ConnectionError: the data set has to be downloaded and cannot be.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"`image_size` should be one or two positive numbers of pixels. Received: {image_size}")
    if batch_size < 1:
        raise ValueError(f"`batch_size` should be positive. Received: {batch_size}")
    if channels not in (1, 3):
        raise ValueError(f"`channels` should be 1 or 3. Received: {channels}")
    if not 0 <= broken_share <= 1:
        raise ValueError(f"`broken_share` should be in 0–1. Received: {broken_share}")
    if not 1 <= max_pixels <= MOST_PIXELS:
        raise ValueError(f"`max_pixels` should be in 1–{MOST_PIXELS}. Received: {max_pixels}")
    index, workers = worker
    if not 0 <= index < workers:
        raise ValueError(f"`worker` should be a number below the number of workers, and that. Received: {worker}")
    if recipe and workers > 1 and batch_size % (2 * workers):  # an image and what it is mixed with stay together
        raise ValueError(
            f"Among {workers} workers the batch should be a multiple of {2 * workers}: each has pairs of images. "
            f"Received: batch_size={batch_size}"
        )
    if isinstance(name, Source) and name.targets and recipe and (mixing := _of_labels(recipe)):
        raise ValueError(f"These data have targets in place of labels, which {' and '.join(mixing)} cannot change.")
    if multi_label and recipe and recipe.balance_classes:
        raise ValueError("balance_classes weighs images by their one class: multi-label data cannot be balanced so.")
    source = find(name, split, data_dir, multi_label)
    reason = functools.partial(source.reason, max_pixels=max_pixels)
    broken = Broken(source.examples, broken_share, source.name, reason, things=source.things)
    told = dict(multi_label=multi_label, identity=source.identity, left_out=summary(source.left_out))
    told |= dict(truth=source.truth, things=source.things)
    if not recipe:
        read = reader(source, broken, max_pixels)
        dataset = _evaluation(source, read, size, channels, preprocessing, batch_size, shown)
        steps = -(-source.examples // batch_size)
        return Data(dataset, source.classes, source.examples, steps, batch_size, broken, **told)
    name = "the source" if isinstance(name, Source) else name
    if source.examples < batch_size:
        fitting = 2 ** max(0, (source.examples // 8).bit_length() - 1)  # some batches an epoch
        raise ValueError(
            f"{name} ({source.split}) has {source.examples} {source.things}, too few for one batch of {batch_size}. "
            f"Take a smaller batch size (--batch_size={fitting}), and for little data a recipe that is made for it "
            "(--recipe=finetune)."
        )
    if recipe.horizontal_flip and str(name).partition(":")[0].partition("/")[0] in NEVER_MIRRORED:
        logging.info("%s holds characters: its images are not mirrored.", name)
        recipe = dataclasses.replace(recipe, horizontal_flip=False)
    supply = told["supply"] = Supply() if source.clips else None
    starting_at = _training(
        *(source, reader(source, broken, max_pixels), size, channels, preprocessing.interpolation, batch_size),
        *(recipe, seed, augmentation, worker, supply),
    )
    steps = source.examples // batch_size
    given = source.classes, source.examples, steps, batch_size, broken, starting_at
    return Data(starting_at(0), *given, **told)


def _of_labels(recipe) -> list[str]:
    """What of a recipe needs labels."""
    return [field for field in ("mixup", "cutmix", "balance_classes") if getattr(recipe, field)]


def find(name, split: str, data_dir=None, multi_label: bool = False) -> Source:
    """Return where the examples of a data set are; arguments and errors are those of `load`.

    A name that tensorflow-datasets could know is looked for there first, since no folder shadows it by accident.
    """
    from keras_mlp.training.data import catalogue, folders, records
    from keras_mlp.training.data.multi_label import holds_labels, labelled

    if isinstance(name, Source):
        return name
    if isinstance(name, str):
        name = os.path.expanduser(name)
    if multi_label:
        if not os.path.isdir(name):
            raise ValueError(f"Multi-label data are a folder with a table of labels. There is no folder {name}.")
        return labelled(name, split)
    looks_like_a_path = isinstance(name, os.PathLike) or (os.sep in name and os.path.isdir(name))
    if os.path.isdir(name) and (looks_like_a_path or name not in catalogue.names()):
        if os.path.isfile(os.path.join(name, "dataset_info.json")):
            return catalogue.prepared(name, split)
        if records.holds_records(name):
            return records.records(name, split)
        if holds_labels(name) and not folders.has_classes(name):
            raise ValueError(
                f"{name} has no class folders but a table of labels. It is read with multi_label=True (--multi_label)."
            )
        return folders.folder(name, split)
    if looks_like_a_path or str(name).startswith((".", os.sep, "~")):
        raise ValueError(f"There is no folder {name}.")
    return catalogue.dataset(name, split, data_dir)


def _evaluation(source, read, size, channels, preprocessing, batch_size, shown):
    import tensorflow as tf

    from keras_mlp.training.data import geometry, images

    def prepare(number, example):
        image, label, encoded = read(number, *example)
        image, target = images.with_channels(image, channels), source.target(label, encoded)
        if source.targets:
            image, target = shown(image, size, preprocessing, geometry.checked(target, image, label, source.name))
        else:
            image = shown(image, size, preprocessing)
        return image, label, target

    prepare = tf.autograph.experimental.do_not_convert(prepare)  # see `_training`
    dataset = source.dataset.enumerate().map(prepare, tf.data.AUTOTUNE)
    if not source.sound:
        dataset = dataset.filter(lambda image, label, target: label >= 0)
    dataset = dataset.map(lambda image, label, target: (image, target))
    kept = [(spec.shape.num_elements() or math.inf) * spec.dtype.size for spec in tf.nest.flatten(dataset.element_spec)]
    dataset = dataset.batch(batch_size)
    if source.examples * sum(kept) <= CACHED_IMAGES:
        dataset = dataset.cache()
    return dataset.prefetch(tf.data.AUTOTUNE)


def _training(source, read, size, channels, interpolation, batch_size, recipe, seed, augmentation, worker, supply):
    """A function from a number of batches to the data set after so many.

    All randomness is a function of the seed, the epoch and the place in it; that order is part of the result.
    """
    import tensorflow as tf

    from keras_mlp.training.data import augment, geometry, images

    steps = source.examples // batch_size
    index, workers = worker
    # A worker's rows are a block of the first half of a batch, and the block of the second half that it is mixed with.
    own = None
    if workers > 1:
        own = np.arange(batch_size) % (batch_size // 2) // (batch_size // 2 // workers) == index

    def prepare(seed, *examples):
        image, label, encoded = read(*examples, seed=seed)
        image, target = images.with_channels(image, channels), source.target(label, encoded)
        if source.targets:
            target = geometry.checked(target, image, label, source.name)
            return augmentation(image, seed, size, recipe, interpolation, target)
        return augmentation(image, seed, size, recipe, interpolation), target

    def epoch(number, skipped):
        order, example, batch = tf.unstack(tf.random.split(tf.random.fold_in((seed, 0), number), 3))

        def numbered(dataset, key, first=0):
            return dataset.enumerate(first).map(lambda index, element: (tf.random.fold_in(key, index), *element))

        # `shuffle` mixes in the global seed, which would make the order depend on it; here it is this function's own.
        tf.random.set_seed(1)
        shuffled = examples.shuffle(
            min(source.examples, max(1024, SHUFFLED_FILES * source.examples // source.size)),
            seed=tf.random.stateless_uniform((), order, 0, 2**31 - 1, tf.int64),
            reshuffle_each_iteration=False,
        )
        if not source.sound:
            shuffled = shuffled.scan(nothing, lambda before, example: (example, (*example, *before)))
        if recipe.repeated_augmentation > 1:
            copies = recipe.repeated_augmentation
            shuffled = shuffled.flat_map(lambda *example: tf.data.Dataset.from_tensors(example).repeat(copies))
            shuffled = shuffled.take(source.examples)
        # All that is left out is left out before anything is decoded.
        chosen = numbered(shuffled, example).take(steps * batch_size).skip(skipped * batch_size)
        if workers > 1:
            chosen = (
                chosen.enumerate()
                .filter(lambda place, _: tf.gather(own, place % batch_size))
                .map(lambda _, chosen: chosen)
            )
        batches = chosen.map(prepare, tf.data.AUTOTUNE).batch(batch_size // workers, drop_remainder=True)
        if recipe.mixup or recipe.cutmix:
            batches = numbered(batches, batch, skipped).map(
                lambda seed, images, labels: augment.mixup_or_cutmix(
                    images, labels, seed, recipe.mixup, recipe.cutmix, own
                ),
                tf.data.AUTOTUNE,
            )
        if recipe.balance_classes:
            batches = batches.map(lambda images, labels: (images, labels, tf.linalg.matvec(labels, weights)))
        return batches

    def starting_at(batches):
        first, skipped = divmod(batches, steps)
        epochs = tf.data.Dataset.counter(first)
        epochs = epochs.map(lambda number: (number, tf.where(number == first, tf.cast(skipped, tf.int64), 0)))
        batches = epochs.flat_map(epoch)
        return (supply.counted(batches) if supply else batches).prefetch(tf.data.AUTOTUNE)

    examples = source.dataset.enumerate().map(lambda number, example: (number, *example))
    if source.size <= CACHED_FILES:
        examples = examples.cache()
    if recipe.balance_classes:
        counts = np.maximum(source.counts(), 1)
        weights = tf.constant(counts.sum() / (len(counts) * counts), tf.float32)
    nothing = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), examples.element_spec)
    # No function here needs AutoGraph. It rewrites the source of each, which takes half of the calls to the first step.
    return tf.autograph.experimental.do_not_convert(starting_at)
