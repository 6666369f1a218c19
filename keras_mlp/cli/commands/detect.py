"""Find things in image files, and in the images of folders: boxes, classes, scores and masks.

OUTPUT gets for each image NAME.png, the image with what was found, and results.json, all detections in the form of
COCO's results; the number of an image there is its place among the files, from 0, and "file_name" says which it is.

When the output is not a terminal, one JSON object a line is written: {"file": ..., "found": [{"class": "name", "score":
..., "box": [left, top, right, bottom]}, ...]}, best first.
"""

import pathlib

from absl import flags as absl_flags

from keras_mlp.cli import console, datasets, detectors, images
from keras_mlp.walking import readable

ARGUMENTS = "IMAGE_OR_FOLDER..."


def define_flags(flags):
    absl_flags.DEFINE_string("model", None, "A .keras or .tflite file of a detector. Required.", flag_values=flags)
    absl_flags.DEFINE_string("output", None, "Folder for the pictures and results.json. Required.", flag_values=flags)
    absl_flags.DEFINE_float(
        "threshold",
        0.3,
        "Score from which on something is drawn and told.",
        lower_bound=0,
        upper_bound=1,
        flag_values=flags,
    )
    datasets.define_max_pixels(flags)
    absl_flags.DEFINE_bool("json", False, "Write JSON to a terminal, too.", flag_values=flags)


def run(flags, arguments):
    from keras_mlp import tasks

    console.require(flags, "model", "output")
    files = images.named(arguments)
    model = detectors.perhaps(flags.model)
    if model is None:
        raise ValueError(f"{flags.model} is no .keras or .tflite file of a detector.")
    names = detectors.class_names(flags.model, model)
    output = pathlib.Path(flags.output)
    output.mkdir(parents=True, exist_ok=True)
    rows, failed = [], []
    for number, file, stem, pixels in images.decoded(files, "Detecting", flags.max_pixels, failed):
        found = tasks.detect(model, pixels)
        image = {"id": number, "height": pixels.shape[0], "width": pixels.shape[1]}
        known = range(1 + max([*found["labels"].tolist(), len(names or []) - 1], default=0))
        results = tasks.coco_results(found, image, [{"id": label + 1} for label in known])
        rows += [row | {"file_name": str(file)} for row in results]
        drawn = tasks.draw(pixels, found, names, threshold=flags.threshold)
        images.save(drawn, output / f"{stem}.png")
        _print(file, found, names, flags)
    tasks.write_results(output / "results.json", rows)
    return images.exit_code(failed, files)


def _print(file, found, names, flags):
    """Tell of what is drawn."""
    shown = [i for i, score in enumerate(found["scores"]) if score >= flags.threshold]
    called = [names[found["labels"][i]] if names else str(found["labels"][i]) for i in shown]
    scores = [round(float(found["scores"][i]), 6) for i in shown]
    boxes = [[round(float(side), 2) for side in found["boxes"][i]] for i in shown]
    if flags.json or not console.for_a_person():
        told = [
            {"class": name, "score": score, "box": box} for name, score, box in zip(called, scores, boxes, strict=True)
        ]
        console.print_json({"file": str(file), "found": told})
        return
    print(readable(file))
    rows = [(f"{100 * score:.1f} %", name) for score, name in zip(scores, called, strict=True)]
    print(console.table(rows, align=">", indent="  ") if rows else "  nothing")
