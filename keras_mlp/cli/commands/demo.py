"""Train a small MLP-Mixer on handwritten digits, export it to TFLite, check and time the files, and report.

Needs no network and a few minutes. The folder OUTPUT gets the model, four .tflite files (float32, float16, dynamic
int8, int8), report.md, the learning curves, the token-mixing weights and some predictions as pictures. Files of those
names in it are replaced once everything is there. The exit code is 1 if fewer than 97 % of the test images are
recognised.
"""

import contextlib
import io
import os
import pathlib
import shutil
import time

import numpy as np
from absl import flags as absl_flags

from keras_mlp.cli import console, datasets, report
from keras_mlp.files import temporary_folder
from keras_mlp.precisions import CALIBRATED, USUAL

ARGUMENTS = ""
GOAL = 0.97
IMAGE_SIZE = 16
MODEL = dict(patch_size=2, dim=64, depth=3, token_dim=64, channel_dim=128)


def define_flags(flags):
    absl_flags.DEFINE_string("output", "demo", "Folder for the results.", flag_values=flags)
    absl_flags.DEFINE_integer("seed", 0, "Of weights, order and augmentation.", flag_values=flags)
    absl_flags.DEFINE_string("data_dir", None, datasets.DATA_DIR_HELP, flag_values=flags)


def run(flags, arguments):
    console.only(arguments)
    output = pathlib.Path(flags.output)
    output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with temporary_folder(output) as folder:
        accuracy = _run(folder, flags.seed, flags.data_dir)
        for path in sorted(folder.iterdir()):
            os.replace(path, output / path.name)
    print(f"{output}: all is there after {time.perf_counter() - start:.0f} s; begin with {output / 'report.md'}")
    if accuracy < GOAL:
        console.error(f"the test accuracy is {100 * accuracy:.2f} %, less than the {100 * GOAL:.0f} % it should be")
        return 1


def _run(folder, seed, data_dir) -> float:
    """Make all the files in `folder`; the test accuracy."""
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
        rows.append(report.Row(path.name, exported.size_bytes, exported.verification, timings))
        print(f"5/6 export: {rows[-1]}", flush=True)

    plot_token_mixing(model, folder / "token_mixing.png")
    scores = model.predict(images, verbose=0)
    report.draw_predictions(images, labels, scores, train.classes, folder / "predictions.png")
    text = report.text(model, MODEL, recipe, train, test, seconds, accuracy, rows, seed)
    (folder / "report.md").write_text(text, encoding="utf-8")
    print("6/6 report: learning curves, token-mixing weights, predictions and a table of the files", flush=True)
    return accuracy


def _arrays(data):
    """All images, and their labels as integers."""
    batches = list(data.dataset.as_numpy_iterator())
    return np.concatenate([images for images, _ in batches]), np.concatenate([y.argmax(-1) for _, y in batches])
