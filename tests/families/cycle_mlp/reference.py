"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "cycle_mlp": {
        "patch_size": 2,
        "dims": (32, 64),
        "depths": (2, 2),
        "transitions": (True, False),
        "mlp_ratios": (4, 4),
    },
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""


def stages(config):
    return dict(
        dims=config["embed_dims"],
        depths=config["layers"],
        transitions=config["transitions"],
        mlp_ratios=config["mlp_ratios"],
    )


def translate(case):
    config = case.config
    return keras_mlp.CycleMLP, stages(config) | dict(use_bias=config["qkv_bias"], branch_scale=1 / config["skip_lam"])
