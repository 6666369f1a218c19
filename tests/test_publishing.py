"""Models put on the Hugging Face Hub, by its own client on a server that speaks its routes."""

import csv
import json
import shutil

import hub_server
import keras
import numpy as np
import pytest
from huggingface_hub import ModelCard

import keras_mlp
from keras_mlp import publishing
from keras_mlp.checkpoints import hub, readers
from keras_mlp.cli import main

CLASSES = ["rose", "tulip", "a|b"]


@pytest.fixture
def hub_(tmp_path, monkeypatch):
    """A hub that the user is logged into."""
    with hub_server.running() as server, hub_server.client_of(server, tmp_path / "hub", monkeypatch):
        monkeypatch.setenv("HF_TOKEN", server.token)
        yield server


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return mixer()


def mixer(**options):
    return keras_mlp.MLPMixer(patch_size=8, dim=16, depth=1, input_shape=(32, 32, 3), classes=3, **options)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "curves.png"
    keras.utils.save_img(path, np.zeros((8, 8, 3)))
    return path


def test_a_model_that_was_pushed_comes_back_by_its_address(hub_, model, picture):
    recipe = keras_mlp.cards.Recipe(source="here", epochs=7)
    url = keras_mlp.push_to_hub(
        model,
        "user/flowers",
        labels=CLASSES,
        scores={"top1": 0.915},
        training_data="Flowers 3",
        recipe=recipe,
        licence="Apache-2.0",
        picture=picture,
    )
    files = hub_.repositories["user/flowers"]
    assert url.startswith(f"{hub_.url}/user/flowers/commit/") and hub_.commits == ["Upload a model of keras_mlp"]
    assert hub_.objects  # the weights went by LFS
    assert set(files) == {*("model.keras", "model.safetensors", "config.json", "README.md", "picture.png")} | {
        ".gitattributes"
    }
    assert files["picture.png"] == picture.read_bytes()

    same = mixer(weights="hf://user/flowers")
    for ours, theirs in zip(same.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    found = hub.fetch("hf://user/flowers")
    assert found.classes == 3 and [name for _, name in found.labels] == CLASSES and found.input_size == (32, 32)
    np.testing.assert_allclose(found.preprocessing.mean, (0.5, 0.5, 0.5), rtol=1e-6)
    whole = keras.models.load_model(hub.fetch("hf://user/flowers/model.keras").path)
    image = np.full((1, 32, 32, 3), 99.0, "float32")
    np.testing.assert_array_equal(whole.predict(image, verbose=0), model.predict(image, verbose=0))

    card = ModelCard(files["README.md"].decode())  # the hub's own reader
    assert card.data.license == "apache-2.0" and card.data.pipeline_tag == "image-classification"
    (result,) = card.data.eval_results
    assert (result.metric_value, result.dataset_name) == (0.915, "Flowers 3")
    for told in ("| top-1 accuracy | 0.915 |", "| epochs | 7 |", "![user/flowers](picture.png)", "Licence: Apache-2.0"):
        assert told in card.text


def test_the_command_pushes_a_run_with_what_it_tells(hub_, model, picture, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    model.save(run / "best.keras")
    (run / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    (run / "recipe.json").write_text(json.dumps({"epochs": 2, "dataset": "flowers", "patience": None}))
    shutil.copy(picture, run / "curves.png")
    with (run / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["epoch", "loss", "val_loss", "val_top1"], [0, 1.0, 1.0, 0.75], [1, 0.5, 2.0, 0.5]])
    assert main.main(["push", str(run), "user/run", "--licence=my own terms", "--private"]) == 0
    assert capsys.readouterr().out.startswith(f"{hub_.url}/user/run/commit/")
    assert "user/run" in hub_.private
    card = ModelCard(hub_.repositories["user/run"]["README.md"].decode())
    assert (card.data.license, card.data.license_name) == ("other", "my own terms")
    assert card.data.eval_results[0].metric_value == 0.75 and card.data.eval_results[0].dataset_name == "flowers"
    assert "| epochs | 2 |" in card.text and "patience" not in card.text and "picture.png" in card.text
    assert json.loads(hub_.repositories["user/run"]["config.json"])["label_names"] == CLASSES
    # ... and once more, into the repository that is there now.
    assert main.main(["push", str(run / "best.keras"), "user/run", "--message=Again"]) == 0
    assert hub_.commits[-1] == "Again"


@pytest.mark.parametrize(
    ("repository", "about", "message"),
    [
        ("flowers", {}, '`repository` must be "user/name"'),
        ("user/flowers", {"labels": ["a", "b"]}, "a name for each of the 3 classes. Received: 2"),
        ("user/flowers", {"labels": ["a", "b\nc", "d"]}, "without line breaks"),
        ("user/flowers", {"scores": {"top1": "high"}}, "`scores` must be numbers. Received: top1='high'"),
        ("user/flowers", {"picture": "none.png"}, "`picture` must be a PNG or JPEG file"),
        ("user/flowers", {"license": "mit"}, "A card tells labels, .*licence.* Received: license"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_anything_is_sent(hub_, model, repository, about, message):
    with pytest.raises(ValueError, match=message):
        keras_mlp.push_to_hub(model, repository, **about)
    assert not hub_.log


def test_a_hub_that_refuses_is_told(hub_, model, monkeypatch):
    hub_.refused = 403
    with pytest.raises(publishing.PushError, match=r"could not be put into user/flowers .*403.*hf auth login"):
        keras_mlp.push_to_hub(model, "user/flowers")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(publishing.PushError, match="HF_TOKEN"):
        keras_mlp.push_to_hub(model, "user/flowers")


def test_the_weights_that_were_pushed_are_by_our_names(hub_, model):
    keras_mlp.push_to_hub(model, "user/flowers", labels=CLASSES)
    assert "head/kernel" in readers.read(hub.fetch("hf://user/flowers").path).tensors
