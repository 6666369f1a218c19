"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "feed_forward": {
        "patch_size": 4,
        "dim": 64,
        "depth": 4,
        "mlp_ratio": 2,
        "token_dim": 64,
        "table_size": (4, 4),
    },
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""

TOLERANCE_FLOAT32 = 2e-5
"""Tighter than in other families: rounding stays near 1e-6."""


def translate(case):
    config = case.config
    return keras_mlp.FeedForward, dict(
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depth=config["depth"],
        mlp_ratio=config["mlp_ratio"],
        table_size=config["learned_positional_encoding_size"],
        epsilon=config["norm_eps"],
    )
