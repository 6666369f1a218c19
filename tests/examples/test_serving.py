"""A SavedModel behind a real server on loopback, asked by the example's client."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp import export

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples" / "serving"
NAMES = ["fig", "olive", "plum"]


@pytest.mark.slow
def test_a_server_tells_the_classes_of_a_photo_by_name(tmp_path):
    model = keras_mlp.MLPMixer(patch_size=8, dim=16, depth=1, input_shape=(32, 32, 3), classes=3)
    random = np.random.default_rng(0)
    model.get_layer("head").set_weights([random.normal(size=(16, 3)), random.normal(size=3)])
    export.to_saved_model(model, tmp_path / "model", classes=NAMES)
    pixels = np.full((40, 40, 3), 90.0)
    keras.utils.save_img(tmp_path / "photo.png", pixels, scale=False)
    (tmp_path / "none.png").write_bytes(b"no image")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with open(tmp_path / "log", "w") as log:
        command = [sys.executable, EXAMPLES / "server.py", tmp_path / "model", port]
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(server, f"{url}/health")
        command = [sys.executable, EXAMPLES / "client.py", url]
        asked = subprocess.run([*command, tmp_path / "photo.png"], capture_output=True, text=True)
        wrong = subprocess.run([*command, tmp_path / "none.png"], capture_output=True, text=True)
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # the workers, too, which outlive a server that is told to end
        server.wait()
    assert asked.returncode == 0, asked.stderr + (tmp_path / "log").read_text()
    scores = np.asarray(model(np.full((1, 32, 32, 3), 90.0)))[0]
    best = np.argsort(-scores)
    assert asked.stdout.split() == [
        str(tmp_path / "photo.png"),
        *(word for i in best for word in (NAMES[i], f"{scores[i]:.3f}")),
    ]
    assert "HTTP Error 400" in wrong.stderr


def _wait(server, url):
    """Until the server says that it is well."""
    while server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, TimeoutError):
            pass
        time.sleep(0.2)
    raise AssertionError("the server has ended")
