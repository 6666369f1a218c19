"""Time a model on this machine.

LiteRT times a .tflite file: milliseconds of one call for each number of threads, and the most memory that a process
of its own takes beyond LiteRT's. --profile shows where the time of a call goes, as LiteRT's own profiler measures it.
XNNPACK's operators are listed as it runs them, some of them merged. A model by name (with random weights, which take
the same time) or a .keras file is timed as Keras runs it in `predict`: images per second for each batch size.

--forms=all finds the form that is fastest on this machine, at the batch sizes and the precision of the flags: Keras'
own ways, `keras_mlp.fast`, and the runtimes that are installed (OpenVINO, ONNX Runtime, LiteRT, JAX, PyTorch). What
does not fit into --seconds is left out, and named. A model by name has biases of zeros, which some forms leave out.
"""

import time

import numpy as np
from absl import flags as absl_flags

from keras_mlp.cli import console, forms, models
from keras_mlp.forms import FORMS, PRECISIONS

ARGUMENTS = "MODEL_OR_FILE"


def define_flags(flags):
    absl_flags.DEFINE_list("threads", [1, 2], "Thread counts, for a .tflite file.", flag_values=flags)
    absl_flags.DEFINE_list("batch_size", [1, 8], "Batch sizes, for a Keras model.", flag_values=flags)
    absl_flags.DEFINE_list("image_size", None, models.SIZE_HELP, flag_values=flags)
    absl_flags.DEFINE_integer("runs", 50, "Calls to time for each.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_bool(
        "profile",
        False,
        "Show what each kind of operator in a .tflite file takes of its time, for each number of threads.",
        flag_values=flags,
    )
    absl_flags.DEFINE_list(
        "forms",
        [],
        f"Forms of a Keras model to time, and to recommend one of: all, or of {', '.join(FORMS)}.",
        flag_values=flags,
    )
    absl_flags.DEFINE_enum(
        "precision",
        "float32",
        PRECISIONS,
        "What the forms of --forms compute in; int8 with ranges of random images.",
        flag_values=flags,
    )
    absl_flags.DEFINE_float(
        "seconds", 60.0, "Time for all of --forms; the one at work is finished.", lower_bound=0, flag_values=flags
    )
    absl_flags.DEFINE_bool("json", False, "Write one JSON object a line.", flag_values=flags)


def run(flags, arguments):
    console.only(arguments, 1)
    if not arguments:
        raise console.UsageError("which model or file?")
    (model,) = arguments
    if flags.profile and not model.endswith(".tflite"):
        raise console.UsageError("--profile goes with a .tflite file")
    if flags.forms and model.endswith(".tflite"):
        raise console.UsageError("--forms goes with a model or a .keras file")
    if not flags.forms and flags.precision != "float32":
        raise console.UsageError("--precision goes with --forms")
    if flags.forms:
        names, sizes = forms.chosen(flags.forms), _numbers("batch_size", flags.batch_size)
        measured = forms.measure(model, names, sizes, flags)
        _print(measured, flags.json)
        if not flags.json:
            print(forms.recommendation(measured))
        return
    measure = _keras if not model.endswith(".tflite") else _profile if flags.profile else _tflite
    _print(measure(model, flags), flags.json)


def _print(measured, as_json):
    if as_json:
        for row in measured:
            console.print_json(row)
        return
    rows = [[f"{value:.2f}" if isinstance(value, float) else value for value in row.values()] for row in measured]
    align = "".join("<" if isinstance(value, str) else ">" for value in measured[0].values())
    print(console.table([[name.replace("_", " ") for name in measured[0]], *rows], align=align))


def _tflite(path, flags):
    from keras_mlp.export import time_tflite

    threads = tuple(_numbers("threads", flags.threads))
    return [
        {
            "threads": timing.threads,
            "median_ms": timing.median_ms,
            "p90_ms": timing.p90_ms,
            "images_a_call": timing.batch_size,
            "size_MB": timing.size_bytes / 1e6,
            "peak_memory_MB": timing.peak_bytes / 1e6,
        }
        for timing in time_tflite(path, threads=threads, runs=flags.runs)
    ]


def _profile(path, flags):
    from keras_mlp.export import profile_tflite

    return [
        {
            "threads": threads,
            "operator": row.operator,
            "kernels": row.kernels,
            "count": row.count,
            "ms": row.ms,
            "percent": 100 * row.share,
        }
        for threads in _numbers("threads", flags.threads)
        for row in profile_tflite(path, threads, flags.runs)
    ]


def _keras(name, flags):
    batch_sizes = _numbers("batch_size", flags.batch_size)
    model = models.open_model(name, None if models.is_file(name) else "none", flags.image_size)
    rows = []
    for batch_size in batch_sizes:
        images = np.random.default_rng(0).uniform(0, 255, (batch_size, *models.input_shape(model))).astype("float32")
        times = seconds(model, images, flags.runs)
        median, p90 = np.median(times), np.percentile(times, 90)
        rows.append(
            {
                "batch_size": batch_size,
                "median_ms": 1e3 * float(median),
                "p90_ms": 1e3 * float(p90),
                "images_per_second": batch_size / float(median),
            }
        )
    return rows


def seconds(model, images, runs: int) -> list[float]:
    """How long each of some calls of `predict_on_batch` takes, after two that trace and warm up."""
    times = []
    for _ in range(runs + 2):
        start = time.perf_counter()
        model.predict_on_batch(images)
        times.append(time.perf_counter() - start)
    return times[2:]


def _numbers(flag, words) -> list[int]:
    if not words or not all(str(word).isdecimal() and int(word) > 0 for word in words):
        raise console.UsageError(
            f"--{flag} is a list of positive numbers, as 1,2. Received: {','.join(map(str, words))}"
        )
    return [int(word) for word in words]
