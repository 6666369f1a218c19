"""How the reference's constructor calls ours."""

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
