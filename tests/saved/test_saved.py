"""What version 0.1.0 (commit 38a1c81) has saved still loads and goes on.

`models/` has the small configuration of every family, with dropout and stochastic depth. Each of its weights is filled
with one number that follows from the variable's path, so that a weight in a wrong place shows and the files are small.
`variables.json` lists the variables of these models in their order, by which the states of runs are numbered; seed
generators are without the number that counts them in a process. `run/` is a run of `keras-mlp train` that was stopped
after two epochs and a step of four; what resuming does not read was left out.
"""

import json
import pathlib
import re
import shutil
import zlib

import keras
import numpy as np
import pytest

from keras_mlp.cli import main
from keras_mlp.zoo import FAMILIES

SAVED = pathlib.Path(__file__).parent
VARIABLES = json.loads((SAVED / "variables.json").read_text())


@pytest.mark.parametrize("family", sorted(VARIABLES))
def test_models_load_with_every_weight_in_its_place_and_variables_in_their_order(family):
    model = keras.saving.load_model(SAVED / "models" / f"{family}.keras")
    paths = [re.sub(r"seed_generator_\d+", "seed_generator", variable.path) for variable in model.variables]
    assert paths == VARIABLES[family]
    for variable in model.weights:
        if "float" in variable.dtype:
            value = zlib.crc32(variable.path.encode()) % 1000 / 1000 + 0.5
            np.testing.assert_allclose(variable, value, rtol=1e-6, err_msg=variable.path)


def test_all_families_of_that_version_are_there():
    assert set(VARIABLES) <= set(FAMILIES)
    assert sorted(path.stem for path in (SAVED / "models").iterdir()) == sorted(VARIABLES)


def test_a_run_goes_on_where_it_was_stopped(tmp_path, capsys):
    shutil.copytree(SAVED / "run", tmp_path / "run")
    before = (tmp_path / "run" / "log.csv").read_text()
    command = "train --model=mlp_mixer --config=patch_size=2,dim=8,depth=1 --dataset=digits --image_size=8 --epochs=4"
    options = "--batch_size=128 --precision=float32 --change=ema_decay=0.9,dropout_rate=0.1"
    folders = [f"--output={tmp_path / 'run'}", f"--data_dir={tmp_path / 'data'}"]
    assert main.main([*command.split(), *options.split(), *folders]) == 0, capsys.readouterr().err
    after = (tmp_path / "run" / "log.csv").read_text()
    assert after.startswith(before)
    assert [line.partition(",")[0] for line in after.splitlines()] == ["epoch", "0", "1", "2", "3"]
