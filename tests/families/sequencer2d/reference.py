"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "sequencer2d": {
        "patch_sizes": (2, 2),
        "dims": (32, 48),
        "hidden_dims": (8, 12),
        "depths": (1, 2),
        "mlp_ratios": (3, 3),
    },
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""

TOLERANCE_FLOAT32 = 1e-5
"""Tighter than in other families: what is left out of a recurrence shows, rounding stays near 1e-6."""


def translate(case):
    config = case.config
    return keras_mlp.Sequencer2D, dict(
        patch_sizes=config["patch_sizes"],
        dims=config["embed_dims"],
        hidden_dims=config["hidden_sizes"],
        depths=config["layers"],
        mlp_ratios=config["mlp_ratios"],
        recurrence=config["rnn_layer"].removesuffix("2D").removesuffix("2d").lower(),
        recurrent_layers=config["num_rnn_layers"],
        bidirectional=config["bidirectional"],
        union=config["union"],
        projected=config["with_fc"],
        stem_norm=config["stem_norm"],
    )
