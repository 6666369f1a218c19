"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "vip": {
        "patch_size": 2,
        "dims": (32, 64),
        "depths": (1, 2),
        "segments": (8, 4),
        "transitions": (True, False),
        "mlp_ratios": (3, 3),
    },
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""


def permutator(config):
    return dict(
        patch_size=config["patch_size"],
        dims=config["embed_dims"],
        depths=config["layers"],
        transitions=config["transitions"],
        mlp_ratios=config["mlp_ratios"],
        use_bias=config["qkv_bias"],
        branch_scale=1 / config["skip_lam"],
    )


def translate(case):
    config = case.config
    return keras_mlp.ViP, permutator(config) | dict(
        segments=config["segment_dim"], split_attention=config["mlp_fn"] == "WeightedPermuteMLP"
    )
