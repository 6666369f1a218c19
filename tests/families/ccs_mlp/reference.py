"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "ccs_mlp": {"patch_size": 2, "dim": 64, "depth": 3},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""

WITHOUT_REFERENCE = True
"""Its authors published no code."""


def translate(case):
    return keras_mlp.CCSMLP, case.config
