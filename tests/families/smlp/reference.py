"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "smlp": {"patch_size": 2, "dim": 32, "depths": (2, 2)},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    return keras_mlp.SMLPNet, dict(
        patch_size=config["patch_size"], dim=config["dim"], depths=config["depths"], mlp_ratio=config["alpha"]
    )
