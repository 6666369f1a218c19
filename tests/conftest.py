"""Settings of all tests: no chatter, no GPU, the global dtype policy as it was."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# As the command and the benchmarks set it: the processes of one test must round alike, whichever of them started it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import pytest

gc.freeze()  # what TensorFlow's import made, hundreds of thousands of objects, is not looked through again and again


@pytest.fixture(autouse=True, scope="module")
def kept_objects():
    """What a file of tests leaves behind, such as shared models, is not looked through by those that follow.

    Keras collects garbage itself for each layer that it quantises: late in a run that took a second each time.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_policy():
    """Tests may set the global dtype policy; each starts from float32."""
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def flowers():
    """The classifier of `flowers.py`; tests leave it as it is."""
    import flowers

    return flowers.model()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder for published weights."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("KERAS_MLP_MIRROR", raising=False)
    return tmp_path / "keras" / "keras_mlp"
