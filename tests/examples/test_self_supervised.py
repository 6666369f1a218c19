"""The example of learning without labels runs as it is."""

import pathlib
import re
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.slow
def test_learnt_features_are_better_than_random_ones(tmp_path):
    found = subprocess.run(
        [sys.executable, EXAMPLES / "self_supervised.py"], cwd=tmp_path, capture_output=True, text=True, timeout=1800
    )
    assert found.returncode == 0, found.stderr
    random, learnt = map(float, re.findall(r"features: top-1 ([\d.]+)%", found.stdout))
    assert learnt > random + 3
    assert (tmp_path / "self_supervised" / "features" / "last.keras").exists()
