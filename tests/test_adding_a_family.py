"""A family is one file, the line that imports it, and one folder of tests, as README says: one is made on the spot."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import golden
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent

FILE = '''
"""PatchNet: patches, each mixed in its channels. It was invented for a test."""

from keras_mlp.cards import Paper, Preprocessing, Weights
from keras_mlp.family import Family
from keras_mlp.layers import LayerNormalization, PatchEmbedding, channel_mlp, stochastic_depth

__all__ = ["PatchNet", "PatchNetS"]

family = Family(
    "patch_net",
    title="PatchNet",
    paper=Paper("Patches", "A. N. Author", 2026, "https://arxiv.org/abs/2601.00000"),
    preprocessing=Preprocessing(),
)


@family.builder
def PatchNet(x, dim=64, depth=2, *, drop_path_rate=0.0, dropout_rate=0.0):
    """PatchNet of any size.

    Args:
        dim: width of the tokens.
        depth: number of blocks.
        drop_path_rate: stochastic depth, the same for all blocks.
        dropout_rate: dropout after each linear layer of the MLPs.
    """
    x = PatchEmbedding(dim, 4, name="stem")(x)
    for i in range(depth):
        y = LayerNormalization(epsilon=1e-6, name=f"blocks_{i}_norm")(x)
        y = channel_mlp(y, 2 * dim, "relu", f"blocks_{i}_mlp", dropout_rate)
        x = x + stochastic_depth(y, drop_path_rate, name=f"blocks_{i}_drop_path")
    return LayerNormalization(epsilon=1e-6, name="norm")(x)


PatchNetS = family.variant(
    "PatchNetS", "patch_net_s", title="PatchNet-S", depth=1, parameters=84_968, macs=61_078_016
)

family.layout(
    "authors",
    convention="torch",
    names=(
        ("embed", "stem"),
        ("layers.{}.norm", "blocks_{}_norm"),
        ("layers.{}.mlp.0", "blocks_{}_mlp_fc1"),
        ("layers.{}.mlp.2", "blocks_{}_mlp_fc2"),
        ("norm", "norm"),
        ("head", "head"),
    ),
)
family.publish(
    Weights(
        "patch_net_s", "imagenet1k", "https://example.org/patch_net_s.pth", "pth", "authors", "ImageNet-1k", 1000, "MIT"
    )
)
'''

REFERENCE = '''
"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {"patch_net": {"dim": 32}}
ANY_SIZE = True


def translate(case):
    return keras_mlp.PatchNet, dict(dim=case.config["width"], depth=case.config["layers"])
'''


def reference(state, x, depth):
    """PatchNet in NumPy, on tensors as PyTorch has them."""

    def dense(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 4, 4, width // 4, 4, channels).transpose(0, 1, 3, 5, 2, 4)
    kernel = state["embed.weight"]
    x = x.reshape(*x.shape[:3], -1) @ kernel.reshape(len(kernel), -1).T + state["embed.bias"]
    for i in range(depth):
        y = np.maximum(dense(norm(x, f"layers.{i}.norm"), f"layers.{i}.mlp.0"), 0)
        x = x + dense(y, f"layers.{i}.mlp.2")
    return dense(norm(x, "norm").mean((1, 2)), "head")


def case(variant, dim, depth, shape, classes):
    """A golden case, as the references of the other families wrote theirs."""
    shapes = {"embed.weight": [dim, 3, 4, 4], "embed.bias": [dim]}
    for i in range(depth):
        shapes |= {f"layers.{i}.norm.weight": [dim], f"layers.{i}.norm.bias": [dim]}
        shapes |= {f"layers.{i}.mlp.0.weight": [2 * dim, dim], f"layers.{i}.mlp.0.bias": [2 * dim]}
        shapes |= {f"layers.{i}.mlp.2.weight": [dim, 2 * dim], f"layers.{i}.mlp.2.bias": [dim]}
    shapes |= {"norm.weight": [dim], "norm.bias": [dim], "head.weight": [classes, dim], "head.bias": [classes]}
    state = {name: golden.tensor(name, shape).astype("float64") for name, shape in shapes.items()}
    return {
        "family": "patch_net",
        "variant": variant,
        "config": {"width": dim, "layers": depth},
        "input_shape": shape,
        "input_seed": 0,
        "num_params": int(sum(np.prod(shape) for shape in shapes.values())),
        "layout": "authors",
        "tensors": shapes,
        "logits": reference(state, golden.image(shape).astype("float64"), depth).tolist(),
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of this one with a family more."""
    copy = tmp_path_factory.mktemp("project")
    for name in ("keras_mlp", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / "keras_mlp" / "families" / "patch_net.py").write_text(FILE.lstrip())
    with open(copy / "keras_mlp" / "__init__.py", "a") as file:
        file.write("\nfrom keras_mlp.families.patch_net import *\n")
    folder = copy / "tests" / "families" / "patch_net"
    folder.mkdir()
    (folder / "reference.py").write_text(REFERENCE.lstrip())
    (folder / "tiny.json").write_text(json.dumps(case("tiny", 16, 2, [2, 16, 24, 3], 10)))
    (folder / "patch_net_s.json").write_text(json.dumps(case("patch_net_s", 64, 1, [1, 224, 224, 3], 1000)))
    named = {"patch_net/patch_net_s": {"model": "patch_net_s", "builder": "PatchNetS"}}
    (folder / "_models.json").write_text(json.dumps(named))
    return copy


def run(project, *command):
    environment = os.environ | {"PYTHONPATH": str(project)}
    return subprocess.run(
        [sys.executable, *command], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def test_a_family_made_on_the_spot_passes_the_tests_of_all_families(project):
    """Parity, behaviour, sizes, the contract of builders, names, pyramids: without another line."""
    suites = ["families/test_parity", "families/test_behaviour", "families/test_sizes", "test_application", "test_zoo"]
    suites = [f"tests/{name}.py" for name in (*suites, "test_names", "test_pyramid", "test_family")]
    chosen = "patch_net or PatchNet or every_variant or every_golden or families_list"
    done = run(project, "-m", "pytest", "-q", "-o", "addopts=--import-mode=importlib", "-k", chosen, *suites, "-m", "")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 40, done.stdout


def test_its_models_are_public_and_in_the_lists(project):
    done = run(
        project, "-c", "import keras_mlp; print(keras_mlp.PatchNetS.__doc__); print(keras_mlp.list_models('patch*'))"
    )
    assert "PatchNet-S: `PatchNet` with depth=1." in done.stdout and "['patch_net_s']" in done.stdout, done.stderr


def test_a_typo_in_a_declaration_fails_where_it_is_written(project):
    path = project / "keras_mlp" / "families" / "patch_net.py"
    path.write_text(FILE.lstrip().replace("depth=1,", "dept=1,"))
    try:
        done = run(project, "-c", "import keras_mlp")
    finally:
        path.write_text(FILE.lstrip())
    assert done.returncode != 0 and "patch_net.py" in done.stderr and "dept" in done.stderr.splitlines()[-1]
