"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {"convnext": {"patch_size": 2, "dims": (32, 64), "depths": (2, 2)}}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""

TOLERANCE_FLOAT32 = 1e-5
"""Tighter than in other families: another epsilon or form of GELU costs less than 1e-3 at full size."""


def translate(case):
    config, scale = case.config, case.config["layer_scale_init_value"]
    arguments = dict(layer_scale=scale if scale > 0 else None)
    if case.source["class"] == "ConvNeXtIsotropic":
        stages = dict(patch_size=16, stem_norm=False, dims=(config["dim"],), depths=(config["depth"],))
        return keras_mlp.ConvNeXt, arguments | stages
    return keras_mlp.ConvNeXt, arguments | dict(dims=config["dims"], depths=config["depths"])
