"""A data set that has to be downloaded, on a machine that reaches nothing."""

import socketserver
import threading

import pytest

from keras_mlp.training.data import load


@pytest.fixture
def dead_end(monkeypatch):
    """A proxy that hangs up on everybody; the list of who came."""
    came = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            came.append(self.client_address)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_address[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield came
        server.shutdown()


def test_it_is_given_up_after_a_few_attempts(dead_end, tmp_path):
    with pytest.raises(ConnectionError, match=r"'cifar10' could not be prepared in .*copy that folder"):
        load("cifar10", "train", image_size=32, batch_size=4, data_dir=tmp_path)
    assert 1 <= len(dead_end) <= 4  # of one file


def test_what_a_person_has_to_download_is_said(tmp_path):
    with pytest.raises(ValueError, match="'imagenet2012' cannot be prepared: "):
        load("imagenet2012", "train", image_size=32, batch_size=4, data_dir=tmp_path)
