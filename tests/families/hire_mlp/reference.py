"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "hire_mlp": {
        "patch_size": 2,
        "dims": (32, 64),
        "depths": (2, 2),
        "region_sizes": (2, 2),
        "shift_periods": (2, 2),
        "shift_sizes": (1, 1),
        "mlp_ratios": (4, 4),
    },
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""


def translate(case):
    config, borders = case.config, {"c": "circular", "replicate": "replicate", "0": "zeros"}
    return keras_mlp.HireMLP, dict(
        dims=config["embed_dims"],
        depths=config["layers"],
        region_sizes=config["pixel"],
        shift_periods=config["step_stride"],
        shift_sizes=config["step_dilation"],
        mlp_ratios=config["mlp_ratios"],
        shift_border=borders[config["step_pad_mode"]],
        region_border=borders[config["pixel_pad_mode"]],
    )
