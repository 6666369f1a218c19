"""Golden cases: what each family's reference implementation answers, as data.

A case is one JSON file in its family's folder, `families/FAMILY/CASE.json`; `reference.py` there says how the
reference's constructor calls ours. A case names every tensor of the reference checkpoint with
its shape; the values are not stored but follow from the names (`tensor`), and
the input image follows from its shape (`image`). The stored logits were
computed in float64 by the reference implementation that the case names.

    case = load("mlp_mixer/mixer_b16_224.json")
    state = case.state_dict()            # {key: float32 array}, reference layout
    x = case.images()                    # float32, channels last
    want = case.logits                   # float64 (batch, classes)
    model = build(case)                  # ours, with the case's tensors loaded

`numpy.random.RandomState` is used because its streams
are frozen for ever.
"""

from __future__ import annotations

import functools
import importlib
import json
import pathlib
import re
import zlib

import numpy as np
import pytest

import keras_mlp
from keras_mlp.layers import layer_norm
from keras_mlp.zoo import FAMILIES

ROOT = pathlib.Path(__file__).parent / "families"


def tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 value of the checkpoint tensor `key`, in reference layout.

    A pure function of the name and the shape: normal draws scaled by
    1/sqrt(fan_in) for matrices and kernels (output axis first, as PyTorch
    stores them), 1 + 0.1 N for one-dimensional scales, 0.1 N for biases and
    running means, 0.5 + U(0, 1) for running variances.
    """
    rng = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF)
    shape = tuple(shape)
    if key.endswith("running_var"):
        value = 0.5 + rng.random_sample(shape)
    elif key.endswith("running_mean"):
        value = 0.1 * rng.standard_normal(shape)
    elif len(shape) >= 2:
        fan_in = int(np.prod(shape[1:]))
        value = rng.standard_normal(shape) / np.sqrt(max(fan_in, 1))
    elif key.endswith("bias"):
        value = 0.1 * rng.standard_normal(shape)
    else:
        value = 1.0 + 0.1 * rng.standard_normal(shape)
    return np.asarray(value, dtype=np.float32)


def image(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """A float32 standard-normal input, channels last: already 'preprocessed'."""
    return np.random.RandomState(seed).standard_normal(tuple(shape)).astype(np.float32)


class Case:
    """One golden case; every field of the JSON file is an attribute, and `key`, "FAMILY/CASE"."""

    def __init__(self, fields: dict):
        self.__dict__.update(fields)
        self.logits = np.asarray(fields["logits"], dtype=np.float64)

    def state_dict(self) -> dict[str, np.ndarray]:
        """The checkpoint: {name: float32 array}, after the case's `adjust` rules, if it has any."""
        state = {key: tensor(key, shape) for key, shape in self.tensors.items()}
        for pattern, multiply, add in self.__dict__.get("adjust", ()):
            for key in state:
                if re.fullmatch(pattern, key):
                    state[key] = (state[key].astype(np.float64) * multiply + add).astype(np.float32)
        return state

    def images(self) -> np.ndarray:
        return image(self.input_shape, self.input_seed)

    @property
    def parameters(self) -> int:
        """Trainable parameters that the output depends on: all of the reference's but those it never reads."""
        unused = self.__dict__.get("unused") or ()
        return self.num_params - sum(int(np.prod(self.tensors[key])) for key in unused)

    def error(self, logits) -> float:
        """Largest absolute difference, in standard deviations of the reference logits."""
        got = np.asarray(logits, dtype=np.float64)
        if got.shape != self.logits.shape:
            raise ValueError(f"logits are {got.shape}, the reference has {self.logits.shape}")
        if not np.isfinite(got).all():
            return float("inf")
        return float(np.abs(got - self.logits).max() / self.logits.std())


def load(path) -> Case:
    """Read one case; a relative path counts from the folder of the families."""
    path = pathlib.Path(path)
    if not path.is_absolute():
        path = ROOT / path
    case = Case(json.loads(path.read_text()))
    case.key = f"{path.parent.name}/{path.stem}"
    return case


def cases(family: str | None = None) -> list[pathlib.Path]:
    """All model cases, or one family's (cases of another `kind`, such as routers and losses, are left out)."""
    paths = sorted(p for p in ROOT.glob(f"{family or '*'}/*.json") if not p.name.startswith("_"))
    return [p for p in paths if "kind" not in json.loads(p.read_text())]


@functools.cache
def reference(folder: str):
    """What `reference.py` in the folder of a family says: `translate`, `DIGITS`, `ANY_SIZE` and what it has beside."""
    return importlib.import_module(f"{ROOT.name}.{folder}.reference")


REFERENCES = {path.parent.name: reference(path.parent.name) for path in sorted(ROOT.glob("*/reference.py"))}
"""All of them by the folder's name, which is what the reference's family is called."""


def family(case: Case) -> str:
    """Our family of a case; the reference's may be two of ours, one for images and one for videos."""
    builder, _ = REFERENCES[case.family].translate(case)
    return next(name for name, family in FAMILIES.items() if builder is family.builders[name])


def small(name: str) -> Case:
    """The case "tiny" of one of our families, or else the first of its small configurations."""
    return next(case for case in tiny() if family(case) == name)


@functools.cache
def tiny():
    """All small cases of models with a classifier, "tiny" first."""
    found = map(load, sorted(ROOT.glob("*/tiny*.json"), key=lambda path: path.stem))
    return [case for case in found if vars(case).get("kind") != "features"]


def chosen(cases, quick, *marks):
    """Parameters of a test: those of `cases` whose family, key or, for a string, name is in `quick` have no marks."""
    parameters = []
    for case in cases:
        names = {case} if isinstance(case, str) else {family(case), case.key}
        name = case if isinstance(case, str) else case.key
        parameters.append(pytest.param(case, id=name, marks=() if names & set(quick) else marks))
    return parameters


SLOW = pytest.mark.slow
HUGE = (pytest.mark.slow, pytest.mark.huge)
FEW = ("hire_mlp", "mlp_mixer", "sparse_mlp", "wave_mlp")
"""One family of each kind: shifts, the whole grid, experts, phases. What takes long is tested quickly on these."""


def smallest():
    """Of each family with a reference, the key of its smallest full-size case."""
    full = [case for case in map(load, cases()) if not case.variant.startswith("tiny")]
    return {
        name: min((case for case in full if family(case) == name), key=lambda case: case.num_params).key
        for name in sorted(set(FAMILIES) - WITHOUT_REFERENCE)
    }


def norm(layer: str):
    """What a reference calls `norm_layer`, as our builders' `norm`: timm's norms of tokens, of any epsilon."""
    if layer == "Affine":
        return "affine"
    epsilon = float(re.fullmatch(r"LayerNorm\(eps=(.+)\)", layer).group(1))
    return "layer" if epsilon == 1e-6 else functools.partial(layer_norm, epsilon=epsilon)


def activation(layer: str):
    """What a reference calls `act_layer`, as our builders' `activation`; `None` for GELU."""
    return {"ReLU": "relu", "SiLU": "silu"}.get(layer)


def limit(case: Case) -> float:
    """The error in float32 that a right full-size model stays below: the case's own, its family's, or that of most."""
    of_family = getattr(REFERENCES[case.family], "TOLERANCE_FLOAT32", 1e-3)
    return vars(case).get("tolerance_float32", of_family)


WITHOUT_REFERENCE = {name for name, found in REFERENCES.items() if getattr(found, "WITHOUT_REFERENCE", False)}
"""Families of which nobody published a reference. Their tiny case (`kind` is "behaviour") holds the answer of a NumPy
implementation of our own, so that they take part in the behaviour suite; it is no parity case."""

MODELS = {}
"""The names that full-size cases have in the package."""
for _path in sorted(ROOT.glob("*/_models.json")):
    MODELS |= json.loads(_path.read_text())


def arguments(case: Case):
    """The builder of a case and the arguments that make its network, for images that are preprocessed already."""
    builder, config = REFERENCES[case.family].translate(case)
    return builder, config | {"input_shape": tuple(case.input_shape[1:]), "include_preprocessing": False}


def compute(case: Case) -> dict:
    """What ours computes of a case of heads, backbones, segmentors or detectors: its stored fields by their keys.

    Works for configurations that are not among the cases too.
    """
    return importlib.import_module("tasks.reference").compute(case)


def build(case: Case, load: bool = True, **options):
    """Our model for a case: from its config, loaded with its state dict, under the dtype policy in force.

    Preprocessing is off and the answer is logits. Works for configurations that are not among the cases too.

    Args:
        case: the case.
        load: whether to load the case's tensors.
        **options: further arguments of the builder.
    """
    builder, config = arguments(case)
    config |= options | {"classes": case.logits.shape[1], "classifier_activation": None}
    return loaded(case, builder, **config)[0] if load else builder(**config)


def loaded(case: Case, builder, **arguments):
    """What `builder` makes, loaded with the case's tensors and in the case's form, and the report of the loading."""
    in_its_form = getattr(REFERENCES[case.family], "loaded", _loaded)
    return in_its_form(case, builder, **arguments)


def _loaded(case, builder, **arguments):
    model = builder(**arguments)
    return model, keras_mlp.load_checkpoint(model, case.state_dict())
