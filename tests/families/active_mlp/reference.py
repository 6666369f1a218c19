"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "active_mlp": {"patch_size": 2, "dims": (32, 48), "depths": (2, 2), "mlp_ratios": (3, 3), "share": (4, 4)},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""

TOLERANCE_FLOAT32 = 1e-5
"""Tighter than in other families: another epsilon or form of GELU costs less than 1e-3, rounding stays near 2e-6."""


def translate(case):
    config = case.config
    return keras_mlp.ActiveMLP, dict(
        dims=config["embed_dims"],
        depths=config["depths"],
        mlp_ratios=config["mlp_ratios"],
        share=config["share_dims"],
        interval=config["intv"],
    )
