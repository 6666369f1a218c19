"""The report of `keras-mlp demo`: a text with the measured numbers, and a picture of predictions."""

import dataclasses
import importlib.metadata
import os
import platform

import numpy as np

from keras_mlp.extras import need

PACKAGES = ("keras-mlp", "keras", "tensorflow", "ai-edge-litert", "numpy")


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of one .tflite file.

    Args:
        name: of the file.
        size_bytes: its length.
        verification: its comparison with Keras on the test images.
        timings: of one call, for one and two threads.
    """

    name: str
    size_bytes: int
    verification: object
    timings: list

    def __str__(self):
        found = self.verification
        return (
            f"{self.name}, {self.size_bytes / 1e3:.0f} kB, {100 * found.tflite_accuracy:.2f} % of the test images, "
            f"{100 * found.agreement:.2f} % as Keras, {self.timings[0].median_ms:.2f} ms"
        )


def text(model, config, recipe, train, test, seconds, accuracy, rows, seed) -> str:
    """The report in Markdown; every number in it was measured in this run, or is a setting of it."""
    height, width, _ = model.input_shape[1:]
    settings = ", ".join(f"{name}={value}" for name, value in config.items())
    examples = f"{train.examples} training and {test.examples} test images"
    training = f"{recipe.epochs} epochs in {seconds:.0f} s, batches of {recipe.batch_size}"
    exact = rows[0].verification.keras_accuracy
    measured = f"{100 * accuracy:.2f} % with Keras in {recipe.precision}, {100 * exact:.2f} % in float32"
    table = "\n".join(_line(row) for row in rows)
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return f"""# MLP-Mixer on handwritten digits

Made by `keras-mlp demo --seed={seed}` on {machine()}.

| | |
|---|---|
| Data | scikit-learn's digits, {examples}, resized to {height}×{width} pixels |
| Model | `keras_mlp.MLPMixer({settings})`, {model.count_params():,} parameters |
| Training | {training}, {recipe.optimizer}, {recipe.precision} |
| Test accuracy | {measured}, after the last epoch, not the best one |
| Versions | Python {platform.python_version()}, {versions} |

## Exported files

All run by LiteRT on the {test.examples} test images and compared with Keras in float32; the largest difference is in
standard deviations of its output. Latency is the median of {rows[0].timings[0].runs} calls with one image.

| file | size | test accuracy | same class as Keras | largest difference | latency, 1 thread | latency, 2 threads |
|---|---:|---:|---:|---:|---:|---:|
{table}

## Learning curves

![Loss and accuracy over the epochs](curves.png)

## What the token mixing has learned

![Weights of the token-mixing units](token_mixing.png)

## Predictions

![Test images with their predicted classes](predictions.png)
"""


def _line(row) -> str:
    found, latencies = row.verification, [f"{timing.median_ms:.3f} ms" for timing in row.timings]
    cells = [
        f"`{row.name}`",
        f"{row.size_bytes / 1e3:.1f} kB",
        f"{100 * found.tflite_accuracy:.2f} %",
        f"{100 * found.agreement:.2f} %",
        f"{found.max_difference:.1e}",
        *latencies,
    ]
    return f"| {' | '.join(cells)} |"


def machine() -> str:
    """This machine in words: its processor and how many cores of it this process may use."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} core{'s' if cores > 1 else ''} of {name} ({platform.system()})"


def draw_predictions(images, labels, scores, classes, path, columns: int = 8):
    """Draw test images with what the model says: a choice of all, then what it got wrong.

    Args:
        images: pixels 0–255 `(n, height, width, channels)`.
        labels: the true classes `(n,)`.
        scores: probabilities `(n, classes)`.
        classes: their names.
        path: PNG file to write.
        columns: images in a row.
    """
    figures = need("matplotlib.figure", extra="train")
    said = scores.argmax(-1)
    right, wrong = np.flatnonzero(said == labels), np.flatnonzero(said != labels)
    shown = [*right[: 2 * columns], *wrong[:columns]]
    rows = -(-len(shown) // columns)
    figure = figures.Figure(figsize=(1.15 * columns, 1.45 * rows + 0.5), layout="constrained")
    figure.suptitle(f"{len(right)} of {len(labels)} test images recognised", fontsize=11, fontweight="bold")
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, i in zip(figure.axes, shown, strict=False):
        axes.imshow(images[i].astype("uint8").squeeze(), cmap="gray", vmin=0, vmax=255)
        title = f"{classes[said[i]]}, {100 * scores[i].max():.0f} %"
        correct = said[i] == labels[i]
        axes.set_title(
            title if correct else f"{title}\nis {classes[labels[i]]}",
            fontsize=9,
            color="#1b7837" if correct else "#b2182b",
        )
    figure.savefig(path, dpi=120)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed as a package)"
