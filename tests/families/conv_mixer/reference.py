"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {"conv_mixer": {"patch_size": 2, "dim": 64, "depth": 4, "kernel_size": 5}}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    return keras_mlp.ConvMixer, dict(
        patch_size=config["patch_size"],
        dim=config["dim"],
        depth=config["depth"],
        kernel_size=config["kernel_size"],
        activation={"gelu": None, "relu": "relu"}[config["act_layer"]],
    )
