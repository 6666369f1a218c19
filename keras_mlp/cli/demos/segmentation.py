"""A small AS-MLP with Semantic FPN on scenes of handwritten digits: from masks to .tflite files and a report."""

import os
import shutil
import time

import numpy as np

from keras_mlp.cli import console
from keras_mlp.cli.demos import report

GOAL = 0.80
IMAGE_SIZE = 64
BACKBONE = dict(patch_size=2, dim=24, depths=(1, 2, 4), shift_size=5)
HEAD = dict(neck_channels=32, channels=32)
PRECISIONS = ("float32", "dynamic_int8", "int8")
SHOWN = 8  # scenes in the picture


def run(folder, seed: int, data_dir) -> str | None:
    """Make all the files in `folder`; the scenes are drawn, so that `data_dir` is not needed.

    Returns:
        What has been missed, or `None`.
    """
    import keras

    import keras_mlp
    from keras_mlp import export, tasks
    from keras_mlp.tasks.segmentation import recipes
    from keras_mlp.training.train import fit

    recipe = recipes.scenes()
    options = dict(image_size=IMAGE_SIZE, batch_size=recipe.batch_size, seed=seed)
    train = tasks.load("scenes", "train", recipe=recipe, **options)
    test = tasks.load("scenes", "test", **options)
    print(f"1/6 data: {train.examples} training and {test.examples} test scenes of handwritten digits", flush=True)

    keras.utils.set_random_seed(seed)
    shape = (IMAGE_SIZE, IMAGE_SIZE, 3)
    backbone = keras_mlp.ASMLP(**BACKBONE, include_top=False, input_shape=shape, dtype=recipe.precision)
    model = tasks.SemanticFPN(backbone, len(train.classes), **HEAD, name="digits_segmenter")
    print(f"2/6 model: AS-MLP with Semantic FPN, {model.count_params():,} parameters", flush=True)

    start = time.perf_counter()
    fit(
        *(model, train, test, recipe, folder),
        objective=tasks.Segmentation(),
        verbose=1 if console.for_a_person() else 2,
    )
    seconds = time.perf_counter() - start
    print(f"3/6 training: {recipe.epochs} epochs in {seconds:.0f} s", flush=True)

    # The model of the last epoch: to choose the best one on the test scenes would flatter it.
    os.replace(folder / "last.keras", folder / "segmenter.keras")
    (folder / "best.keras").unlink()
    shutil.rmtree(folder / "tensorboard")
    scores = tasks.evaluate(model, test, verbose=0)
    print(f"4/6 evaluation: mean IoU {100 * scores['mIoU']:.2f} %", flush=True)

    images, masks = _arrays(test)
    calibration = tasks.load("scenes", "train", **options)
    representative = np.concatenate([pixels for pixels, _ in calibration.dataset.take(12)])
    rows = []
    for precision in PRECISIONS:
        path = folder / f"segmenter_{precision}.tflite"
        given = representative if precision == "int8" else None
        export.to_tflite(model, path, precision, representative=given, verify_with=images[:50])
        rows.append(_measured(path, model, images, masks, len(train.classes)))
        print(f"5/6 export: {_told(rows[-1])}", flush=True)

    _draw(model, images, masks, train.classes, folder / "scenes.png")
    text = _report(model, recipe, train, test, seconds, scores, rows, seed)
    (folder / "report.md").write_text(text, encoding="utf-8")
    print("6/6 report: learning curves, scenes, a table of the classes and one of the files", flush=True)
    if scores["mIoU"] < GOAL:
        return f"the mean IoU is {scores['mIoU']:.3f}, less than the {GOAL:.2f} that it should be"
    return None


def _arrays(data):
    images, masks = zip(*((pixels, targets["masks"][..., 0]) for pixels, targets in data.dataset), strict=True)
    return np.concatenate(images), np.concatenate(masks)


def _measured(path, model, images, masks, classes) -> dict:
    """Scores of a file, how many pixels it tells as Keras does, its size and the time of a call."""
    from keras_mlp import export, tasks
    from keras_mlp.tasks.segmentation import metrics

    found = export.Runner(path)(images).argmax(-1)
    expected = model.predict(images, verbose=0).argmax(-1)
    scores = tasks.segmentation_scores(metrics.confusion(masks, found, classes))
    timings = export.time_tflite(path, threads=(1, 2))
    return dict(
        name=path.name,
        size=path.stat().st_size,
        miou=scores["mIoU"],
        agreement=float((found == expected).mean()),
        latencies=[timing.median_ms for timing in timings],
        runs=timings[0].runs,
    )


def _told(row) -> str:
    return (
        f"{row['name']}, {row['size'] / 1e3:.0f} kB, mean IoU {100 * row['miou']:.2f} %, "
        f"{100 * row['agreement']:.2f} % of the pixels as Keras, {row['latencies'][0]:.2f} ms"
    )


def _draw(model, images, masks, names, path):
    """Scenes, their masks and what the model tells, in three rows with one legend."""
    from PIL import Image

    from keras_mlp import tasks
    from keras_mlp.tasks.segmentation.evaluation import legend_of

    chosen = images[:SHOWN]
    rows = [
        np.concatenate([np.asarray(tasks.draw(image, labels)) for image, labels in zip(chosen, found, strict=True)], 1)
        for found in (np.full_like(masks[:SHOWN], 255), masks[:SHOWN], model.predict(chosen, verbose=0).argmax(-1))
    ]
    scenes = Image.fromarray(np.concatenate(rows).repeat(2, 0).repeat(2, 1))
    legend = legend_of(range(len(names)), names)
    whole = Image.new("RGB", (scenes.width + legend.width, max(scenes.height, legend.height)), "white")
    whole.paste(scenes, (0, 0))
    whole.paste(legend, (scenes.width, 0))
    whole.save(path)


def _report(model, recipe, train, test, seconds, scores, rows, seed) -> str:
    """The report in Markdown; every number in it was measured in this run, or is a setting of it."""
    settings = ", ".join(f"{name}={value}" for name, value in (BACKBONE | HEAD).items())
    classes = "\n".join(
        f"| {name} | {100 * iou:.1f} % | {100 * accuracy:.1f} % |"
        for name, iou, accuracy in zip(train.classes, scores["IoU"], scores["Acc"], strict=True)
    )
    files = "\n".join(
        f"| `{row['name']}` | {row['size'] / 1e3:.1f} kB | {100 * row['miou']:.2f} % | {100 * row['agreement']:.2f} % "
        f"| {row['latencies'][0]:.2f} ms | {row['latencies'][1]:.2f} ms |"
        for row in rows
    )
    examples = f"{train.examples} training and {test.examples} test scenes of {IMAGE_SIZE}×{IMAGE_SIZE} pixels"
    training = f"{recipe.epochs} epochs in {seconds:.0f} s, batches of {recipe.batch_size}"
    return f"""# AS-MLP with Semantic FPN on scenes of handwritten digits

Made by `keras-mlp demo --task=segmentation --seed={seed}` on {report.machine()}.

| | |
|---|---|
| Data | {examples}, of digits of scikit-learn's |
| Model | `SemanticFPN(ASMLP(…))` with {settings}, {model.count_params():,} parameters |
| Training | {training}, {recipe.optimizer}, {recipe.precision} |
| Mean IoU | {100 * scores["mIoU"]:.2f} % of {len(train.classes)} classes, after the last epoch, not the best one |
| Pixels | {100 * scores["aAcc"]:.2f} % right, {100 * scores["mAcc"]:.2f} % in the mean over the classes |
| Versions | {report.versions()} |

## Test scenes

Above the scenes, then their masks, then what the model tells.

![Scenes, masks and predictions](scenes.png)

## Classes

| class | IoU | right pixels |
|---|---:|---:|
{classes}

## Exported files

All run by LiteRT on the {test.examples} test scenes. Latency is the median of {rows[0]["runs"]} calls with one image.

| file | size | mean IoU | pixels as Keras | latency, 1 thread | latency, 2 threads |
|---|---:|---:|---:|---:|---:|
{files}

## Learning curves

![Loss, mean intersection over union and pixel accuracy over the epochs](curves.png)
"""
