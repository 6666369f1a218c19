"""A small MLP-Mixer on handwritten digits: from images to .tflite files and a report."""

import contextlib
import dataclasses
import io
import os
import shutil
import time

import numpy as np

from keras_mlp.cli import console, datasets
from keras_mlp.cli.demos import report
from keras_mlp.extras import need
from keras_mlp.precisions import CALIBRATED, USUAL

GOAL = 0.97
IMAGE_SIZE = 16
MODEL = dict(patch_size=2, dim=64, depth=3, token_dim=64, channel_dim=128)


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


def run(folder, seed: int, data_dir) -> str | None:
    """Make all the files in `folder`.

    Returns:
        What has been missed, or `None`.
    """
    import keras

    import keras_mlp
    from keras_mlp import export
    from keras_mlp.analysis.mixing import plot_token_mixing
    from keras_mlp.training import recipes
    from keras_mlp.training.train import evaluate, fit

    recipe = recipes.digits()
    options = dict(image_size=IMAGE_SIZE, batch_size=recipe.batch_size, seed=seed, data_dir=data_dir)
    with contextlib.redirect_stderr(io.StringIO()):  # tensorflow-datasets speaks of a download, which this is not
        train = datasets.load("digits", "train", recipe=recipe, **options)
        test = datasets.load("digits", "test", **options)
        samples = datasets.load("digits", "train[:300]", **options)
    print(f"1/6 data: {train.examples} training and {test.examples} test images of handwritten digits", flush=True)

    keras.utils.set_random_seed(seed)
    shape = (IMAGE_SIZE, IMAGE_SIZE, 3)
    model = keras_mlp.MLPMixer(
        **MODEL, input_shape=shape, classes=len(train.classes), dtype=recipe.precision, name="digits_mixer"
    )
    print(
        f"2/6 model: MLP-Mixer of {model.count_params():,} parameters, to be trained in {recipe.precision}", flush=True
    )

    start = time.perf_counter()
    fit(model, train, test, recipe, folder, verbose=1 if console.for_a_person() else 2)
    seconds = time.perf_counter() - start
    print(f"3/6 training: {recipe.epochs} epochs in {seconds:.0f} s", flush=True)

    # The model of the last epoch: to choose the best one on the test images would flatter it.
    os.replace(folder / "last.keras", folder / "mixer.keras")
    (folder / "best.keras").unlink()
    shutil.rmtree(folder / "tensorboard")
    accuracy = evaluate(model, test, verbose=0)["top1"]
    print(f"4/6 evaluation: {100 * accuracy:.2f} % of the test images recognised", flush=True)

    images, labels = _arrays(test)
    rows = []
    for precision in USUAL:
        path = folder / f"mixer_{precision}.tflite"
        representative = _arrays(samples)[0] if precision in CALIBRATED else None
        exported = export.to_tflite(model, path, precision, representative=representative, verify_with=(images, labels))
        timings = export.time_tflite(path, threads=(1, 2))
        rows.append(Row(path.name, exported.size_bytes, exported.verification, timings))
        print(f"5/6 export: {rows[-1]}", flush=True)

    plot_token_mixing(model, folder / "token_mixing.png")
    scores = model.predict(images, verbose=0)
    draw_predictions(images, labels, scores, train.classes, folder / "predictions.png")
    text = _text(model, MODEL, recipe, train, test, seconds, accuracy, rows, seed)
    (folder / "report.md").write_text(text, encoding="utf-8")
    print("6/6 report: learning curves, token-mixing weights, predictions and a table of the files", flush=True)
    if accuracy < GOAL:
        return f"the test accuracy is {100 * accuracy:.2f} %, less than the {100 * GOAL:.0f} % it should be"
    return None


def _arrays(data):
    """All images, and their labels as integers."""
    batches = list(data.dataset.as_numpy_iterator())
    return np.concatenate([images for images, _ in batches]), np.concatenate([y.argmax(-1) for _, y in batches])


def _text(model, config, recipe, train, test, seconds, accuracy, rows, seed) -> str:
    """The report in Markdown; every number in it was measured in this run, or is a setting of it."""
    height, width, _ = model.input_shape[1:]
    settings = ", ".join(f"{name}={value}" for name, value in config.items())
    examples = f"{train.examples} training and {test.examples} test images"
    training = f"{recipe.epochs} epochs in {seconds:.0f} s, batches of {recipe.batch_size}"
    exact = rows[0].verification.keras_accuracy
    measured = f"{100 * accuracy:.2f} % with Keras in {recipe.precision}, {100 * exact:.2f} % in float32"
    table = "\n".join(_line(row) for row in rows)
    return f"""# MLP-Mixer on handwritten digits

Made by `keras-mlp demo --seed={seed}` on {report.machine()}.

| | |
|---|---|
| Data | scikit-learn's digits, {examples}, resized to {height}×{width} pixels |
| Model | `keras_mlp.MLPMixer({settings})`, {model.count_params():,} parameters |
| Training | {training}, {recipe.optimizer}, {recipe.precision} |
| Test accuracy | {measured}, after the last epoch, not the best one |
| Versions | {report.versions()} |

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
