"""A small AS-MLP with RetinaNet on scenes of handwritten digits: from boxes to .tflite files and a report."""

import numpy as np

from keras_mlp.cli.demos import report, scenes

GOALS = {"AP50": 0.90, "AP": 0.60}
BACKBONE = dict(patch_size=2, dim=16, depths=(1, 2, 3), shift_size=5)
# Digits are about 17 pixels wide and 25 high: all are found on one map of stride 8.
HEAD = dict(channels=64, convolutions=1, levels=1, scales=(2.0, 2.6), ratios=(1.0, 1.6))
SHOWN, ZOOM = 6, 4  # scenes in the picture, and how much larger they are there


def run(folder, seed: int, data_dir) -> str | None:
    """Make all the files in `folder`; the scenes are drawn, so that `data_dir` is not needed.

    Returns:
        What has been missed, or `None`.
    """
    from keras_mlp import tasks
    from keras_mlp.tasks.detection import recipes

    recipe = recipes.scenes()
    train, test, options = scenes.loaded("detection", recipe, seed)
    backbone = scenes.backbone(recipe, seed, **BACKBONE)
    model = tasks.RetinaNet(backbone, len(train.classes), **HEAD, name="digits_detector")
    print(f"2/6 model: AS-MLP with RetinaNet, {model.count_params():,} parameters", flush=True)

    seconds = scenes.trained(model, train, test, recipe, tasks.Detection(), folder, "detector")
    scores = tasks.evaluate(model, test, verbose=0)["boxes"]
    print(f"4/6 evaluation: AP {100 * scores['AP']:.2f} %, AP50 {100 * scores['AP50']:.2f} %", flush=True)

    images = np.concatenate([pixels for pixels, _ in test.dataset])
    found = model.predict(images, verbose=0)
    rows = scenes.exported(
        *(model, tasks.load("scenes", "train", **options), folder, "detector"),
        measured=lambda path: _measured(path, test, images, found),
        told=lambda row: f"AP {100 * row['AP']:.2f} %, {100 * row['same']:.2f} % of the detections as Keras'",
        verify_with=images[:50],
    )
    _draw(images, next(iter(test.dataset))[1], found, train.classes, folder / "scenes.png")
    text = _report(model, recipe, train, test, seconds, scores, rows, seed)
    (folder / "report.md").write_text(text, encoding="utf-8")
    print("6/6 report: learning curves, scenes, a table of the classes and one of the files", flush=True)
    missed = [
        f"{name} is {scores[name]:.3f}, less than the {goal:.2f}" for name, goal in GOALS.items() if scores[name] < goal
    ]
    return f"{' and '.join(missed)} that it should be" if missed else None


def _measured(path, test, images, expected) -> dict:
    """Scores of a file, and the share of what Keras detects that it detects, too."""
    from keras_mlp import tasks
    from keras_mlp.classifiers import BoxOutput

    detector = tasks.ExportedDetector(path)
    scores = tasks.evaluate(detector, test, verbose=0)["boxes"]
    same = BoxOutput(detector.classes).same(expected, detector(images))
    return dict(AP=scores["AP"], AP50=scores["AP50"], same=float(same.mean()) if same.size else 1.0)


def _draw(images, targets, found, names, path):
    """Scenes with their boxes, and with those that the model tells, in two rows."""
    from PIL import Image

    from keras_mlp import tasks

    def row(detections):
        shown = []
        for i, image in enumerate(images[:SHOWN]):
            large = image.repeat(ZOOM, 0).repeat(ZOOM, 1)
            shown.append(tasks.draw(large, {name: values[i] for name, values in detections.items()}, names))
        return scenes.strip(shown)

    truth = {name: np.asarray(targets[name][:SHOWN]) for name in ("boxes", "labels")}
    rows = [detections | {"boxes": ZOOM * detections["boxes"]} for detections in (truth, found)]
    Image.fromarray(np.concatenate([row(detections) for detections in rows])).save(path)


def _report(model, recipe, train, test, seconds, scores, rows, seed) -> str:
    """The report in Markdown; every number in it was measured in this run, or is a setting of it."""
    from keras_mlp.classifiers import boxes

    classes = "\n".join(
        f"| {name} | {100 * ap:.1f} % |" for name, ap in zip(train.classes, scores["by class"], strict=True)
    )
    files = scenes.table(
        rows,
        ["AP", "AP50", "detections as Keras'"],
        lambda row: [f"{100 * row[name]:.2f} %" for name in ("AP", "AP50", "same")],
    )
    training = f"{recipe.epochs} epochs in {seconds:.0f} s, batches of {recipe.batch_size}"
    percent = {name: f"{100 * scores[name]:.2f} %" for name in ("AP", "AP50", "AP75", "AR 100")}
    return f"""# AS-MLP with RetinaNet on scenes of handwritten digits

Made by `keras-mlp demo --task=detection --seed={seed}` on {report.machine()}.

| | |
|---|---|
| Data | {scenes.examples(train, test)} |
| Model | `RetinaNet(ASMLP(…))` with {scenes.settings(BACKBONE, HEAD)}, {model.count_params():,} parameters |
| Training | {training}, {recipe.optimizer}, {recipe.precision} |
| AP | {percent["AP"]}, COCO's average precision, after the last epoch, not the best one |
| AP50, AP75 | {percent["AP50"]} and {percent["AP75"]}, at overlaps of 0.5 and 0.75 |
| Recall | {percent["AR 100"]} |
| Versions | {report.versions()} |

## Test scenes

Above the scenes with their boxes, below with what the model tells, from a score of {boxes.SURE} on.

![Scenes with boxes and with detections](scenes.png)

## Classes

| class | AP |
|---|---:|
{classes}

## Exported files

All run by LiteRT on the {test.examples} test scenes, from pixels to boxes without doubles. A file has a detection of
Keras' if one of its own is of the same class and overlaps it by {boxes.SAME}; those from a score of {boxes.SURE} on are
counted. In the int8 file the network has eight bits, and boxes are decoded in float. Latency is the median of
{rows[0]["runs"]} calls with one image.

{files}

## Learning curves

![Loss and average precision over the epochs](curves.png)
"""
