"""How the reference's constructor calls ours."""

import keras_mlp

# The binary form is tested in test_bimlp.py.
DIGITS = {
    "bimlp": {
        "patch_size": 2,
        "dims": (64,),
        "depths": (1,),
        "transitions": (True,),
        "activation_levels": None,
        "weight_levels": None,
    },
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    return keras_mlp.BiMLP, dict(
        dims=config["embed_dims"],
        depths=config["layers"],
        transitions=config["transitions"],
        norm="batch" if config["norm_layer"].startswith("BatchNorm") else "image",
        embedding_norm=config["ds_use_norm"],
    )
