"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "conv_mlp": {"dim": 32, "conv_depth": 1, "dims": (48, 64), "depths": (2, 2), "mlp_ratios": (2, 2)},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    return keras_mlp.ConvMLP, dict(
        dim=config["channels"],
        conv_depth=config["n_conv_blocks"],
        dims=config["dims"],
        depths=config["blocks"],
        mlp_ratios=config["mlp_ratios"],
    )
