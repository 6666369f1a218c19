"""Train a small model on handwritten digits, export it to TFLite, check and time the files, and report.

Needs no network and a few minutes. --task=classification trains an MLP-Mixer on images of one digit each,
--task=segmentation an AS-MLP with Semantic FPN on scenes of several digits, --task=detection an AS-MLP with RetinaNet
on the same scenes. The folder OUTPUT gets the model, the .tflite files, report.md, the learning curves and pictures.
Files of those names in it are replaced once everything is there. The exit code is 1 if the model is worse on the test
data than it should be: fewer than 97 % of the images recognised, a mean intersection over union below 0.80, or an
average precision (AP) below 0.60 or AP50 below 0.90.
"""

import importlib
import os
import pathlib
import time

from absl import flags as absl_flags

from keras_mlp.cli import console, datasets
from keras_mlp.files import temporary_folder

ARGUMENTS = ""
TASKS = ("classification", "segmentation", "detection")


def define_flags(flags):
    absl_flags.DEFINE_enum("task", TASKS[0], TASKS, "What the model is trained for.", flag_values=flags)
    absl_flags.DEFINE_string("output", "demo", "Folder for the results.", flag_values=flags)
    absl_flags.DEFINE_integer("seed", 0, "Of weights, order and augmentation.", flag_values=flags)
    absl_flags.DEFINE_string("data_dir", None, datasets.DATA_DIR_HELP, flag_values=flags)


def run(flags, arguments):
    console.only(arguments)
    task = importlib.import_module(f"keras_mlp.cli.demos.{flags.task}")
    output = pathlib.Path(flags.output)
    output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with temporary_folder(output) as folder:
        missed = task.run(folder, flags.seed, flags.data_dir)
        for path in sorted(folder.iterdir()):
            os.replace(path, output / path.name)
    print(f"{output}: all is there after {time.perf_counter() - start:.0f} s; begin with {output / 'report.md'}")
    if missed:
        console.error(missed)
        return 1
