"""The demo, as a user runs it."""

import re
import subprocess

import keras
import pytest

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
