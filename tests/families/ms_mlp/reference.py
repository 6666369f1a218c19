"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "ms_mlp": {
        "patch_size": 2,
        "dim": 32,
        "depths": (2, 2),
        "shifts": (-1, 0, 1),
        "kernel_sizes": ((1, 3, 3), (1, 3, 3)),
        "layer_scale": 0.1,
    }
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""

TOLERANCE_FLOAT32 = 1e-5
"""Tighter than in other families: another epsilon or form of GELU costs less than 1e-3."""


def translate(case):
    config = case.config
    assert config["shift_size"] == len(config["shift_dist"])  # the reference makes no other network of other numbers
    return keras_mlp.MSMLP, dict(
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depths=config["depths"],
        shifts=config["shift_dist"],
        kernel_sizes=config["mix_size"],
        mlp_ratio=config["mlp_ratio"],
        stem_norm=config["patch_norm"],
    )
