"""How the reference's constructor calls ours."""

import golden

import keras_mlp

DIGITS = {
    "swat": {"segments": 4, "sub_grid": 4, "stem_dim": 32, "depths": (3,)},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""


def translate(case):
    config, constants = case.config, case.config["constants"]
    kind, stem = config["constructor"], constants["stem"]
    norm = {"Affine": "affine"}.get(config["norm_layer"], "layer")
    options = dict(norm=norm, plain_blocks=config.get("block_layer") in ("MixerBlock", "ResBlock"))
    if "act_layer" in config:
        options |= dict(activation=golden.activation(config["act_layer"]), stem_activation="gelu")
    if "representation_size" in config:
        options["representation_size"] = config["representation_size"]
    options |= dict(stem_norm=config.get("patch_norm", config.get("stem_norm")), position_embedding=config.get("ape"))
    arguments = dict(kind=kind, segments=stem["c"], sub_grid=stem["p"], stem_dim=stem["dim"], stem_patch=stem["k2"])
    if config.get("block_layer") == "SpatialGatingBlock":
        arguments["kind"] = "gmlp"
    elif kind == "mixer":
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
    return keras_mlp.SWAT, dict(mlp_ratio=config["mlp_ratio"]) | options | arguments | dict(depths=depths)
