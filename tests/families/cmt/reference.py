"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "cmt": {
        "dims": (32, 64),
        "depths": (1, 2),
        "stem_dim": 16,
        "heads": (1, 2),
        "mlp_ratios": (3, 3),
        "reductions": (2, 1),
    },
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    return keras_mlp.CMT, dict(
        dims=config["embed_dims"],
        depths=config["depths"],
        stem_dim=config["stem_channel"],
        heads=config["num_heads"],
        mlp_ratios=config["mlp_ratios"],
        reductions=config["sr_ratios"],
        qk_ratio=config["qk_ratio"],
        qkv_bias=config["qkv_bias"],
        head_dim=config["fc_dim"],
        head_dropout_rate=config["dp"],
    )
