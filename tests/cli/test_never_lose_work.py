"""`keras-mlp train`, killed, interrupted and short of space: real processes, one command, the same weights."""

import concurrent.futures
import pathlib
import random
import resource
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_mlp.training import resume

# Random layers, mixing, a moving average: all that a state could lack.
TRAIN = (
    "train",
    "--model=mlp_mixer",
    "--config=patch_size=2,dim=16,depth=1",
    "--dataset=digits",
    "--image_size=8",
    "--epochs=6",
    "--batch_size=32",
    "--precision=float32",
    "--change=ema_decay=0.95,cutmix=0.5,repeated_augmentation=2,dropout_rate=0.1",
    "--checkpoint_seconds=0",
)
SECONDS = 120  # that a process may take to begin


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return f"--data_dir={tmp_path_factory.mktemp('data')}"


@pytest.fixture(scope="module")
def start(data_dir):
    """Start the command in a process of its own, to train into a folder."""
    launcher = [sys.executable, pathlib.Path(__file__).parents[2] / "keras_mlp_command.py"]

    def start(folder, *words, **options):
        words = [*launcher, *TRAIN, f"--output={folder}", data_dir, *words]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)

    return start


def finish(process):
    """What a process wrote, which must be successful."""
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    return out


def states(folder):
    return {path.name for path in (folder / "checkpoints").glob(resume.STATES)}


def wait_for_training(process, folder):
    """Wait until a process saves states. Whatever is in the folder before was left by another one."""
    before, deadline = states(folder), time.monotonic() + SECONDS
    while process.poll() is None and states(folder) <= before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def same_files(one, other):
    for name in ("best.keras", "last.keras"):
        models = [keras.models.load_model(folder / name) for folder in (one, other)]
        arrays = zip(*(model.get_weights() for model in models), strict=True)
        assert all(np.array_equal(a, b) for a, b in arrays), name


def kill_and_finish(start, folder, kills, seed):
    """Kill a run at random moments, start it again each time; how often it died, and how often in writing a file."""
    moments, died, writing = random.Random(seed), 0, 0
    while died < kills:
        process = start(folder)
        wait_for_training(process, folder)
        time.sleep(moments.uniform(0, 1))
        while died % 2 and process.poll() is None and not any(folder.rglob("*.tmp-*")):
            pass  # every other time wait until a file is being written
        process.kill()
        process.communicate()
        died += process.returncode == -signal.SIGKILL
        writing += any(folder.rglob("*.tmp-*"))
        print("killed with", max(states(folder), default="no state"))
        if (folder / "report.md").exists():
            break
    finish(start(folder))
    assert not list(folder.rglob("*.tmp-*"))
    return died, writing


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """The folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(start(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.huge)])
def test_after_many_kills_the_weights_are_those_of_a_run_without(start, whole, tmp_path, kills):
    """Two runs side by side, half of the kills each."""
    folders = [tmp_path / "one", tmp_path / "other"]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda folder: kill_and_finish(start, folder, kills // 2, folder.name), folders))
    for folder, (died, writing) in zip(folders, found, strict=True):
        print(f"{died} kills, {writing} of them while a file was written")
        same_files(whole, folder)
    assert sum(died for died, _ in found) >= kills


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(start, whole, tmp_path):
    process = start(tmp_path / "run", "--checkpoint_seconds=600")
    wait_for_training(process, tmp_path / "run")
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130 and "stopped in epoch" in err and "Traceback" not in err
    assert "going on in epoch" in finish(start(tmp_path / "run"))
    same_files(whole, tmp_path / "run")


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_spares_what_was_saved(start, whole, tmp_path):
    """No file may be longer than a third of a state: the system refuses to write on, as on a full disk."""
    folder = tmp_path / "run"
    process = start(folder)
    wait_for_training(process, folder)
    process.kill()
    process.communicate()
    before = {name: (folder / "checkpoints" / name).read_bytes() for name in states(folder)}
    limit = max(map(len, before.values())) // 3

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    _, err = (process := start(folder, preexec_fn=limited)).communicate()
    assert process.returncode == 1 and len(err.splitlines()) == 1 and "run before is whole" in err, err
    assert {name: (folder / "checkpoints" / name).read_bytes() for name in states(folder)} == before
    finish(start(folder))
    same_files(whole, folder)
