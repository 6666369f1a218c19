"""The example of the experts' load runs as it is."""

import os
import pathlib
import subprocess
import sys

import pytest

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "expert_load.py"


@pytest.mark.slow
def test_the_experts_load_is_printed_and_drawn(tmp_path):
    settings = dict(cwd=tmp_path, env=os.environ | {"TFDS_DATA_DIR": str(tmp_path / "data")})
    result = subprocess.run([sys.executable, EXAMPLE, "1"], **settings, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    _, found, numbers = result.stdout.partition("with the losses: ")  # tensorflow-datasets speaks, too
    lines = (found + numbers).splitlines()
    assert lines[5].startswith("without: ")
    assert all("used" in line and "without room" in line for line in lines[1:5] + lines[6:])
    assert (tmp_path / "expert_load.png").stat().st_size > 10_000
