"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "sparse_mlp": {"patch_size": 2, "dim": 64, "depths": (1, 1)},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""

WITHOUT_REFERENCE = True
"""Its authors published no code."""


def translate(case):
    return keras_mlp.SparseMLP, case.config
