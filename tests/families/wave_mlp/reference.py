"""How the reference's constructor calls ours."""

import keras
from families.cycle_mlp.reference import stages

import keras_mlp

DIGITS = {
    "wave_mlp": {
        "patch_size": 2,
        "dims": (32, 64),
        "depths": (2, 2),
        "transitions": (True, False),
        "mlp_ratios": (4, 4),
    },
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""


NORMS = {
    "BatchNorm2d": "batch",
    "MyNorm": "image",
    "GroupNorm(4 groups)": lambda name: keras.layers.GroupNormalization(4, epsilon=1e-5, name=name),
}
"""What the reference calls `norm_layer`, as our `norm`: a function of the layer's name, too."""


def translate(case):
    config = case.config
    return keras_mlp.WaveMLP, stages(config) | dict(
        norm=NORMS[config["norm_layer"]],
        embedding_norm=config["ds_use_norm"],
        phase_conv=config["mode"] == "depthwise",
        use_bias=config["qkv_bias"],
    )
