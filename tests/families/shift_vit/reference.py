"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {"shift_vit": {"patch_size": 2, "dim": 32, "depths": (3, 3), "shift_parts": 8, "mlp_ratio": 2}}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    return keras_mlp.ShiftViT, dict(
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depths=config["depths"],
        shift_parts=config["n_div"],
        mlp_ratio=config["mlp_ratio"],
        stem_norm=config["patch_norm"],
        norm={"GN1": "image", "BN": "batch"}[config["norm_layer"]],
        activation={"GELU": None, "RELU": "relu"}[config["act_layer"]],
    )
