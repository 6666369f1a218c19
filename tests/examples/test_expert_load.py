"""The example of the experts' load runs as it is."""

import pathlib
import subprocess
import sys

import pytest

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "expert_load.py"


@pytest.mark.slow
def test_the_experts_load_is_printed_and_drawn(tmp_path):
    result = subprocess.run([sys.executable, EXAMPLE, "1"], cwd=tmp_path, capture_output=True, text=True, timeout=1200)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("with the losses: ") and lines[5].startswith("without: ")
    assert all("used" in line and "without room" in line for line in lines[1:5] + lines[6:])
    assert (tmp_path / "expert_load.png").stat().st_size > 10_000
