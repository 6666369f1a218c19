"""Images that a CPU second decodes in tf.data, and what the look at their headers costs.

    python -m benchmarks.decoding

TensorFlow's operation alone and the decoder of training take turns. TensorFlow's ignores the orientation in EXIF.
"""

import io
import os
import statistics
import time

from absl import app, flags

from benchmarks import tables

_HEIGHT = flags.DEFINE_integer("height", 375, "Pixels.", lower_bound=8)
_WIDTH = flags.DEFINE_integer("width", 500, "Pixels.", lower_bound=8)
_IMAGES = flags.DEFINE_integer("images", 2000, "Images in a turn; few show the start.", lower_bound=2)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Turns of everyone.", lower_bound=1)


def files() -> dict[str, bytes]:
    """Encoded pictures, with about as much detail as a photograph has, by what they are."""
    import numpy as np
    from PIL import Image

    coarse = np.random.default_rng(0).integers(0, 256, (_HEIGHT.value // 5, _WIDTH.value // 5, 3), "uint8")
    picture = Image.fromarray(coarse).resize((_WIDTH.value, _HEIGHT.value), Image.Resampling.BICUBIC)
    turned = Image.Exif()
    turned[0x0112] = 6

    def encoded(form, **options):
        file = io.BytesIO()
        picture.save(file, form, **options)
        return file.getvalue()

    return {
        "JPEG": encoded("jpeg", quality=90),
        "JPEG, turned": encoded("jpeg", quality=90, exif=turned),
        "PNG": encoded("png"),
        "WebP": encoded("webp", quality=90),
    }


def main(argv):
    del argv
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    from keras_mlp.training.data import decoding

    def alone(content):
        return tf.io.decode_image(content, channels=3, expand_animations=False)

    print(f"{_WIDTH.value}×{_HEIGHT.value} pixels, {_IMAGES.value} images a turn, {_ROUNDS.value} turns")
    table = tables.Table(
        *(("file", "<13"), ("TensorFlow, images a CPU second", ".0f"), ("ms", ".2f")),
        *(("keras_mlp, images a CPU second", ".0f"), ("ms", ".2f")),
    )
    for kind, content in files().items():
        times = {"TensorFlow": [], "keras_mlp": []}
        datasets = {
            who: tf.data.Dataset.from_tensors(content).repeat(_IMAGES.value).map(decode, tf.data.AUTOTUNE)
            for who, decode in zip(times, (alone, decoding.pixels), strict=True)
        }
        for turn in range(1 + _ROUNDS.value):
            for who, dataset in datasets.items():
                start = time.process_time()
                for _ in dataset:
                    pass
                if turn:  # the first warms up
                    times[who].append((time.process_time() - start) / _IMAGES.value)
        found = {who: statistics.median(seconds) for who, seconds in times.items()}
        table.row(kind, *(number for seconds in found.values() for number in (1 / seconds, 1e3 * seconds)))


if __name__ == "__main__":
    app.run(main)
