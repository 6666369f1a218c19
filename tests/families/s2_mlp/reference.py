"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {"s2_mlp": {"patch_size": 4, "dim": 64, "depth": 4}}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""

WITHOUT_REFERENCE = True
"""Its authors published no code."""


def translate(case):
    return keras_mlp.S2MLP, case.config
