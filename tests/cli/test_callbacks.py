"""`train --callback`: Keras callbacks by name, those of real trackers among them."""

import pathlib
import re
import shutil

import mlflow
import pytest
import wandb

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
TRAIN = (
    "train",
    "--model=mlp_mixer",
    "--config=patch_size=4,dim=8,depth=1",
    "--dataset=digits",
    "--image_size=8",
    "--precision=float32",
    "--batch_size=512",
    "--epochs=1",
)


@pytest.mark.slow
def test_trackers_log_a_run_where_they_are_told_to(command, tmp_path, monkeypatch):
    """Weights & Biases offline, MLflow into a file, and one of Keras' own."""
    shutil.copy(EXAMPLES / "trackers.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    outcome = command(
        *TRAIN,
        "--callback=trackers:wandb_logger(project=digits,mode=offline)",
        "--callback=trackers:mlflow_logger(experiment=digits,uri=file:runs_of_mlflow)",
        "--callback=keras.callbacks:CSVLogger(filename=mine.csv)",
        "--output=run",
    )
    wandb.finish()
    mlflow.end_run()
    assert outcome.code == 0, outcome.err
    logged = (tmp_path / "run" / "log.csv").read_text().splitlines()
    names, values = (line.split(",") for line in logged)
    expected = dict(zip(names, values, strict=True))
    assert (tmp_path / "mine.csv").read_text().startswith("epoch,")

    (run,) = mlflow.search_runs(experiment_names=["digits"], output_format="list")
    assert run.data.metrics["val_top1"] == pytest.approx(float(expected["val_top1"]))
    (records,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    values = re.findall(rb"epoch/val_top1[^0-9]{1,4}([0-9.]+)", records.read_bytes())
    assert values and [float(value) for value in values] == pytest.approx([float(expected["val_top1"])] * len(values))


@pytest.mark.parametrize(
    ("callback", "told"),
    [
        ("TerminateOnNaN", "--callback is MODULE:CLASS"),
        ("nowhere.at_all:Logger", "there is no module 'nowhere'"),
        ("keras.callbacks:Loger", "keras.callbacks has no Loger"),
        ("keras.callbacks:CSVLogger(mine.csv)", "--callback is a list of name=value"),
    ],
)
def test_a_wrong_name_is_told_before_anything_slow(command, callback, told, tmp_path):
    outcome = command(*TRAIN, f"--callback={callback}", f"--output={tmp_path / 'run'}")
    assert outcome.code == 2 and told in outcome.err and not (tmp_path / "run").exists()
