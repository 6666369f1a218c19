"""How time, memory and multiply-adds grow with the input's size and with the batch.

    python -m benchmarks.growth --models=mlp_mixer_s32,hire_mlp_tiny --sizes=224,320,448,640 --picture=growth.png

Printed is the exponent of a power of the number of pixels (or images) that fits best, by least squares of the
logarithms: 1 is linear in the tokens, 2 quadratic. Every measurement is a process of its own: the memory is the most
that it has in the steps, less what it had before (on Linux, from /proc/self/status).
"""

import itertools
import json
import pathlib
import subprocess
import sys

import numpy as np
from absl import app, flags

from benchmarks import tables
from benchmarks.models import named

_MODELS = flags.DEFINE_list("models", ["mlp_mixer_s32", "hire_mlp_tiny"], "Models, or smallest: of each family.")
_SIZES = flags.DEFINE_list("sizes", ["224", "320", "448", "640", "1024"], "Heights and widths in pixels; one for none.")
_BATCHES = flags.DEFINE_list("batches", ["1", "2", "4", "8"], "Batch sizes, at the smallest size; one for none.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Steps that are timed, after one that is not.", lower_bound=1)
_PICTURE = flags.DEFINE_string("picture", None, "PNG file to draw the growth into.")
_JSON = flags.DEFINE_string("json", None, "File to write the rows to, as a JSON list.")

MEASURE = """
import ctypes, json, sys, time
import numpy as np, tensorflow as tf, keras_mlp
from keras_mlp.analysis import cost
name, size, batch, rounds = sys.argv[1], *map(int, sys.argv[2:])
shape = list(keras_mlp.model_card(name).input_shape)
shape[-3:-1] = size, size
model = keras_mlp.create_model(name, weights=None, input_shape=tuple(shape), include_top=False, pooling="avg",
                               include_preprocessing=False)
macs = cost(model).macs * batch
images = tf.constant(np.random.default_rng(0).normal(size=(batch, *shape)), "float32")
forward = tf.function(lambda x: model(x, training=False))
forward.get_concrete_function(images)
def memory(key):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(key))
ctypes.CDLL(None).malloc_trim(0)  # what building the model took and freed would be taken again, and not be seen
open("/proc/self/clear_refs", "w").write("5")  # the most that the process had is counted anew from here
before, times = memory("VmRSS"), []
for _ in range(rounds + 1):
    start = time.perf_counter()
    forward(images).numpy()
    times.append(time.perf_counter() - start)
print(json.dumps(dict(seconds=sorted(times[1:])[rounds // 2], megabytes=memory("VmHWM") - before, macs=macs)))
"""


def measured(name, size, batch) -> dict | None:
    """One row; `None`, said on the terminal, where the model cannot have this size."""
    words = [sys.executable, "-c", MEASURE, name, str(size), str(batch), str(_ROUNDS.value)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1]
        print(f"{name} at {size}, batch {batch}: left out, {reason}", file=sys.stderr)
        return None
    return dict(model=name, size=size, batch=batch) | json.loads(done.stdout.splitlines()[-1])


def exponent(sizes, values) -> float:
    """`e` of the `c * sizes ** e` that is nearest to `values`; NaN of fewer than two, and where one is not positive."""
    if len(sizes) < 2 or min(values) <= 0:
        return float("nan")
    return np.polyfit(np.log(sizes), np.log(values), 1)[0]


def draw(rows, path):
    """Time, memory and multiply-adds over the pixels, both axes logarithmic, a line a model."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    from keras_mlp.files import atomic_path

    figure, axes = pyplot.subplots(1, 3, figsize=(14, 5.5))
    sizes = sorted({row["size"] for row in rows})
    names = list(dict.fromkeys(row["model"] for row in rows))
    for axis, (key, label) in zip(
        axes, {"seconds": "time (s)", "megabytes": "memory (MB)", "macs": "multiply-adds"}.items(), strict=True
    ):
        for name, color, marker in zip(names, itertools.cycle(pyplot.cm.tab20.colors), itertools.cycle("os^")):
            chosen = [row for row in rows if row["model"] == name]
            pixels = [row["size"] ** 2 for row in chosen]
            axis.loglog(pixels, [row[key] for row in chosen], "-", marker=marker, color=color, label=name, base=10)
        axis.set_xticks([size**2 for size in sizes], [f"{size}×{size}" for size in sizes])
        axis.minorticks_off()
        axis.set_xlabel("pixels of the image")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    figure.tight_layout(rect=(0, 0.17, 1, 1))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=6, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def main(argv):
    del argv
    from keras_mlp.files import atomic_path

    try:
        sizes, batches = sorted(map(int, _SIZES.value)), sorted(map(int, _BATCHES.value))
        if min(sizes + batches) < 1:
            raise ValueError("--sizes and --batches must be positive")
        names = named(_MODELS.value)
    except ValueError as error:
        sys.exit(f"error: {error}")
    rows, by_size = [], []
    table = tables.Table(
        *(("model", "<20"), ("over", "<7"), ("multiply-adds", ".2f"), ("time", ".2f"), ("memory", ".2f")),
        *(("largest", "d"), ("s there", ".2f"), ("MB there", ".0f")),
    )
    for name in names:
        for over, points in (("pixels", [(s, batches[0]) for s in sizes]), ("batch", [(sizes[0], b) for b in batches])):
            found = [row for point in points if (row := measured(name, *point))] if len(points) > 1 else []
            if not found:
                continue
            rows += found
            by_size += found if over == "pixels" else []
            x = [row["size"] ** 2 if over == "pixels" else row["batch"] for row in found]
            fits = [exponent(x, [row[key] for row in found]) for key in ("macs", "seconds", "megabytes")]
            last = found[-1]
            largest = last["size" if over == "pixels" else "batch"]
            table.row(name, over, *fits, largest, last["seconds"], last["megabytes"])
        if _JSON.value:  # after each model: what has been measured is not lost if the next ends the command
            with atomic_path(_JSON.value) as temporary:
                pathlib.Path(temporary).write_text(json.dumps(rows, indent=1) + "\n")
    if _PICTURE.value and by_size:
        draw(by_size, _PICTURE.value)


if __name__ == "__main__":
    app.run(main)
