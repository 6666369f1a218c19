"""Images a second through each way to augment them in tf.data, ours, Keras' and keras-cv's, in turns.

    python -m benchmarks.augmentation --only=rand_augment,mixup

It also tells whether two runs with one seed and a parallel `map` give the same images, on which resuming a run exactly
depends. What trains is ours where it is the fastest or the only one of which that is true.
"""

import importlib
import os
import statistics
import sys
import time

from absl import app, flags

from benchmarks import tables
from keras_mlp.extras import need

_ONLY = flags.DEFINE_list("only", None, "What to measure; by default rand_augment, erasing, mixup and cutmix.")
_SIZE = flags.DEFINE_integer("image_size", 224, "Height and width in pixels.", lower_bound=8)
_BATCH = flags.DEFINE_integer("batch", 32, "Batch size.", lower_bound=2)
_IMAGES = flags.DEFINE_integer("images", 256, "Images in a turn.", lower_bound=2)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Turns of everyone.", lower_bound=1)
CLASSES = 10


def candidates() -> dict:
    """`{what: {who: (maker, batched)}}`; a maker gives the function `(seed, images, labels) -> (images, labels)`."""
    return {
        "rand_augment": {
            "keras_mlp": (_ours("rand_augment", "rand_augment", 2, 9), False),
            "keras.layers": (_keras("RandAugment", num_ops=2, factor=0.9), False),
            "keras.layers, batched": (_keras("RandAugment", num_ops=2, factor=0.9), True),
            "keras_cv": (_keras_cv("RandAugment", (0, 255), augmentations_per_image=2, magnitude=0.9), False),
            "keras_cv, batched": (_keras_cv("RandAugment", (0, 255), augmentations_per_image=2, magnitude=0.9), True),
        },
        "erasing": {
            "keras_mlp": (_ours("augment", "random_erasing", 1.0), False),
            "keras.layers": (_keras("RandomErasing", factor=(1.0, 1.0), value_range=(0, 255)), False),
            "keras.layers, batched": (_keras("RandomErasing", factor=(1.0, 1.0), value_range=(0, 255)), True),
            "keras_cv": (_keras_cv("RandomCutout", 0.5, 0.5, "gaussian_noise"), False),
            "keras_cv, batched": (_keras_cv("RandomCutout", 0.5, 0.5, "gaussian_noise"), True),
        },
        "mixup": {
            "keras_mlp": (_ours("augment", "mixup", 0.8), True),
            "keras.layers": (_keras("MixUp", alpha=0.8), True),
            "keras_cv": (_keras_cv("MixUp", alpha=0.8), True),
        },
        "cutmix": {
            "keras_mlp": (_ours("augment", "cutmix", 1.0), True),
            "keras.layers": (_keras("CutMix", factor=(1.0, 1.0)), True),
            "keras_cv": (_keras_cv("CutMix", alpha=1.0), True),
        },
    }


def _ours(module, name, *arguments):
    def make():
        change = getattr(importlib.import_module(f"keras_mlp.training.data.{module}"), name)
        if name in ("mixup", "cutmix"):
            return lambda seed, images, labels: change(images, labels, seed, *arguments)
        return lambda seed, images, labels: (change(images, seed, *arguments), labels)

    return make


def _keras(name, **arguments):
    def make():
        import keras

        return _layer(getattr(keras.layers, name)(seed=0, **arguments))

    return make


def _keras_cv(name, *positional, **arguments):
    def make():
        keras_cv = need("keras_cv", extra="test")
        return _layer(getattr(keras_cv.layers, name)(*positional, seed=0, **arguments))

    return make


def _layer(layer):
    def change(seed, images, labels):
        found = layer({"images": images, "labels": labels}, training=True)
        return found["images"], found["labels"]

    return change


def pipeline(tf, make, batched, images):
    """Batches of random pictures that a candidate has changed."""
    change = make()
    pictures = tf.cast(
        tf.random.stateless_uniform((16, _SIZE.value, _SIZE.value, 3), (0, 0), 0, 256, tf.int32), tf.float32
    )
    labels = tf.one_hot(tf.range(16) % CLASSES, CLASSES)
    dataset = tf.data.Dataset.from_tensor_slices((pictures, labels)).cache().repeat().take(images)

    def prepare(index, element):
        return change(tf.random.fold_in((0, 0), index), *element)

    if batched:
        dataset = dataset.batch(_BATCH.value, drop_remainder=True)
        return dataset.enumerate().map(prepare, tf.data.AUTOTUNE)
    return dataset.enumerate().map(prepare, tf.data.AUTOTUNE).batch(_BATCH.value, drop_remainder=True)


def _sums(tf, dataset):
    return [tf.reduce_sum(images).numpy() for images, _ in dataset]


def measure(tf, what, contenders, table):
    """Add a row for each: its images a second, and whether its images repeat."""
    rates = {who: [] for who in contenders}
    repeats = {}
    for turn in range(1 + _ROUNDS.value):
        for who, (make, batched) in contenders.items():
            if who not in rates:
                continue
            try:
                dataset = pipeline(tf, make, batched, _IMAGES.value)
                if not turn:  # warms up, too
                    again = pipeline(tf, make, batched, _IMAGES.value)
                    repeats[who] = _sums(tf, dataset) == _sums(tf, again)
                    continue
                start = time.process_time()
                for _ in dataset:
                    pass
                rates[who].append(_IMAGES.value / (time.process_time() - start))
            except ImportError as error:
                print(f"{what:<13} {who:<22} not measured: {error}")
                del rates[who]
    for who, found in rates.items():
        same = "repeatable" if repeats[who] else "not repeatable"
        table.row(what, who, statistics.median(found), same)


def main(argv):
    del argv
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    chosen = _ONLY.value or list(candidates())
    if unknown := set(chosen) - set(candidates()):
        sys.exit(f"error: --only: {', '.join(sorted(unknown))} is not known. It takes: {', '.join(candidates())}.")
    print(f"{_SIZE.value} pixels, batches of {_BATCH.value}, {_IMAGES.value} images a turn, {_ROUNDS.value} turns")
    table = tables.Table(
        *(("augmentation", "<13"), ("who", "<22"), ("images a CPU second", ".0f"), ("with the same seed", "<18"))
    )
    for what in chosen:
        measure(tf, what, candidates()[what], table)


if __name__ == "__main__":
    app.run(main)
