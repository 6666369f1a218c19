"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "gfnet": {"patch_size": 2, "dims": (64,), "depths": (4,), "mlp_ratios": (2,)},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    if isinstance(config["embed_dim"], int):  # the flat models' class; the pyramids' takes lists
        flat = dict(dims=(config["embed_dim"],), depths=(config["depth"],), mlp_ratios=(config["mlp_ratio"],))
        return keras_mlp.GFNet, flat | dict(patch_size=config["patch_size"])
    pyramid = dict(dims=config["embed_dim"], depths=config["depth"], mlp_ratios=config["mlp_ratio"])
    scale = None if config["no_layerscale"] else config["init_values"]
    return keras_mlp.GFNet, pyramid | dict(patch_size=config["patch_size"], layer_scale=scale)
