"""How the reference's constructor calls ours."""

import golden

import keras_mlp

DIGITS = {
    "g_mlp": {"patch_size": 2, "dim": 64, "depth": 3},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    return keras_mlp.GMLP, dict(
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depth=config["num_blocks"],
        hidden_dim=int(config["mlp_ratio"] * config["embed_dim"]),
        stem_norm=config.get("stem_norm", False),
        norm=golden.norm(config["norm_layer"]),
        activation=golden.activation(config["act_layer"]),
    )
