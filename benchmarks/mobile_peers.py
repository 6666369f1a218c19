"""Our .tflite files beside those of keras_cv_attention_models, of the same variants, in one run.

    python -m benchmarks.mobile_peers
    python -m benchmarks.mobile_peers --models=mlp_mixer_b16 --precisions=float32,int8

Theirs are made as its documentation tells: `model_surgery.prepare_for_tflite`, which sets the batch to one, then
TensorFlow's converter, whose optimisations give the other precisions. Both have random weights, and noise on what
begins as zeros or ones, such as biases: of a model that was never trained the converter leaves those out. Every file is
made in a process of its own, then all of a model's files are called in turns by LiteRT, so that a machine whose speed
drifts favours none.
"""

import importlib.util
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

from benchmarks import machine, tables
from benchmarks.models import PEERS, named

_MODELS = flags.DEFINE_list(
    "models", ["mlp_mixer_s16", "res_mlp_12", "g_mlp_ti16", "wave_mlp_t"], "Models of the zoo, by name."
)
_PRECISIONS = flags.DEFINE_list("precisions", None, "Precisions to compare; those with fast kernels by default.")
_RUNS = flags.DEFINE_integer("runs", 30, "Turns of every file.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", 1, "Threads of the interpreter.", lower_bound=1)

TRAINED = "from benchmarks.on_tensorflow import as_if_trained"
OURS = """
import sys, numpy as np, keras_mlp
from keras_mlp import export
from keras_mlp.precisions import CALIBRATED
name, precision, path, images = sys.argv[1:]
model = keras_mlp.create_model(name, weights=None)
as_if_trained(model)
representative = np.load(images) if precision in CALIBRATED else None
export.to_tflite(model, path, precision, representative)
"""
THEIRS = """
import operator, sys, numpy as np, tensorflow as tf, keras_cv_attention_models
builder, precision, path, images = sys.argv[1:]
model = operator.attrgetter(builder)(keras_cv_attention_models)(pretrained=None)
model = keras_cv_attention_models.model_surgery.prepare_for_tflite(model)
as_if_trained(model)
converter = tf.lite.TFLiteConverter.from_keras_model(model)
if precision != "float32":
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
if precision == "float16":
    converter.target_spec.supported_types = [tf.float16]
if precision == "int8":
    pixels = np.load(images) / 127.5 - 1  # its models take normalised images
    converter.representative_dataset = lambda: ([image[None].astype("float32")] for image in pixels)
open(path, "wb").write(converter.convert())
"""


def files(name: str, precision: str, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """A file of each library; one that cannot make it is left out, and said on the terminal."""
    images = folder / "images.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3)).astype("float32"))
    made = {}
    for who, code, model in (("keras_mlp", OURS, name), ("kecam", THEIRS, PEERS[name]["kecam"])):
        path = folder / f"{who}.tflite"
        print(f"{who}: {model}, {precision} …", file=sys.stderr, flush=True)
        # kecam is written for Keras 2.
        environment = os.environ | {"TF_USE_LEGACY_KERAS": str(int(who == "kecam")), "TF_CPP_MIN_LOG_LEVEL": "3"}
        words = [sys.executable, "-c", TRAINED + code, model, precision, path, images]
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        if done.returncode:
            print(f"{who}: left out, {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        else:
            made[who] = path
    return made


def times(paths: dict[str, pathlib.Path]) -> dict[str, list[float]]:
    """Milliseconds of every call of each file, in turns."""
    from keras_mlp.export import Runner

    runners = {who: Runner(path, _THREADS.value) for who, path in paths.items()}
    images = {who: np.zeros((1, *runner.input_shape[1:]), runner.input_dtype) for who, runner in runners.items()}
    found = {who: [] for who in paths}
    for turn in range(_RUNS.value + 1):
        for who, runner in runners.items():
            runner(images[who])  # what the caches lost while the other ran
            start = time.perf_counter()
            runner(images[who])
            if turn:
                found[who].append(1e3 * (time.perf_counter() - start))
    return found


def main(argv):
    if argv[1:]:
        sys.exit(f"error: Unknown argument: {argv[1]!r}. See --help.")
    from keras_mlp.precisions import USUAL

    precisions = _PRECISIONS.value or USUAL
    try:
        names = named(_MODELS.value)
        for name in names:
            if "kecam" not in PEERS.get(name, {}):
                raise ValueError(f"--models: keras_cv_attention_models does not have {name}.")
        for precision in precisions:
            if precision not in USUAL:
                raise ValueError(f"--precisions: {precision!r} is not known. It takes: {', '.join(USUAL)}.")
    except ValueError as error:
        sys.exit(f"error: {error}")
    for package in ("keras_cv_attention_models", "tf_keras"):
        if importlib.util.find_spec(package) is None:
            sys.exit(f"error: the package {package} is not installed.")
    print(f"{machine.processor()}, {_THREADS.value} threads, one image a call, median of {_RUNS.value} calls")
    table = tables.Table(
        *(("model", "<14"), ("precision", "<13"), ("MB, ours", ".2f"), ("theirs", ".2f"), ("ms, ours", ".1f")),
        *(("theirs", ".1f"), ("theirs over ours", ".2f"), ("quartiles", ">16")),
    )
    for name in names:
        for precision in precisions:
            with tempfile.TemporaryDirectory() as folder:
                made = files(name, precision, pathlib.Path(folder))
                if len(made) < 2:
                    continue
                sizes = {who: path.stat().st_size / 1e6 for who, path in made.items()}
                found = times(made)
            ours, theirs = (statistics.median(found[who]) for who in ("keras_mlp", "kecam"))
            ratios = [b / a for a, b in zip(found["keras_mlp"], found["kecam"], strict=True)]
            quartiles = "{:.2f} to {:.2f}".format(*np.percentile(ratios, [25, 75]))
            megabytes = sizes["keras_mlp"], sizes["kecam"]
            table.row(name, precision, *megabytes, ours, theirs, statistics.median(ratios), quartiles)


if __name__ == "__main__":
    app.run(main)
