"""How the reference's constructor calls ours."""

import golden
import keras

import keras_mlp

DIGITS = {
    "gcvit": {"dim": 32, "depths": (2, 2), "heads": (2, 4), "window_ratios": (8, 8)},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""

TOLERANCE_FLOAT32 = 1e-5
"""Tighter than in other families: another epsilon or form of GELU costs less than 1e-3 at full size."""

LEARNING_RATE = 3e-4
"""Where a family's first steps of training, with the weights of these cases, are too long at 1e-3."""


def translate(case):
    config = case.config
    timm = case.source["class"] == "GlobalContextVit"
    arguments = dict(
        dim=config.get("embed_dim", 64) if timm else config["dim"],
        depths=config["depths"],
        heads=config["num_heads"],
        mlp_ratio=config.get("mlp_ratio", 3),
        qkv_bias=config.get("qkv_bias", True),
        qk_scale=config.get("qk_scale"),
        layer_scale=config.get("layer_scale"),
        norm_epsilon=config.get("norm_eps", 1e-5),
    )
    if "window_size_pre" in config:  # the backbone for detection
        windows, side = config["window_size"], config["resolution"] // 16
        third = 0 if windows[2] == side else 1
        return keras_mlp.GCViT, arguments | dict(windows=windows, query_halvings=(3, 2, third, 0))
    if timm:
        arguments |= dict(window_ratios=config.get("window_ratio", (32, 32, 16, 32)), squeeze_multiple=8)
        return keras_mlp.GCViT, arguments
    side = config.get("resolution", 224)
    return keras_mlp.GCViT, arguments | dict(window_ratios=[side // window for window in config["window_size"]])


def features(case, **options):
    """The backbone for detection of a case, loaded: its maps, each with its norm."""
    from keras_mlp.tasks import backbones

    builder, arguments = golden.arguments(case)
    backbone = builder(**arguments | options, include_top=False)
    model = keras.Model(backbone.input, list(backbones.levels(backbone).values()))
    keras_mlp.load_checkpoint(model, case.state_dict())
    return model
