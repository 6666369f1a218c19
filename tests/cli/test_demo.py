"""The demo, as a user runs it."""

import dataclasses
import re
import subprocess

import keras
import pytest

from keras_mlp.tasks import scenes
from keras_mlp.tasks.detection import recipes

FILES = {
    *("mixer.keras", "mixer_float32.tflite", "mixer_float16.tflite", "mixer_dynamic_int8.tflite", "mixer_int8.tflite"),
    *("report.md", "curves.png", "token_mixing.png", "predictions.png", "classes.txt"),
    *("log.csv", "recipe.json", "data.json"),
}


@pytest.mark.slow
def test_demo(launcher, tmp_path):
    """A model of 97 % test accuracy, four files whose outputs agree with it, and a report."""
    output = tmp_path / "demo"
    output.mkdir()
    (output / "mine.txt").write_text("stays")
    (output / "report.md").write_text("is replaced")
    words = [*launcher, "demo", f"--output={output}", f"--data_dir={tmp_path / 'data'}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    assert {path.name for path in output.iterdir()} == FILES | {"mine.txt"}

    report = (output / "report.md").read_text()
    rows = [line for line in report.splitlines() if line.startswith("| `mixer_")]
    assert len(rows) == 4
    for row in rows:
        size, accuracy, agreement, difference, *latencies = re.findall(r"[\d.]+(?:e[-+]\d+)?", row.split("`")[2])
        assert float(accuracy) >= 96 and float(agreement) >= 98 and float(size) > 50
        assert float(difference) < 1 and all(float(latency) > 0 for latency in latencies)
    (accuracy,) = re.findall(r"\| Test accuracy \| ([\d.]+) % with Keras", report)
    assert float(accuracy) >= 97
    for picture in re.findall(r"!\[.+\]\((.+)\)", report):
        assert min(keras.utils.load_img(output / picture).size) > 300


SEGMENTATION_FILES = {
    *(f"segmenter{ending}" for ending in (".keras", "_float32.tflite", "_dynamic_int8.tflite", "_int8.tflite")),
    *("report.md", "curves.png", "scenes.png", "classes.txt", "log.csv", "recipe.json", "data.json"),
}


@pytest.mark.slow
def test_demo_of_segmentation(launcher, tmp_path):
    """A model of a mean IoU of 0.80, three files of which the int8 one is within 0.02 of that, and a report."""
    output = tmp_path / "demo"
    done = subprocess.run(
        [*launcher, "demo", "--task=segmentation", f"--output={output}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    assert {path.name for path in output.iterdir()} == SEGMENTATION_FILES

    report = (output / "report.md").read_text()
    (keras_score,) = re.findall(r"\| Mean IoU \| ([\d.]+) %", report)
    assert float(keras_score) >= 80
    rows = [line for line in report.splitlines() if line.startswith("| `segmenter_")]
    assert len(rows) == 3
    for row in rows:
        size, score, agreement, *latencies = re.findall(r"[\d.]+", row.split("`")[2])
        assert float(score) >= float(keras_score) - 2 and float(agreement) >= 97 and float(size) > 50
        assert all(float(latency) > 0 for latency in latencies)
    for picture in re.findall(r"!\[.+\]\((.+)\)", report):
        assert min(keras.utils.load_img(output / picture).size) > 200


DETECTION_FILES = {
    *(f"detector{ending}" for ending in (".keras", "_float32.tflite", "_dynamic_int8.tflite", "_int8.tflite")),
    *("report.md", "curves.png", "scenes.png", "classes.txt", "log.csv", "recipe.json", "data.json"),
}


@pytest.mark.slow
@pytest.mark.huge
def test_demo_of_detection(launcher, tmp_path):
    """A model of AP 0.60 and AP50 0.90, three files, of which that in float32 detects as it does, and a report."""
    output = tmp_path / "demo"
    done = subprocess.run([*launcher, "demo", "--task=detection", f"--output={output}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    keras_score, rows = detection_report(output)
    assert keras_score >= 60
    for name, (score, easy, same) in rows.items():
        lost = 0.5 if name == "float32" else 3
        assert score >= keras_score - lost and easy >= 90 and same >= 97


@pytest.mark.slow
def test_demo_of_detection_tells_what_a_model_that_learnt_little_has_missed(command, tmp_path, monkeypatch):
    short, draw = dataclasses.replace(recipes.scenes(), epochs=1, warmup_epochs=0), scenes.draw
    monkeypatch.setattr(recipes, "scenes", lambda: short)
    monkeypatch.setattr(scenes, "draw", lambda split, count, *rest: draw(split, 160 if split == "train" else 24, *rest))
    answer = command("demo", "--task=detection", f"--output={tmp_path}")
    assert answer.code == 1 and "less than the 0.90 and AP is" in answer.err
    keras_score, rows = detection_report(tmp_path)
    assert keras_score < 60 and rows["float32"][0] == pytest.approx(keras_score, abs=0.5)


def detection_report(output):
    """AP of the model; and AP, AP50 and the share of detections like the model's of each file. All are percent."""
    assert {path.name for path in output.iterdir()} == DETECTION_FILES
    report = (output / "report.md").read_text()
    (keras_score,) = re.findall(r"\| AP \| ([\d.]+) %", report)
    rows = re.findall(r"\| `detector_(\w+)\.tflite` \| [\d.]+ kB \| ([\d.]+) % \| ([\d.]+) % \| ([\d.]+) % \|", report)
    assert len(rows) == 3
    for picture in re.findall(r"!\[.+\]\((.+)\)", report):
        assert min(keras.utils.load_img(output / picture).size) > 200
    return float(keras_score), {name: tuple(map(float, scores)) for name, *scores in rows}
