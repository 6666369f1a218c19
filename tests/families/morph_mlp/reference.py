"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "morph_mlp": {"dims": (32, 64), "depths": (2, 2), "chunks": (4, 4), "mlp_ratios": (3, 3)},
    "morph_mlp_video": {"dims": (32, 64), "depths": (2, 2), "chunks": (4, 4), "mlp_ratios": (3, 3)},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config.get("MORPH", case.config)
    builder = keras_mlp.MorphMLPVideo if "NUM_FRAMES" in case.config else keras_mlp.MorphMLP
    return builder, dict(
        dims=config["EMBED_DIMS"],
        depths=config["LAYERS"],
        chunks=config["SEGMENT_DIM"],
        mlp_ratios=config["MLP_RATIOS"],
        transitions=config["TRANSITIONS"],
        use_bias=config["QKV_BIAS"],
    )
