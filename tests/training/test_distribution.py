"""Several devices and processes train to the weights of one; a process that dies ends the run, which can go on.

Each run is in processes of its own, since an interrupted collective spoils TensorFlow for the rest of a process.
"""

import pathlib
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_mlp.training import distribution, recipes, resume

SCRIPT = pathlib.Path(__file__).with_name("one_of_several.py")
ROOT = SCRIPT.parents[2]
SECONDS = 400  # that a run may take before its processes are ended


@pytest.fixture
def start(monkeypatch):
    """Start a process; whatever happens, none is left behind."""
    processes = []

    def start(words, backend="tensorflow"):
        monkeypatch.setenv("KERAS_BACKEND", backend)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(subprocess.Popen([sys.executable, *map(str, words)], **pipes))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def trained(start, tmp_path, prepared, digits):
    """Train the small model of `one_of_several.py`; the final weights."""
    digits()  # which prepares them for all processes

    def trained(strategy="none", processes=1, norm="none", backend="tensorflow", teacher="none", dataset="digits"):
        folder = tmp_path / f"{strategy}-{backend}"
        addresses = ",".join(free_addresses(processes)) if processes > 1 else ""
        options = [folder, prepared, norm, teacher, dataset]
        words = [[SCRIPT, strategy, addresses, rank, *options] for rank in range(processes)]
        for process in [start(word, backend) for word in words]:
            out, err = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, out + err
        return [np.asarray(weight) for weight in keras.models.load_model(folder / "last.keras").weights]

    return trained


def free_addresses(count):
    """Of this machine, at ports that are free."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]
    for free in sockets:
        free.close()
    return addresses


def same(one, other, tolerance=1e-5):
    """Sums of float32 in another order: after 22 steps weights differ by some 1e-7, and a hundredfold is allowed."""
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@pytest.mark.slow
def test_two_devices_of_a_process_train_to_the_weights_of_one(trained):
    """Clipping, mixing, moving averages and batch norm's statistics are those of the whole batch."""
    same(trained(norm="batch"), trained("mirrored", norm="batch"))


@pytest.mark.slow
def test_two_devices_learn_from_videos_as_one(trained):
    same(trained(dataset="moving_digits"), trained("mirrored", dataset="moving_digits"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_on_two_devices_a_student_comes_to_the_weights_of_one(trained, kind):
    """A teacher of another size is asked on each; batch norm's statistics are those of the whole batch."""
    options = dict(norm="batch", teacher=kind)
    same(trained(**options), trained("mirrored", **options))


@pytest.mark.slow
def test_two_processes_of_tensorflow_train_to_the_weights_of_one(trained):
    same(trained(), trained("multi_worker", 2))


@pytest.mark.slow
def test_two_processes_of_jax_train_to_the_weights_of_one(trained):
    """Batch norm takes its statistics over both."""
    alone, both = (trained("data_parallel", count, "batch", "jax") for count in (1, 2))
    same(alone, both)


@pytest.mark.slow
def test_in_processes_of_tensorflow_batch_norm_is_local(trained):
    """Its statistics are over half a batch, so the weights come out near those of one process, but not the same."""
    alone, both = trained(norm="batch"), trained("multi_worker", 2, "batch")
    same(alone, both, 0.1)
    with pytest.raises(AssertionError):
        same(alone, both, 1e-4)


# Dying and going on

TRAIN = (
    "train",
    "--model=mlp_mixer",
    "--config=patch_size=2,dim=16,depth=1",
    "--dataset=digits",
    "--image_size=8",
    "--batch_size=32",
    "--epochs=6",
    "--precision=float32",
    "--checkpoint_seconds=0",
)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others_and_the_run_goes_on(start, digits, prepared, tmp_path, killed):
    """On TensorFlow. JAX ends the others by its own hand, as docs/scaling.md says."""
    digits()
    folder = tmp_path / "run"

    def both():
        addresses = ",".join(free_addresses(2))
        words = [ROOT / "keras_mlp_command.py", *TRAIN, f"--output={folder}"]
        words += [f"--data_dir={prepared}", "--strategy=multi_worker", f"--addresses={addresses}"]
        return [start([*words, f"--rank={rank}"]) for rank in range(2)]

    processes, deadline = both(), time.monotonic() + SECONDS
    while len(list((folder / "checkpoints").glob(resume.STATES))) < 2:
        assert time.monotonic() < deadline and all(process.poll() is None for process in processes)
        time.sleep(0.05)
    processes[killed].send_signal(signal.SIGKILL)
    began = time.monotonic()
    _, err = processes[1 - killed].communicate(timeout=60)
    print(f"noticed after {time.monotonic() - began:.1f} s: {err.strip()}")
    assert processes[1 - killed].returncode == 1
    assert len(err.splitlines()) == 1 and "Another of the 2 processes has ended" in err and "goes on" in err

    processes = both()
    outputs = [process.communicate(timeout=SECONDS) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "going on in epoch" in outputs[0][0] and "epoch" not in outputs[1][0]
    assert (folder / "report.md").exists()


# What is refused


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("several",), "one of none, mirrored"),
        (("mirrored", ["a:1"]), "not with mirrored"),
        (("multi_worker", ["a:1", "b:1"]), "its own rank, here of 0–1"),
        (("multi_worker", ["a:1", "b:1"], 2), "rank=2"),
        (("multi_worker",), "--addresses=host0:2222,host1:2222 --rank=0; or set TF_CONFIG"),
        (("data_parallel",), "KERAS_BACKEND=jax"),
    ],
)
def test_what_cannot_be_joined_is_refused(monkeypatch, arguments, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=message):
        distribution.connect(*arguments)


def test_where_there_is_no_tpu_one_line_says_so(start):
    code = "from keras_mlp.training import distribution; distribution.connect('tpu')"
    _, err = start(["-c", code]).communicate(timeout=SECONDS)
    assert "RuntimeError: No TPU is found as 'local'" in err.splitlines()[-1] and "--tpu=" in err.splitlines()[-1]


def test_what_devices_cannot_share_is_refused():
    class Two(distribution.Alone):
        replicas, may_compile = 2, False

    Two().check(64, "auto")
    with pytest.raises(ValueError, match="multiple of 2"):
        Two().check(63, "auto")
    with pytest.raises(ValueError, match="jit_compile"):
        Two().check(64, True)


def test_the_rate_is_the_one_for_the_batch_of_all(plain):
    """However many share it: `fit` knows no other batch than the global one."""
    assert recipes.at_batch_size(plain, 4 * plain.batch_size).learning_rate == pytest.approx(4 * plain.learning_rate)
