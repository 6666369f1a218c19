"""Golden cases: what each family's reference implementation answers, as data.

A case is one JSON file. It names every tensor of the reference checkpoint with
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
import json
import pathlib
import re
import zlib

import numpy as np
import pytest

import keras_mlp
from keras_mlp.families.repmlpnet import inject_locality
from keras_mlp.zoo import FAMILIES

ROOT = pathlib.Path(__file__).parent / "golden"


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

    def error(self, logits) -> float:
        """Largest absolute difference, in standard deviations of the reference logits."""
        got = np.asarray(logits, dtype=np.float64)
        if got.shape != self.logits.shape:
            raise ValueError(f"logits are {got.shape}, the reference has {self.logits.shape}")
        if not np.isfinite(got).all():
            return float("inf")
        return float(np.abs(got - self.logits).max() / self.logits.std())


def load(path) -> Case:
    """Read one case; a relative path counts from this folder."""
    path = pathlib.Path(path)
    if not path.is_absolute():
        path = ROOT / path
    case = Case(json.loads(path.read_text()))
    case.key = str(path.relative_to(ROOT).with_suffix(""))
    return case


def cases(family: str | None = None) -> list[pathlib.Path]:
    """All model cases, or one family's (cases of another `kind`, such as routers and losses, are left out)."""
    paths = sorted(p for p in ROOT.glob(f"{family or '*'}/*.json") if not p.name.startswith("_"))
    return [p for p in paths if "kind" not in json.loads(p.read_text())]


def family(case: Case) -> str:
    """Our family of a case; the reference's may be two of ours, one for images and one for videos."""
    builder, _ = TRANSLATE[case.family](case)
    return next(name for name, family in FAMILIES.items() if builder is family.builders[name])


def small(name: str) -> Case:
    """The case "tiny" of one of our families, or else the first of its small configurations."""
    return next(case for case in tiny() if family(case) == name)


@functools.cache
def tiny():
    """All small cases, "tiny" first."""
    return [load(path) for path in sorted(ROOT.glob("*/tiny*.json"), key=lambda path: path.stem)]


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


WITHOUT_REFERENCE = {"sparse_mlp"}
"""Families of which nobody published a reference. Their tiny case (`kind` is "behaviour") holds the answer of a NumPy
implementation of our own, so that they take part in the behaviour suite; it is no parity case."""

MODELS = json.loads((ROOT / "models.json").read_text())
"""The names that full-size cases have in the package."""


def arguments(case: Case):
    """The builder of a case and the arguments that make its network, for images that are preprocessed already."""
    builder, config = TRANSLATE[case.family](case)
    return builder, config | {"input_shape": tuple(case.input_shape[1:]), "include_preprocessing": False}


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
    forms = vars(case).get("tensors_form"), vars(case).get("form")
    if "deploy" in forms:
        arguments["deploy"] = forms[0] == "deploy"
    model = builder(**arguments)
    report = keras_mlp.load_checkpoint(model, case.state_dict())
    return inject_locality(model) if forms == ("train", "deploy") else model, report


# How each family's reference calls our arguments: case -> (builder, arguments).


def _mlp_mixer(case):
    config = case.config
    if case.layout == "flax":
        return keras_mlp.MLPMixer, dict(
            patch_size=config["patches_size"][0],
            dim=config["hidden_dim"],
            depth=config["num_blocks"],
            token_dim=config["tokens_mlp_dim"],
            channel_dim=config["channels_mlp_dim"],
        )
    token_ratio, channel_ratio = config["mlp_ratio"]
    return keras_mlp.MLPMixer, dict(
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depth=config["num_blocks"],
        token_dim=int(token_ratio * config["embed_dim"]),
        channel_dim=int(channel_ratio * config["embed_dim"]),
        stem_norm=config.get("stem_norm", False),
    )


def _repmlpnet(case):
    config = case.config
    return keras_mlp.RepMLPNet, dict(
        patch_size=config["patch_size"],
        dims=config["channels"],
        depths=config["num_blocks"],
        tiles=list(zip(config["hs"], config["ws"], strict=True)),
        share_sets=config["sharesets_nums"],
        kernel_sizes=config["reparam_conv_k"] or (),
        gate_reduction=config["globalperceptron_reduce"],
        deploy=config["deploy"],
    )


def _res_mlp(case):
    config = case.config
    ratio = 4 if case.layout == "facebook" else config["mlp_ratio"]
    return keras_mlp.ResMLP, dict(
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depth=config["depth"] if case.layout == "facebook" else config["num_blocks"],
        channel_dim=int(ratio * config["embed_dim"]),
        stem_norm=config.get("stem_norm", False),
    )


def _g_mlp(case):
    config = case.config
    return keras_mlp.GMLP, dict(
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depth=config["num_blocks"],
        hidden_dim=int(config["mlp_ratio"] * config["embed_dim"]),
        stem_norm=config.get("stem_norm", False),
    )


def _smlp(case):
    config = case.config
    return keras_mlp.SMLPNet, dict(
        patch_size=config["patch_size"], dim=config["dim"], depths=config["depths"], mlp_ratio=config["alpha"]
    )


def _vip(case):
    config = case.config
    return keras_mlp.ViP, _permutator(config) | dict(
        segments=config["segment_dim"], split_attention=config["mlp_fn"] == "WeightedPermuteMLP"
    )


def _bimlp(case):
    config = case.config
    return keras_mlp.BiMLP, dict(
        dims=config["embed_dims"],
        depths=config["layers"],
        transitions=config["transitions"],
        norm="batch" if config["norm_layer"].startswith("BatchNorm") else "image",
        embedding_norm=config["ds_use_norm"],
    )


def _cycle_mlp(case):
    config = case.config
    return keras_mlp.CycleMLP, _stages(config) | dict(use_bias=config["qkv_bias"], branch_scale=1 / config["skip_lam"])


def _hire_mlp(case):
    config, borders = case.config, {"c": "circular", "replicate": "replicate", "0": "zeros"}
    return keras_mlp.HireMLP, dict(
        dims=config["embed_dims"],
        depths=config["layers"],
        region_sizes=config["pixel"],
        shift_periods=config["step_stride"],
        shift_sizes=config["step_dilation"],
        mlp_ratios=config["mlp_ratios"],
        shift_border=borders[config["step_pad_mode"]],
        region_border=borders[config["pixel_pad_mode"]],
    )


def _posmlp(case):
    config, norms = case.config, {"BN": "batch", "LN": "layer"}
    encoding = "relative"
    if config["quadratic"]:
        encoding = "quadratic" if config["generalized"] else "isotropic"
    return keras_mlp.PosMLP, dict(
        dims=config["embed_dims"],
        depths=config["depths"],
        windows=config["win_size"][: len(config["depths"])],
        groups=config["gamma"][: len(config["depths"])],
        mlp_ratios=config["mlp_ratio"],
        gate={"PoSGU": "positional", "SGU": "linear"}[config["gate_unit"]],
        encoding=encoding,
        chunks=config["chunks"],
        symmetric=config["symmetric"],
        softmax=config["use_softmax"],
        position_bias=config["absolute_bias"],
        token_weight=encoding == "relative" and not config["pos_only"],
        stem={"ConvPatchEmbed": "conv", "PatchEmbed": "patch"}[config["stem"]],
        stem_norm=norms[config["stem_norm"]],
        depthwise_downsampling=config["depth_conv"],
        downsampling_norm=norms[config["downsample_norm"]],
    )


def _wave_mlp(case):
    config = case.config
    return keras_mlp.WaveMLP, _stages(config) | dict(
        norm={"BatchNorm2d": "batch", "MyNorm": "image"}[config["norm_layer"]],
        embedding_norm=config["ds_use_norm"],
        phase_conv=config["mode"] == "depthwise",
        use_bias=config["qkv_bias"],
    )


def _stages(config):
    return dict(
        dims=config["embed_dims"],
        depths=config["layers"],
        transitions=config["transitions"],
        mlp_ratios=config["mlp_ratios"],
    )


def _dyna_mixer(case):
    config = case.config
    return keras_mlp.DynaMixer, _permutator(config) | dict(
        heads=config["num_heads"], reduced_dims=config["reduced_dims"], overlap=config["overlap"]
    )


def _permutator(config):
    return dict(
        patch_size=config["patch_size"],
        dims=config["embed_dims"],
        depths=config["layers"],
        transitions=config["transitions"],
        mlp_ratios=config["mlp_ratios"],
        use_bias=config["qkv_bias"],
        branch_scale=1 / config["skip_lam"],
    )


def _raft_mlp(case):
    config = case.config
    levels = config["layers"]
    cross = config["embedding_type"] == "emb_cross_mlp"
    return keras_mlp.RaftMLP, dict(
        patch_sizes=[level["patch_size"] for level in levels],
        dims=[level["dim"] for level in levels],
        depths=[level["depth"] for level in levels],
        kernel_sizes=[level["embedding_kernels"] for level in levels] if cross else None,
        raft_sizes=[level.get("raft_size", 1) for level in levels],
        image_size=config["pretrained_image_size"],
        mixing="original" if config.get("token_mixing_type") == "original_tm" else "raft",
        token_expansion=config.get("token_expansion_factor", 2),
        mlp_ratio=config.get("channel_expansion_factor", 4),
        shortcut=config["shortcut"],
    )


def _spach(case):
    config = case.config
    kinds = {"mlp": "mlp", "pass": "conv", "attn": "attention"}
    stages = config["net_arch"] if isinstance(config["net_arch"][0][0], list) else [config["net_arch"]]
    side = config["img_size"] // config["patch_size"]
    return keras_mlp.SPACH, dict(
        patch_size=config["patch_size"],
        dim=config["hidden_dim"],
        stages=[[(kinds[kind], count) for kind, count in stage] for stage in stages],
        heads=config["num_heads"],
        token_dims=[int((side // 2**i) ** 2 * config["token_ratio"]) for i in range(len(stages))],
        mlp_ratio=config["channel_ratio"],
        stem_convolutions={"conv1": 1, "conv4": 4}[config["stem_type"]],
        convolve=config["cpe"],
        initial_scale=config["init_values"] if config["scaled"] else None,
        qkv_bias=config["qkv_bias"],
        share_token_mixing=config["shared_spatial_func"],
    )


def _sparse_mlp(case):
    return keras_mlp.SparseMLP, case.config


def _swat(case):
    config, constants = case.config, case.config["constants"]
    kind, stem = config["constructor"], constants["stem"]
    arguments = dict(kind=kind, segments=stem["c"], sub_grid=stem["p"], stem_dim=stem["dim"], stem_patch=stem["k2"])
    if kind == "mixer":
        token_ratio, ratio = config["mlp_ratio"]
        kernels = dict(token_kernels=[constants["ks1"]], channel_kernels=[constants["ks2"]])
        arguments |= kernels | dict(token_dim=int(token_ratio * config["embed_dim"]), mlp_ratio=ratio)
    elif kind == "deit":
        kernels = dict(token_kernels=[constants["ks"]], channel_kernels=[constants["mlp_ks"]])
        arguments |= kernels | dict(heads=[config["num_heads"]])
    elif kind == "swin":
        arguments |= dict(
            heads=config["num_heads"],
            window=config["window_size"],
            token_kernels=[kernel for *_, kernel in constants["attn"].values()],
            channel_kernels=list(constants["mlp"].values()),
            merge_kernels=[kernel for *_, kernel in constants["merge"].values()],
        )
    depths = config.get("depths") or [config.get("num_blocks") or config["depth"]]
    return keras_mlp.SWAT, dict(mlp_ratio=config["mlp_ratio"]) | arguments | dict(depths=depths)


def _as_mlp(case):
    config = case.config
    return keras_mlp.ASMLP, dict(
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depths=config["depths"],
        shift_size=config["shift_size"],
        mlp_ratio=config["mlp_ratio"],
        use_bias=config["as_bias"],
        stem_norm=config["patch_norm"],
        dilation=config.get("dilation", 1),
    )


def _morph_mlp(case):
    config = case.config.get("MORPH", case.config)
    builder = keras_mlp.MorphMLPVideo if "NUM_FRAMES" in case.config else keras_mlp.MorphMLP
    return builder, dict(
        dims=config["EMBED_DIMS"],
        depths=config["LAYERS"],
        chunks=config["SEGMENT_DIM"],
        mlp_ratios=config["MLP_RATIOS"],
        transitions=config["TRANSITIONS"],
        use_bias=config["QKV_BIAS"],
    )


TRANSLATE = {
    "as_mlp": _as_mlp,
    "bimlp": _bimlp,
    "cycle_mlp": _cycle_mlp,
    "dyna_mixer": _dyna_mixer,
    "g_mlp": _g_mlp,
    "hire_mlp": _hire_mlp,
    "mlp_mixer": _mlp_mixer,
    "morph_mlp": _morph_mlp,
    "posmlp": _posmlp,
    "raft_mlp": _raft_mlp,
    "repmlpnet": _repmlpnet,
    "res_mlp": _res_mlp,
    "smlp": _smlp,
    "spach": _spach,
    "sparse_mlp": _sparse_mlp,
    "swat": _swat,
    "vip": _vip,
    "wave_mlp": _wave_mlp,
}
