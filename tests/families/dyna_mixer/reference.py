"""How the reference's constructor calls ours."""

from families.vip.reference import permutator

import keras_mlp

DIGITS = {
    "dyna_mixer": {
        "patch_size": 2,
        "dims": (32, 64),
        "depths": (1, 2),
        "heads": (4, 8),
        "reduced_dims": (2, 2),
        "transitions": (True, False),
        "mlp_ratios": (3, 3),
    },
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    return keras_mlp.DynaMixer, permutator(config) | dict(
        heads=config["num_heads"], reduced_dims=config["reduced_dims"], overlap=config["overlap"]
    )
