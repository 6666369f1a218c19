"""Which form of a model is fastest on this machine, for `keras-mlp benchmark --forms`."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np

from keras_mlp.cli import console, models
from keras_mlp.forms import FORMS

_SHARE, _CALLS = 60, 3  # a form is called for this part of the time, and so often at least


def chosen(words: list[str]) -> list[str]:
    """The forms that `--forms` names; "all" is all of them."""
    if unknown := [word for word in words if word not in (*FORMS, "all")]:
        raise console.UsageError(f"--forms: {unknown[0]!r} is not known. It takes: all, {', '.join(FORMS)}")
    return list(FORMS) if "all" in words else list(dict.fromkeys(words))


def measure(name: str, forms: list[str], batch_sizes: list[int], flags) -> list[dict]:
    """Time the forms of a model, one after the other, until the time is over; what is left out is said.

    Args:
        name: of a model, or its `.keras` file.
        forms: names of the forms.
        batch_sizes: images in a call.
        flags: of `keras-mlp benchmark`.

    Returns:
        A row for each form and batch size, the fastest form first.

    Raises:
        ValueError, OSError: there is no such model, or no form could be timed.
    """
    import keras

    from keras_mlp.export.portable import portable
    from keras_mlp.files import temporary_folder

    end, rows = time.monotonic() + flags.seconds, []
    model = models.open_model(name, None if models.is_file(name) else "none", flags.image_size)
    shape = models.input_shape(model)
    model = portable(model, (None, *shape), "bfloat16" if flags.precision == "bfloat16" else "float32")
    with temporary_folder() as folder:
        for form in console.progress(forms, "Timing", total=len(forms)):
            left, here = end - time.monotonic(), FORMS[form].backend == keras.backend.backend()
            try:
                if left <= 0:
                    raise ValueError(f"the {flags.seconds:g} seconds are over; --seconds gives more")
                if here:
                    found = _timed(model, shape, form, batch_sizes, flags, folder)
                else:
                    found = _elsewhere(name, form, flags, left)
            except Exception as error:  # converters raise whatever their passes do
                console.error(f"{form}: left out, {str(error).strip().partition(chr(10))[0]}")
                continue
            rows += found
    if not rows:
        raise ValueError(f"No form of {name} could be timed.")
    return sorted(rows, key=lambda row: (row["batch_size"], -row["images_per_second"]))


def recommendation(rows: list[dict]) -> str:
    """What to run, for each batch size, in words."""
    lines = []
    for size in dict.fromkeys(row["batch_size"] for row in rows):
        best, *others = (row for row in rows if row["batch_size"] == size)
        plain = next((row for row in others if row["form"] == "graph"), None)
        times = f", {best['images_per_second'] / plain['images_per_second']:.2f} times graph" if plain else ""
        images = "1 image" if size == 1 else f"{size} images"
        lines.append(f"fastest here with {images} in a call: {best['form']}{times}: {FORMS[best['form']].told}")
    return "\n".join(lines)


def _timed(model, shape, form, batch_sizes, flags, folder):
    """Rows of a form, timed in this process."""
    from keras_mlp.export import forms

    rows, threads = [], len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for size in batch_sizes:
        call = forms.ready(form, model, forms.Request(size, flags.precision, threads, pathlib.Path(folder)))
        images = np.random.default_rng(0).uniform(0, 255, (size, *shape)).astype("float32")
        call(images)  # compiles
        times, start = [], time.perf_counter()
        while len(times) < _CALLS or time.perf_counter() - start < flags.seconds / _SHARE:
            before = time.perf_counter()
            call(images)
            times.append(time.perf_counter() - before)
        median = float(np.median(times))
        rows.append(
            {
                "form": form,
                "precision": flags.precision,
                "batch_size": size,
                "median_ms": 1e3 * median,
                "images_per_second": size / median,
            }
        )
    return rows


def _elsewhere(name, form, flags, seconds):
    """Rows of a form, timed in a process with the backend of Keras that it needs."""
    words = [sys.executable, "-m", "keras_mlp", "benchmark", name, f"--forms={form}", f"--precision={flags.precision}"]
    words += [f"--seconds={flags.seconds}"]  # or it would be measured for another time than the forms of this process
    words += [f"--batch_size={','.join(map(str, flags.batch_size))}", "--json"]
    words += [f"--image_size={','.join(flags.image_size)}"] if flags.image_size else []
    environment = os.environ | {"KERAS_BACKEND": FORMS[form].backend}
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"it was not ready within the {flags.seconds:g} seconds; --seconds gives more") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ValueError(next((line for line in lines if "left out, " in line), lines[-1]).rpartition("left out, ")[2])
    return [json.loads(line) for line in done.stdout.splitlines()]
