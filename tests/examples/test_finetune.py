"""The examples run as they are."""

import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.slow
def test_finetune_runs_from_data_to_a_file_for_a_phone(tmp_path):
    result = subprocess.run(
        [sys.executable, EXAMPLES / "finetune.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr
    top1 = float(result.stdout.partition("'top1': ")[2].partition(",")[0].rstrip("}"))
    assert top1 > 0.95
    assert (tmp_path / "finetuned" / "model.tflite").stat().st_size > 10_000
