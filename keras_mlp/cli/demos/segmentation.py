"""A small AS-MLP with Semantic FPN on scenes of handwritten digits: from masks to .tflite files and a report."""

import numpy as np

from keras_mlp.cli.demos import report, scenes

GOAL = 0.80
BACKBONE = dict(patch_size=2, dim=24, depths=(1, 2, 4), shift_size=5, activation="relu")
HEAD = dict(neck_channels=32, channels=32)
SHOWN = 8  # scenes in the picture
WATCHED = 100  # test scenes that are measured after each epoch


def run(folder, seed: int, data_dir) -> str | None:
    """Make all the files in `folder`; the scenes are drawn, so that `data_dir` is not needed.

    Returns:
        What has been missed, or `None`.
    """
    from keras_mlp import tasks
    from keras_mlp.tasks.scenes import source
    from keras_mlp.tasks.segmentation import recipes

    recipe = recipes.scenes()
    train, test, options = scenes.loaded("segmentation", recipe, seed)
    watched = tasks.load(source("test", WATCHED), "test", **options)
    backbone = scenes.backbone(recipe, seed, **BACKBONE)
    model = tasks.SemanticFPN(backbone, len(train.classes), **HEAD, name="digits_segmenter")
    print(f"2/6 model: AS-MLP with Semantic FPN, {model.count_params():,} parameters", flush=True)

    seconds = scenes.trained(model, train, watched, recipe, tasks.Segmentation(), folder, "segmenter")
    images, masks = _arrays(test)
    found = model.predict(images, verbose=0).argmax(-1)
    scores = _scores(masks, found, len(train.classes))
    print(f"4/6 evaluation: mean IoU {100 * scores['mIoU']:.2f} %", flush=True)

    rows = scenes.exported(
        *(model, tasks.load("scenes", "train", **options), folder, "segmenter"),
        measured=lambda path: _measured(path, images, masks, found, len(train.classes)),
        told=lambda row: f"mean IoU {100 * row['miou']:.2f} %, {100 * row['agreement']:.2f} % of the pixels as Keras",
        verify_with=images[:50],
    )

    _draw(images, masks, found, train.classes, folder / "scenes.png")
    text = _report(model, recipe, train, test, seconds, scores, rows, seed)
    (folder / "report.md").write_text(text, encoding="utf-8")
    print("6/6 report: learning curves, scenes, a table of the classes and one of the files", flush=True)
    if scores["mIoU"] < GOAL:
        return f"the mean IoU is {scores['mIoU']:.3f}, less than the {GOAL:.2f} that it should be"
    return None


def _arrays(data):
    images, masks = zip(*((pixels, targets["masks"][..., 0]) for pixels, targets in data.dataset), strict=True)
    return np.concatenate(images), np.concatenate(masks)


def _scores(masks, found, classes) -> dict:
    from keras_mlp import tasks
    from keras_mlp.tasks.segmentation import metrics

    return tasks.segmentation_scores(metrics.confusion(masks, found, classes))


def _measured(path, images, masks, expected, classes) -> dict:
    """Mean IoU of a file, and the share of the pixels to which it gives the class that Keras gives, `expected`."""
    from keras_mlp import export

    found = export.Runner(path)(images).argmax(-1)
    return dict(miou=_scores(masks, found, classes)["mIoU"], agreement=float((found == expected).mean()))


def _draw(images, masks, found, names, path):
    """Scenes, their masks and what the model tells, in three rows with one legend."""
    from PIL import Image

    from keras_mlp import tasks
    from keras_mlp.tasks.segmentation.drawing import with_legend

    rows = [
        scenes.strip(tasks.draw(images[i], labels[i]) for i in range(SHOWN))
        for labels in (np.full_like(masks, 255), masks, found)
    ]
    drawn = Image.fromarray(np.concatenate(rows).repeat(2, 0).repeat(2, 1))
    with_legend(drawn, range(len(names)), names).save(path)


def _report(model, recipe, train, test, seconds, scores, rows, seed) -> str:
    """The report in Markdown; every number in it was measured in this run, or is a setting of it."""
    classes = "\n".join(
        f"| {name} | {100 * iou:.1f} % | {100 * accuracy:.1f} % |"
        for name, iou, accuracy in zip(train.classes, scores["IoU"], scores["Acc"], strict=True)
    )
    files = scenes.table(
        rows,
        ["mean IoU", "pixels as Keras"],
        lambda row: [f"{100 * row[name]:.2f} %" for name in ("miou", "agreement")],
    )
    training = f"{recipe.epochs} epochs in {seconds:.0f} s, batches of {recipe.batch_size}"
    return f"""# AS-MLP with Semantic FPN on scenes of handwritten digits

Made by `keras-mlp demo --task=segmentation --seed={seed}` on {report.machine()}.

| | |
|---|---|
| Data | {scenes.examples(train, test)} |
| Model | `SemanticFPN(ASMLP(…))` with {scenes.settings(BACKBONE, HEAD)}, {model.count_params():,} parameters |
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

{files}

## Learning curves

After each epoch the first {WATCHED} test scenes were measured.

![Loss, mean intersection over union and pixel accuracy over the epochs](curves.png)
"""
