"""How the reference's constructor calls ours."""

import golden

import keras_mlp

DIGITS = {
    "res_mlp": {"patch_size": 2, "dim": 64, "depth": 3, "initial_scale": 1.0},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    ratio = 4 if case.layout == "facebook" else config["mlp_ratio"]
    return keras_mlp.ResMLP, dict(
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depth=config["depth"] if case.layout == "facebook" else config["num_blocks"],
        channel_dim=int(ratio * config["embed_dim"]),
        stem_norm=config.get("stem_norm", False),
        norm=golden.norm(config.get("norm_layer", "Affine")),
        gated=config.get("mlp_layer") == "GluMlp",
        activation=golden.activation(config.get("act_layer")),
    )
