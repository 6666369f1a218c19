"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "hat_net": {
        "dims": (32, 64),
        "head_dim": 16,
        "depths": (2, 2),
        "windows": (2, 1),
        "pools": (2, 1),
        "mlp_ratios": (4, 4),
        "kernel_sizes": (3, 3),
    },
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    return keras_mlp.HATNet, dict(
        dims=config["dims"],
        head_dim=config["head_dim"],
        depths=config["depths"],
        windows=config["grid_sizes"],
        pools=config["ds_ratios"],
        mlp_ratios=config["expansions"],
        kernel_sizes=config["kernel_sizes"],
    )
