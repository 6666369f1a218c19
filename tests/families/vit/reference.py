"""How the references' constructors call ours."""

import keras_mlp

DIGITS = {"vit": {"patch_size": 4, "dim": 64, "depth": 4, "heads": 4, "mlp_ratio": 2}}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""

TOLERANCE_FLOAT32 = 2e-5
"""Tighter than in other families: rounding stays near 1e-6."""


def translate(case):
    config = case.config
    if case.layout == "flax":
        return keras_mlp.ViT, dict(
            patch_size=config["patches_size"],
            dim=config["hidden_size"],
            depth=config["num_layers"],
            heads=config["num_heads"],
            mlp_ratio=config["mlp_dim"] / config["hidden_size"],
            class_token=config["classifier"] == "token",
        )
    return keras_mlp.ViT, dict(
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_ratio=config["mlp_ratio"],
        qkv_bias=config.get("qkv_bias", True),
        class_token=config.get("class_token", True),
        layer_scale=config.get("init_values"),
    )
