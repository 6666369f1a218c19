"""`keras-mlp train` on a folder of ADE20K's layout by a published recipe: killed, and taken up again."""

import pathlib
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image

from keras_mlp.training import resume

pytestmark = pytest.mark.slow
SECONDS = 300  # that a process may take to begin
MODEL = ("--model=as_mlp", "--config=patch_size=2,dim=6,depths=(1,1),shift_size=3", "--image_size=32")
HEAD = ("--segmenter_config=channels=4,auxiliary_channels=4", "--recipe=upernet_as_mlp_tiny_ade20k")
CHANGE = "--change=steps=18,warmup_steps=2,resize=(64,32),learning_rate=0.01,precision=float32"
TRAIN = ("train", "--task=segmentation", *MODEL, *HEAD, "--batch_size=4", CHANGE, "--checkpoint_seconds=0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, random = tmp_path_factory.mktemp("data") / "ADEChallengeData2016", np.random.default_rng(0)
    for part, short, count in (("training", "train", 12), ("validation", "val", 2)):
        for kind in ("images", "annotations"):
            (root / kind / part).mkdir(parents=True)
        for i in range(count):
            name = f"ADE_{short}_{i + 1:08d}"
            mask = np.kron(random.integers(0, 151, (4, 6)), np.ones((10, 10))).astype("uint8")
            Image.fromarray(mask).save(root / "annotations" / part / f"{name}.png")
            Image.fromarray(np.stack([mask, mask // 2, 255 - mask], -1)).save(root / "images" / part / f"{name}.jpg")
    return root


def start(folder, output):
    launcher = [sys.executable, pathlib.Path(__file__).parents[3] / "keras_mlp_command.py"]
    words = [*launcher, *TRAIN, f"--dataset={folder}", f"--output={output}"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    return out


def test_a_killed_run_comes_to_the_weights_of_one_that_was_not(folder, tmp_path):
    process, end = start(folder, tmp_path / "killed"), time.monotonic() + SECONDS
    states = tmp_path / "killed" / "checkpoints"
    # A state within the second epoch, of six of three steps.
    while not any(found.stem >= "00001-00000001" for found in states.glob(resume.STATES)):
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert "going on in epoch" in finish(start(folder, tmp_path / "killed"))
    out = finish(start(folder, tmp_path / "whole"))
    assert "in epoch" in out and "of 6" in out
    one, other = (keras.models.load_model(tmp_path / run / "last.keras") for run in ("killed", "whole"))
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len((tmp_path / "whole" / "classes.txt").read_text().splitlines()) == 150
