"""`train`, `evaluate` and `export` with models of videos."""

import json
import shutil
import sys

import keras
import numpy as np
import pytest
from clips import write_frames

import keras_mlp
from keras_mlp.cli import datasets
from keras_mlp.training.data import videos

trains = pytest.mark.slow
"""What begins with a run of the command."""
SMALL = "--config=dims=(12,24),depths=(1,1),chunks=(4,4),mlp_ratios=(2,2)"
SHAPE = ["--frames=4", "--image_size=16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixteen videos of brightness that rises or falls, as folders of frames."""
    root = tmp_path_factory.mktemp("videos")
    random = np.random.default_rng(0)
    for name in ("falls", "rises"):
        for i in range(8):
            level = np.linspace(40, 200, 12)[:: 1 if name == "rises" else -1] + random.uniform(-20, 20)
            frames = np.zeros((12, 16, 24, 3)) + level[:, None, None, None]
            write_frames(root / name / f"{i}", frames.astype("uint8"))
    return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """The folder of a run of one epoch."""
    from keras_mlp.cli import main

    output = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "--model=morph_mlp_video", SMALL, *SHAPE, f"--dataset={folder}", f"--output={output}"]
    more = ["--epochs=1", "--warmup_epochs=0", "--batch_size=4", "--sampling=2", "--precision=float32"]
    assert main.main([*words, *more]) == 0
    return output


@trains
def test_a_run_tells_of_videos(run):
    recipe = json.loads((run / "recipe.json").read_text())
    assert (recipe["sampling"], recipe["frames"], recipe["repeated_augmentation"]) == ("2", 4, 2)
    assert (run / "classes.txt").read_text().split() == ["falls", "rises"]
    assert "12 videos to learn from" in (run / "report.md").read_text()


@trains
def test_evaluation_averages_the_views_and_tells_of_each_class(command, run, folder):
    words = ["evaluate", f"--model={run / 'best.keras'}", f"--dataset={folder}", "--split=all", "--by_class"]
    (one,) = command(*words, "--batch_size=5").rows
    (several,) = command(*words, "--views=3x2", "--batch_size=12").rows
    assert one["videos"] == several["videos"] == 16
    assert set(several["by_class"]) == {"falls", "rises"}
    assert several["top1"] == pytest.approx(np.mean(list(several["by_class"].values())))
    model = keras.models.load_model(run / "best.keras", compile=False)
    looks = videos.VideoPreprocessing(stride=2, clips=3, crops=2)
    data = videos.load(folder, "all", frames=4, image_size=16, batch_size=16, preprocessing=looks, views=True)
    ((clips, labels),) = data.dataset.as_numpy_iterator()
    logits = np.log(model.predict(clips.reshape(-1, *clips.shape[2:]), verbose=0)).reshape(16, 6, 2).mean(1)
    assert several["top1"] == (logits.argmax(-1) == labels.argmax(-1)).mean()


@trains
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_video_model_is_exported_and_tells_which_frames_it_takes(command, run, folder, tmp_path, precision):
    """With a head that decides: one of a single epoch hardly does."""
    model, file, random = (
        keras.models.load_model(run / "best.keras"),
        tmp_path / "file.tflite",
        np.random.default_rng(0),
    )
    model.get_layer("head").set_weights([random.normal(size=(24, 2)), np.zeros(2)])
    model.save(tmp_path / "model.keras")
    for name in ("recipe.json", "classes.txt"):
        shutil.copy(run / name, tmp_path)
    words = ["export", f"--model={tmp_path / 'model.keras'}", f"--output={file}", f"--precision={precision}"]
    result = command(*words, f"--representative={folder}", "--samples=8")
    assert result.code == 0 and "compared with the model on 8 representative images" in result.out, result.err
    looks = ["predict", f"--sampling={'2' if precision == 'int8' else 'segments'}", folder / "rises" / "0"]
    (by_file,) = command(*looks, f"--model={file}").rows
    (by_model,) = command(*looks, f"--model={tmp_path / 'model.keras'}").rows
    scores = [sorted((row["id"], row["score"]) for row in one["predictions"]) for one in (by_file, by_model)]
    np.testing.assert_allclose(
        *(np.array(rows, float) for rows in scores), atol=1e-3 if precision == "float32" else 0.1
    )


@trains
def test_a_file_remembers_the_sampling_of_its_training(run):
    from keras_mlp.cli import models

    assert models.preprocessing(str(run / "best.keras")).stride == 2


@trains
def test_training_begins_with_an_image_model(command, folder, tmp_path):
    image = keras_mlp.MorphMLP(
        dims=(12, 24), depths=(1, 1), chunks=(4, 4), mlp_ratios=(2, 2), input_shape=(16, 16, 3), classes=7
    )
    image.save(tmp_path / "image.keras")
    words = ["train", "--model=morph_mlp_video", SMALL, *SHAPE, f"--dataset={folder}", f"--output={tmp_path / 'run'}"]
    more = ["--epochs=1", "--warmup_epochs=0", "--batch_size=4", "--learning_rate=1e-9", "--precision=float32"]
    result = command(*words, *more, f"--inflate={tmp_path / 'image.keras'}")
    assert result.code == 0 and f"begun with {tmp_path / 'image.keras'}: " in result.out, result.err
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["source"].startswith("common practice") and recipe["sampling"] == "4"
    model = keras.models.load_model(tmp_path / "run" / "last.keras", compile=False)
    found, given = (one.get_layer("stages_1_0_channel_mixing_fc1").get_weights()[0] for one in (model, image))
    np.testing.assert_allclose(found, given, atol=1e-5)


@pytest.mark.parametrize("flag", ["--frames=8", "--sampling=4", "--inflate=mvit_b16"])
def test_flags_of_videos_are_refused_for_models_of_images(command, tmp_path, flag):
    words = ["train", "--model=mlp_mixer_s16", "--dataset=digits", f"--output={tmp_path / 'run'}", flag]
    result = command(*words)
    assert result.code == 2 and f"{flag.partition('=')[0]} goes with a model of videos" in result.err


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["--inflate=nowhere.keras"], 1, "There is no file nowhere.keras"),
        (["--inflate=image.keras", "--weights=k400"], 2, "--inflate and --weights are both to begin with"),
    ],
)
def test_what_a_run_cannot_begin_with_is_refused_before_data_are_sought(command, tmp_path, words, code, said):
    train = ["train", "--model=morph_mlp_video", "--dataset=nowhere/", f"--output={tmp_path / 'run'}"]
    result = command(*train, *words)
    assert result.code == code and said in result.err


@pytest.mark.parametrize("look, kind", [(datasets.check_videos, "videos"), (datasets.check, "images")])
def test_a_look_at_the_data_shows_a_terminal_how_far_it_is(folder, tmp_path, capsys, monkeypatch, look, kind):
    for name in ("dark", "light"):
        write_frames(tmp_path / name, np.zeros((2, 8, 8, 3)))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    look(str(folder if kind == "videos" else tmp_path), ["all"], None)
    assert "Looking" in capsys.readouterr().err
