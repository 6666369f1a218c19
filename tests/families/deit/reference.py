"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {"deit": {"patch_size": 4, "dim": 64, "depth": 2, "heads": 8, "mlp_ratio": 2, "distilled": True}}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""

TOLERANCE_FLOAT32 = 2e-5
"""Tighter than in other families: rounding stays near 1e-6."""


def translate(case):
    config = case.config
    return keras_mlp.DeiT, dict(
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_ratio=config["mlp_ratio"],
        distilled=case.source["class"] == "VisionTransformerDistilled",
    )


def loaded(case, builder, **arguments):
    """Without a second token the names are ViT's, so that only the family tells whose file it is."""
    model = builder(**arguments)
    return model, keras_mlp.load_checkpoint(model, case.state_dict(), family="deit")
