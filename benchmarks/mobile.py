"""What models are as .tflite files: bytes, milliseconds, memory, and how far quantisation takes their answers.

    python -m benchmarks.mobile
    python -m benchmarks.mobile --families=mlp_mixer,hire_mlp

Of each family the published variant with the fewest parameters is exported in every precision, fused, and timed by
LiteRT on this machine, whose table goes into docs/mobile.md. What has been measured is kept in build/mobile.jsonl, a
row a line: what is there of this machine is not measured again, so that the command goes on where it was stopped.

Weights are random, the classifier's too, which Keras would leave at zero: speed does not depend on them, and the
difference from Keras is that of rounding, in standard deviations of the logits. It does not tell what accuracy trained
weights lose: `keras-mlp export --max_accuracy_drop` does.
"""

import importlib.metadata
import json
import os
import pathlib
import sys
import tempfile

import numpy as np
from absl import app, flags

from benchmarks import machine
from benchmarks.models import smallest

THREADS = (1, 2)
ROOT = pathlib.Path(__file__).parents[1]

_FAMILIES = flags.DEFINE_list("families", None, "Families to measure; all by default.", module_name=__name__)
_PRECISIONS = flags.DEFINE_list(
    "precisions", None, "Precisions to measure; those with fast kernels by default.", module_name=__name__
)
_RUNS = flags.DEFINE_integer("runs", 30, "Calls to time.", lower_bound=1, module_name=__name__)
_IMAGES = flags.DEFINE_integer(
    "images", 8, "Images to calibrate int8 and to compare on.", lower_bound=1, module_name=__name__
)
_ROWS = flags.DEFINE_string("rows", str(ROOT / "build/mobile.jsonl"), "Where the rows are kept.", module_name=__name__)
_PAGE = flags.DEFINE_string("page", str(ROOT / "docs/mobile.md"), "Where the table goes.", module_name=__name__)


def measure(name: str, precision: str, images: int, runs: int) -> dict:
    """A row of the table."""
    import keras

    import keras_mlp
    from keras_mlp import export
    from keras_mlp.precisions import CALIBRATED

    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = keras_mlp.create_model(name, weights=None, classifier_activation=None)
    kernel = model.get_layer("head").kernel
    kernel.assign(keras.random.normal(kernel.shape, stddev=kernel.shape[0] ** -0.5))
    pixels = _pixels(images, model.input_shape[1:])
    if keras_mlp.model_card(name).low_bit_macs:  # its numbers grow beyond what int8 holds, until its norms know them
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        model(pixels, training=True)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.tflite")
        representative = pixels if precision in CALIBRATED else None
        export.to_tflite(model, path, precision, representative)
        timings = export.time_tflite(path, THREADS, runs)
        return {
            "model": name,
            "precision": precision,
            "size_MB": timings[0].size_bytes / 1e6,
            "median_ms": [timing.median_ms for timing in timings],
            "p90_ms": [timing.p90_ms for timing in timings],
            "peak_MB": timings[0].peak_bytes / 1e6,
            "difference": export.verify(model, path, pixels).max_difference,
            "load": os.getloadavg()[0],
        }


def _pixels(count, shape):
    """Blobs of colour: noise would be much the same to a network, whatever its seed."""
    *frames, height, width, channels = shape
    coarse = np.random.default_rng(0).integers(0, 256, (count, *frames, -(-height // 16), -(-width // 16), channels))
    return coarse.repeat(16, axis=-3).repeat(16, axis=-2)[..., :height, :width, :].astype("float32")


def here() -> str:
    """This machine, in words."""
    litert = importlib.metadata.version("ai-edge-litert")
    return f"{machine.processor()}, {os.cpu_count()} cores, LiteRT {litert} with XNNPACK"


def text(rows: list[dict], place: str) -> str:
    """The page, in Markdown."""
    import keras_mlp

    loads = [row["load"] for row in rows]
    lines = [
        f"| {keras_mlp.model_card(row['model']).title} | {row['precision']} | {row['size_MB']:.1f} | "
        + " | ".join(f"{median:.1f} ({p90:.1f})" for median, p90 in zip(row["median_ms"], row["p90_ms"], strict=True))
        + f" | {row['peak_MB']:.0f} | {row['difference']:.1g} |"
        for row in rows
    ]
    table = "\n".join(lines)
    return f"""# Models as .tflite files

Written by `python -m benchmarks.mobile` on: {place}.
The machine's load, this command's own included, was {min(loads):.1f} to {max(loads):.1f}.
`keras-mlp benchmark FILE.tflite` tells the same of one file, and `--profile` where its time goes.

Of each family the smallest published variant, fused, for one image or clip in a call. Times are the median of the calls
(in brackets their 90th percentile). The memory is what a process of its own takes at most for the file, beyond LiteRT
itself. Weights are random; the difference is the largest from Keras, in standard deviations of the logits: that of
rounding, not what accuracy a trained model loses. BiMLP rounds its activations to signs, which the last digit of a sum
decides where that is near zero: with random weights no two ways of computing it agree.

| model | precision | file (MB) | 1 thread (ms) | 2 threads (ms) | memory (MB) | difference |
| --- | --- | --- | --- | --- | --- | --- |
{table}
"""


def main(argv):
    if argv[1:]:
        sys.exit(f"error: Unknown argument: {argv[1]!r}. See --help.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras_mlp import zoo
    from keras_mlp.files import atomic_path
    from keras_mlp.precisions import PRECISIONS, USUAL

    families, precisions = _FAMILIES.value or sorted(zoo.FAMILIES), _PRECISIONS.value or USUAL
    for flag, values, known in (
        ("families", families, zoo.FAMILIES),
        ("precisions", precisions, PRECISIONS),
    ):
        if unknown := [value for value in values if value not in known]:
            sys.exit(f"error: --{flag}: {unknown[0]!r} is not known. It takes: {', '.join(sorted(known))}.")
    kept, output = pathlib.Path(_ROWS.value), pathlib.Path(_PAGE.value)
    kept.parent.mkdir(parents=True, exist_ok=True)
    stored = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    rows = {(row["model"], row["precision"]): row for row in stored if row["machine"] == here()}
    for name in map(smallest, families):
        for precision in precisions:
            if (name, precision) not in rows:
                print(f"{name}, {precision} …", file=sys.stderr, flush=True)
                row = measure(name, precision, _IMAGES.value, _RUNS.value) | {"machine": here()}
                rows[name, precision] = row
                with kept.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    order = sorted(rows.values(), key=lambda row: (row["model"], [*PRECISIONS].index(row["precision"])))
    with atomic_path(output) as temporary:
        pathlib.Path(temporary).write_text(text(order, here()), encoding="utf-8")
    print(f"{output}: {len(order)} rows")


if __name__ == "__main__":
    app.run(main)
