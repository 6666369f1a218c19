"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "as_mlp": {"patch_size": 2, "dim": 32, "depths": (2, 2), "shift_size": 3},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""


def translate(case):
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
        norm={"MyNorm": "image", "BatchNorm2d": "batch"}[config.get("norm_layer", "MyNorm")],
    )
