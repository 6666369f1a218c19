"""Models as .tflite files: their bytes, milliseconds and memory, and what quantisation changes in their outputs.

    python -m benchmarks.mobile
    python -m benchmarks.mobile --families=mlp_mixer,hire_mlp
    python -m benchmarks.mobile --save=docs/measurements/mobile.json

Of each family the published variant with the fewest parameters is exported in every precision, fused, and timed by
LiteRT on this machine. What has been measured is kept in build/mobile.jsonl, a row a line: what is there of this
machine is not measured again, so that the command goes on where it was stopped.

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

from benchmarks import tables
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
    return f"{tables.here()}, LiteRT {importlib.metadata.version('ai-edge-litert')} with XNNPACK"


def tell(rows: list[dict]):
    """Print the rows as a table, and keep it with `--save`."""
    import keras_mlp

    loads = [row["load"] for row in rows]
    table = tables.Table(
        *(("model", "<22"), ("precision", "<12"), ("file (MB)", ".1f"), ("1 thread (ms)", ">15")),
        *(("2 threads (ms)", ">15"), ("memory (MB)", ".0f"), ("difference", ".1g")),
        source=tables.sources(rows),
        note=f"The machine's load, this command's own included, was {min(loads):.1f} to {max(loads):.1f}.",
    )
    for row in rows:
        times = [f"{median:.1f} ({p90:.1f})" for median, p90 in zip(row["median_ms"], row["p90_ms"], strict=True)]
        title = keras_mlp.model_card(row["model"]).title
        table.row(title, row["precision"], row["size_MB"], *times, row["peak_MB"], row["difference"])


def main(argv):
    if argv[1:]:
        sys.exit(f"error: Unknown argument: {argv[1]!r}. See --help.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras_mlp import zoo
    from keras_mlp.precisions import PRECISIONS, USUAL

    families, precisions = _FAMILIES.value or sorted(zoo.FAMILIES), _PRECISIONS.value or USUAL
    for flag, values, known in (
        ("families", families, zoo.FAMILIES),
        ("precisions", precisions, PRECISIONS),
    ):
        if unknown := [value for value in values if value not in known]:
            sys.exit(f"error: --{flag}: {unknown[0]!r} is not known. It takes: {', '.join(sorted(known))}.")
    kept = pathlib.Path(_ROWS.value)
    kept.parent.mkdir(parents=True, exist_ok=True)
    stored = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    rows = {(row["model"], row["precision"]): row for row in stored if row["machine"] == here()}
    for name in map(smallest, families):
        for precision in precisions:
            if (name, precision) not in rows:
                print(f"{name}, {precision} …", file=sys.stderr, flush=True)
                row = measure(name, precision, _IMAGES.value, _RUNS.value)
                row |= tables.this_run() | {"machine": here()}
                rows[name, precision] = row
                with kept.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    order = sorted(rows.values(), key=lambda row: (row["model"], [*PRECISIONS].index(row["precision"])))
    tell(order)


if __name__ == "__main__":
    app.run(main)
