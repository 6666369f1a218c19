"""How the reference's constructors call ours: one for each kind of backbone."""

import keras_mlp

DIGITS = {
    "dynamic_vit": {
        "kind": "convnext",
        "patch_size": 1,
        "dims": (16, 32, 48),
        "depths": (1, 1, 3),
        "pruning": (1,),
        "layer_scale": None,
    }
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""

TOLERANCE_FLOAT32 = 1e-5
"""Tighter than in other families: what attention's epsilon does is little more, and a token more is far more."""

KINDS = {
    "VisionTransformerDiffPruning": "deit",
    "LVViTDiffPruning": "lvvit",
    "AdaConvNeXt": "convnext",
    "AdaSwinTransformer": "swin",
}


def translate(case):
    config, kind = case.config, KINDS[case.source["class"]]
    rates = config.get("token_ratio") or config["sparse_ratio"]
    arguments = dict(kind=kind, pruning=config["pruning_loc"], keep_rate=rates)
    if kind in ("deit", "lvvit"):
        arguments |= dict(
            patch_size=config["patch_size"],
            dims=(config["embed_dim"],),
            depths=(config["depth"],),
            heads=(config["num_heads"],),
            mlp_ratio=config["mlp_ratio"],
        )
        if kind == "lvvit":
            arguments["stem_dim"] = {"4_2": 64, "4_2_128": 128}[config["p_emb"]]
    elif kind == "convnext":
        arguments |= dict(patch_size=4, dims=config["dims"], depths=config["depths"])
    else:
        arguments |= dict(
            patch_size=config.get("patch_size", 4),
            dims=[config["embed_dim"] * 2**stage for stage in range(len(config["depths"]))],
            depths=config["depths"],
            heads=config["num_heads"],
            window=config["window_size"],
        )
    return keras_mlp.DynamicViT, arguments
