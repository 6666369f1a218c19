"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {"pool_former": {"dims": (32, 64), "depths": (2, 2), "mlp_ratios": (4, 4), "stem": (3, 2, 1)}}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""

_MIXINGS = {"Pooling": "pool", "SpatialFc": "linear", "Identity": "identity"}


def translate(case):
    config = case.config
    if "model" in config:  # timm's, by name
        return keras_mlp.PoolFormer, dict(average_first=True)
    dims = config["embed_dims"]
    arguments = dict(
        dims=dims,
        depths=config["layers"],
        # Where the width changes, the reference halves the size whatever `downsamples` says.
        transitions=[
            halved or dims[stage] != dims[min(stage + 1, len(dims) - 1)]
            for stage, halved in enumerate(config.get("downsamples", [True] * len(dims)))
        ],
        mlp_ratios=config["mlp_ratios"],
        pool_size=config.get("pool_size", 3),
        layer_scale=1e-5 if config.get("use_layer_scale", True) else None,
        norm={"GroupNorm": "image", "LayerNormChannel": "layer"}[config["norm_layer"]],
        stem=tuple(config.get(f"in_{key}", default) for key, default in (("patch_size", 7), ("stride", 4), ("pad", 2))),
        down=tuple(
            config.get(f"down_{key}", default) for key, default in (("patch_size", 3), ("stride", 2), ("pad", 1))
        ),
    )
    if "token_mixers" in config:
        arguments["mixings"] = [_MIXINGS[mixer] for mixer in config["token_mixers"]]
    return keras_mlp.PoolFormer, arguments
