"""Checkpoints of the Hugging Face Hub, fetched by its own client from a server that speaks its routes."""

import json
import os
import subprocess
import sys

import golden
import hub_server
import keras
import numpy as np
import pytest
from checkpoints.torch_writer import Call, Name, save_zip
from huggingface_hub import constants
from safetensors.numpy import save

import keras_mlp
from keras_mlp.checkpoints import download, hub, readers
from keras_mlp.checkpoints.layouts import CheckpointError
from keras_mlp.cli import main

CASE = golden.load("mlp_mixer/tiny.json")
TENSORS = {name: golden.tensor(name, shape) for name, shape in CASE.tensors.items()}
NAMES = [f"kind {i}" for i in range(10)]
CONFIG = {
    "architecture": "mixer_b16_224",
    "num_classes": 10,
    "label_names": NAMES,
    "label_descriptions": {"kind 3": "the third, a cat"},
    "pretrained_cfg": {
        "input_size": [3, 32, 32],
        "mean": [0.5, 0.25, 0.5],
        "std": [0.5, 0.5, 0.25],
        "crop_pct": 0.9,
        "crop_mode": "squash",
        "interpolation": "bilinear",
    },
}
PREPROCESSING = dict(mean=(0.5, 0.25, 0.5), std=(0.5, 0.5, 0.25), crop_pct=0.9, interpolation="bilinear", squash=True)


@pytest.fixture
def hub_(tmp_path, monkeypatch):
    """A hub with one repository, "owner/mixer", as timm writes them."""
    with hub_server.running() as server, hub_server.client_of(server, tmp_path / "hub", monkeypatch):
        server.repositories["owner/mixer"] = {
            "model.safetensors": save(TENSORS),
            "config.json": json.dumps(CONFIG).encode(),
        }
        yield server


def mixer(weights, **options):
    builder, arguments = golden.arguments(CASE)
    return builder(**arguments | {"weights": weights, "classes": 10, "classifier_activation": None} | options)


def distance(model):
    found = model.predict(golden.image(CASE.input_shape), verbose=0)
    return np.abs(found - CASE.logits).max() / CASE.logits.std()


def test_a_model_is_built_with_weights_of_the_hub(hub_):
    assert distance(mixer("hf://owner/mixer")) < 1e-5


def test_a_checkpoint_of_the_hub_is_loaded_into_a_model(hub_):
    model = mixer(None)
    report = keras_mlp.load_checkpoint(model, "hf://owner/mixer")
    assert distance(model) < 1e-5
    assert report.source == "hf://owner/mixer" and report.layout == "mlp_mixer/timm"


def test_its_config_tells_classes_names_and_preprocessing(hub_):
    found = hub.fetch("hf://owner/mixer")
    assert (found.classes, found.input_size, found.architecture) == (10, (32, 32), "mixer_b16_224")
    assert found.labels[3] == ("kind 3", "the third, a cat") and found.labels[9] == ("kind 9", "kind 9")
    assert found.preprocessing == keras_mlp.cards.Preprocessing(**PREPROCESSING)
    # ... and a model of it normalises so.
    model = mixer("hf://owner/mixer", include_preprocessing=True)
    mean, std = (np.asarray(PREPROCESSING[name]) for name in ("mean", "std"))
    pixels = (golden.image(CASE.input_shape) * std + mean) * 255
    np.testing.assert_allclose(model.predict(pixels, verbose=0), CASE.logits, atol=1e-4)


def test_another_number_of_classes_is_refused_unless_the_head_is_new(hub_):
    with pytest.raises(ValueError, match=r"`classes` should be 10\. Received: classes=7.*new_head"):
        mixer("hf://owner/mixer", classes=7)
    assert mixer("hf://owner/mixer", classes=7, new_head=True).output_shape == (None, 7)


def test_a_grid_that_is_no_square_is_told_by_the_config(hub_):
    wide = golden.load("mlp_mixer/tiny_rect_stemnorm.json")  # of 48 by 32 pixels
    files = {"model.safetensors": save({name: golden.tensor(name, shape) for name, shape in wide.tensors.items()})}
    config = CONFIG | {"pretrained_cfg": {"input_size": [3, *wide.input_shape[1:3]]}}
    hub_.repositories["owner/wide"] = files | {"config.json": json.dumps(config).encode()}
    builder, arguments = golden.arguments(wide)
    model = builder(**arguments | {"input_shape": (64, 64, 3), "classes": 10, "weights": "hf://owner/wide"})
    same = builder(**arguments | {"input_shape": (64, 64, 3), "classes": 10, "weights": None})
    tensors = readers.read(hub.fetch("hf://owner/wide").path).tensors
    keras_mlp.load_checkpoint(same, tensors, input_size=tuple(wide.input_shape[1:3]))
    for ours, theirs in zip(model.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_repository_without_a_config_loads_too(hub_, monkeypatch):
    del hub_.repositories["owner/mixer"]["config.json"]
    assert distance(mixer("hf://owner/mixer")) < 1e-5
    assert hub.fetch("hf://owner/mixer").preprocessing is None
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # ... and offline, where the hub cannot be asked again
    assert hub.fetch("hf://owner/mixer").preprocessing is None


def test_what_is_in_the_cache_is_not_fetched_again_and_serves_offline(hub_, monkeypatch):
    hub.fetch("hf://owner/mixer")
    hub_.log.clear()
    hub.fetch("hf://owner/mixer")
    assert {method for method, _ in hub_.log} == {"HEAD"}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub_.log.clear()
    assert distance(mixer("hf://owner/mixer")) < 1e-5
    assert not hub_.log


def test_revisions_and_files_can_be_named(hub_):
    other = {name: -array for name, array in TENSORS.items()}
    hub_.revisions["owner/mixer"] = {
        "v2": {"model.safetensors": save(other), "sub/mixer.safetensors": save(TENSORS)},
        "refs/pr/3": {"model.safetensors": save(other)},
        "my/branch": {"model.safetensors": save(other)},
    }
    for address in ("hf://owner/mixer@v2", "hf://owner/mixer@refs/pr/3", "hf://owner/mixer@my%2Fbranch"):
        tensors = readers.read(hub.fetch(address).path).tensors
        np.testing.assert_array_equal(tensors["head.bias"], other["head.bias"])
    assert distance(mixer("hf://owner/mixer@v2/sub/mixer.safetensors")) < 1e-5


def test_a_private_repository_is_opened_with_a_token(hub_, monkeypatch):
    hub_.private.add("owner/mixer")
    with pytest.raises(download.DownloadError, match="no repository owner/mixer .* private.*HF_TOKEN"):
        hub.fetch("hf://owner/mixer")
    monkeypatch.setenv("HF_TOKEN", hub_.token)
    assert hub.fetch("hf://owner/mixer").classes == 10


def test_pytorch_files_are_read_and_no_pickle_is_executed(hub_, tmp_path):
    save_zip(TENSORS, tmp_path / "good.bin")
    hub_.repositories["owner/old"] = {"pytorch_model.bin": (tmp_path / "good.bin").read_bytes()}
    assert distance(mixer("hf://owner/old")) < 1e-5
    save_zip({"a": Call(Name("os", "system"), ("touch pwned",))}, tmp_path / "bad.bin")
    hub_.repositories["owner/evil"] = {"pytorch_model.bin": (tmp_path / "bad.bin").read_bytes()}
    with pytest.raises(ValueError, match="os.system"):
        mixer("hf://owner/evil")
    assert not os.path.exists("pwned")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://owner/none", "no repository owner/none on the hub http.*See that the name is right"),
        ("hf://owner/gated", r"its owner grants access. Ask for it at http.*/owner/gated, then log in"),
        ("hf://owner/mixer@v9", "owner/mixer has no branch, tag or commit 'v9'"),
        ("hf://owner/mixer/no.pth", r"has no no.pth. It holds config.json, model.safetensors"),
        ("hf://owner/texts", r"has no model.safetensors or pytorch_model.bin. It holds README.md"),
        ("hf://mixer", "An address on the hub is hf://owner/name"),
        ("hf://owner/mixer@", "An address on the hub is"),
    ],
)
def test_what_the_hub_has_not_is_told(hub_, address, message):
    hub_.repositories |= {"owner/gated": {}, "owner/texts": {"README.md": b"# Text"}}
    hub_.gated.add("owner/gated")
    with pytest.raises(ValueError, match=message):
        mixer(address)


def test_a_hub_that_cannot_be_reached_is_told(hub_, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(download.DownloadError, match="not in the hub's cache.*HF_HUB_OFFLINE.*HF_HOME.*HF_ENDPOINT"):
        mixer("hf://owner/mixer")
    assert not hub_.log


def test_tensors_of_no_layout_of_the_family_are_told_with_the_address(hub_):
    hub_.repositories["owner/bert"] = {"model.safetensors": save({"bert.encoder.weight": np.ones((2, 2), "float32")})}
    with pytest.raises(CheckpointError, match="follow none of the layouts known for this model"):
        mixer("hf://owner/bert")
    hub_.repositories["owner/half"] = {"model.safetensors": save(dict(list(TENSORS.items())[:9]))}
    with pytest.raises(CheckpointError, match=r"(?s)The checkpoint hf://owner/half .*Missing"):
        keras_mlp.load_checkpoint(mixer(None), "hf://owner/half")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "no JSON object"),
        ({"num_classes": "ten"}, "num_classes must be whole numbers above 0"),
        ({"num_classes": 3, "label_names": ["a", "b"]}, "a name for each of its 3 classes"),
        ({"num_classes": 3, "label_names": {"4": "a"}}, "has a class 4, of 3"),
        ({"mean": [0, 0], "std": [0, 1]}, "std above 0"),
        ({"mean": [0], "std": [1], "crop_pct": 7}, "crop_pct must be above 0 and at most 1"),
    ],
)
def test_a_damaged_config_is_told(hub_, config, message):
    hub_.repositories["owner/mixer"]["config.json"] = json.dumps(config).encode()
    with pytest.raises(ValueError, match=rf"config.json cannot be read: .*{message}"):
        hub.fetch("hf://owner/mixer")


def test_a_way_of_resizing_that_is_not_known_here_is_told(hub_):
    config = {"mean": [0], "std": [1], "interpolation": "lanczos", "crop_mode": "border"}
    hub_.repositories["owner/mixer"]["config.json"] = json.dumps(config).encode()
    with pytest.warns(UserWarning, match="'lanczos' and crop 'border'"):
        assert hub.fetch("hf://owner/mixer").preprocessing.interpolation == "bicubic"


def test_published_files_of_the_hub_come_from_its_mirror(hub_, cache, monkeypatch):
    weights = keras_mlp.model_card("sequencer2d_s").weights["imagenet_timm"]
    hub_.repositories["timm/sequencer2d_s.in1k"] = {"model.safetensors": save(TENSORS)}
    monkeypatch.setenv("HF_ENDPOINT", hub_.url + "/")
    assert download.fetch(weights, progress=False).read_bytes() == save(TENSORS)
    assert hub_.log[-1] == ("GET", "/timm/sequencer2d_s.in1k/resolve/main/model.safetensors")


def test_the_command_converts_by_its_environment_alone_and_predicts(hub_, tmp_path, monkeypatch, capsys):
    case = golden.load("mlp_mixer/mixer_s32_224.json")
    tensors = {name: golden.tensor(name, shape) for name, shape in case.tensors.items()}
    tensors |= {"head.weight": tensors["head.weight"][:10], "head.bias": 9.0 * (np.arange(10) == 3).astype("float32")}
    config = CONFIG | {"pretrained_cfg": CONFIG["pretrained_cfg"] | {"input_size": [3, 224, 224]}}
    files = {"model.safetensors": save(tensors), "config.json": json.dumps(config).encode()}
    hub_.repositories["owner/s32"] = files
    output = tmp_path / "mixer.safetensors"
    words = ["convert", "hf://owner/s32", "--model=mlp_mixer_s32", f"--output={output}"]
    environment = os.environ | {"HF_ENDPOINT": hub_.url, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-m", "keras_mlp", *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "hf://owner/s32: safetensors, layout mlp_mixer/timm" in done.stdout and "10 classes" in done.stdout
    assert readers.read(output).metadata["source"] == "hf://owner/s32"

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    picture = tmp_path / "grey.png"
    keras.utils.save_img(picture, np.full((40, 50, 3), 128.0), scale=False)
    assert main.main(["predict", "--model=mlp_mixer_s32", "--weights=hf://owner/s32", str(picture)]) == 0
    assert "the third, a cat" in capsys.readouterr().out
