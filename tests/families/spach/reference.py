"""How the reference's constructor calls ours."""

import golden

import keras_mlp

DIGITS = {
    "spach": {"patch_size": 2, "dim": 48, "stages": ((("mlp", 1), ("conv", 1), ("attention", 1)),), "heads": 4},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    kinds = {"mlp": "mlp", "pass": "conv", "attn": "attention"}
    stages = config["net_arch"] if isinstance(config["net_arch"][0][0], list) else [config["net_arch"]]
    sides = [config["img_size"], config["patch_size"]]
    (height, width), (down, right) = ([side, side] if isinstance(side, int) else side for side in sides)
    positions = (height // down) * (width // right)
    return keras_mlp.SPACH, dict(
        patch_size=config["patch_size"],
        dim=config["hidden_dim"],
        stages=[[(kinds[kind], count) for kind, count in stage] for stage in stages],
        heads=config["num_heads"],
        token_dims=[int(positions // 4**i * config["token_ratio"]) for i in range(len(stages))],
        mlp_ratio=config["channel_ratio"],
        stem_convolutions={"conv1": 1, "conv4": 4}[config["stem_type"]],
        convolve=config["cpe"],
        initial_scale=config["init_values"] if config["scaled"] else None,
        qkv_bias=config["qkv_bias"],
        norm=golden.norm(config["norm_layer"]),
        qk_scale=config["qk_scale"],
        share_token_mixing=config["shared_spatial_func"],
        activation=golden.activation(config["act_layer"]),
    )
