"""What the demos on scenes of handwritten digits share: training, .tflite files and pictures."""

import os
import shutil
import time

import numpy as np

from keras_mlp.cli import console

IMAGE_SIZE = 64
PRECISIONS = ("float32", "dynamic_int8", "int8")


def loaded(task: str, recipe, seed: int):
    """Training and test scenes with what a task learns from them, and how others are loaded for it.

    Returns:
        Two sets of data, and the arguments of `keras_mlp.tasks.load` beside the data's name and part.
    """
    from keras_mlp import tasks

    options = dict(task=task, image_size=IMAGE_SIZE, batch_size=recipe.batch_size, seed=seed)
    train, test = tasks.load("scenes", "train", recipe=recipe, **options), tasks.load("scenes", "test", **options)
    print(f"1/6 data: {train.examples} training and {test.examples} test scenes of handwritten digits", flush=True)
    return train, test, options


def backbone(recipe, seed: int, **config):
    """A small AS-MLP for the scenes, which begins from random weights."""
    import keras

    import keras_mlp

    keras.utils.set_random_seed(seed)
    shape = (IMAGE_SIZE, IMAGE_SIZE, 3)
    return keras_mlp.ASMLP(**config, include_top=False, input_shape=shape, dtype=recipe.precision)


def trained(model, train, test, recipe, objective, folder, name: str) -> float:
    """Train a model into a folder, where it is called `name`; how many seconds that took.

    It is the model of the last epoch: to choose the best one on the test scenes would flatter it.
    """
    from keras_mlp.training.train import fit

    start = time.perf_counter()
    fit(
        *(model, train, test, recipe, folder),
        objective=objective,
        verbose=1 if console.for_a_person() else 2,
    )
    seconds = time.perf_counter() - start
    print(f"3/6 training: {recipe.epochs} epochs in {seconds:.0f} s", flush=True)
    os.replace(folder / "last.keras", folder / f"{name}.keras")
    (folder / "best.keras").unlink()
    shutil.rmtree(folder / "tensorboard")
    return seconds


def exported(model, calibration, folder, name: str, measured, told, verify_with) -> list[dict]:
    """Write a model as .tflite files of all `PRECISIONS`, and measure them.

    Args:
        model: the model.
        calibration: data whose first images eight bits are calibrated on.
        folder: where the files go.
        name: what their names begin with.
        measured: `path -> dict` of scores.
        told: `row -> str`, the scores in words.
        verify_with: images on which each file is compared with the model before it is written.

    Returns:
        A row for each file: what `measured` gives, and "name", "size" in bytes, "latencies" of a call with one image in
        milliseconds with one thread and with two, and "runs", of which they are the medians.
    """
    from keras_mlp import export

    representative = np.concatenate([pixels for pixels, _ in calibration.dataset.take(12)])
    rows = []
    for precision in PRECISIONS:
        path = folder / f"{name}_{precision}.tflite"
        given = representative if precision == "int8" else None
        export.to_tflite(model, path, precision, representative=given, verify_with=verify_with)
        timings = export.time_tflite(path, threads=(1, 2))
        latencies, size = [timing.median_ms for timing in timings], path.stat().st_size
        rows.append(measured(path) | dict(name=path.name, size=size, latencies=latencies, runs=timings[0].runs))
        print(f"5/6 export: {path.name}, {size / 1e3:.0f} kB, {told(rows[-1])}, {latencies[0]:.2f} ms", flush=True)
    return rows


def table(rows, titles, cells) -> str:
    """The files as a table in Markdown.

    Args:
        rows: what `exported` gives.
        titles: of the scores' columns.
        cells: `row -> list`, the scores as texts.
    """
    lines = [
        ["file", "size", *titles, "latency, 1 thread", "latency, 2 threads"],
        ["---", *["---:"] * (3 + len(titles))],
    ]
    for row in rows:
        times = [f"{latency:.2f} ms" for latency in row["latencies"]]
        lines.append([f"`{row['name']}`", f"{row['size'] / 1e3:.1f} kB", *cells(row), *times])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def strip(pictures) -> np.ndarray:
    """Pictures of one size side by side, as pixels."""
    return np.concatenate([np.asarray(picture) for picture in pictures], axis=1)


def examples(train, test) -> str:
    """What the report says of the data."""
    size = f"{IMAGE_SIZE}×{IMAGE_SIZE} pixels"
    return f"{train.examples} training and {test.examples} test scenes of {size}, of digits of scikit-learn's"


def settings(*options) -> str:
    """Arguments of a model as the report shows them."""
    return ", ".join(f"{name}={value}" for given in options for name, value in given.items())
