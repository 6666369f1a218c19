"""How the reference's constructors call ours: that of LIT-Ti, and that of LIT-S, M and B."""

import golden
import keras

import keras_mlp

DIGITS = {
    "lit": {"patch_size": 2, "dims": (24, 32, 48), "depths": (1, 1, 2), "heads": (0, 0, 3), "mlp_ratios": (4, 4, 4)},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""


def translate(case):
    config, tiny = case.config, "lit_ti" in case.source["file"]
    options = dict(patch_size=config.get("patch_size", 4), depths=config["depths"])
    options |= dict(qkv_bias=config.get("qkv_bias", True), qk_scale=config.get("qk_scale"))
    if tiny:
        return keras_mlp.LIT, options | dict(
            dims=config["embed_dims"],
            heads=[0, 0, *config["num_heads"][2:]],
            mlp_ratios=config["mlp_ratios"],
            positions="absolute",
            class_token="cls_token" in case.tensors,
            epsilon=config["norm_eps"],
        )
    stages = len(config["depths"])
    attends = config.get("has_msa", [0, 0, 1, 1])
    return keras_mlp.LIT, options | dict(
        dims=[config["embed_dim"] * 2**stage for stage in range(stages)],
        heads=[heads * there for heads, there in zip(config["num_heads"], attends, strict=True)],
        mlp_ratios=[config["mlp_ratio"]] * stages,
        stem_norm=config.get("patch_norm", True),
    )


def features(case):
    """The authors' backbone for dense prediction of a case: made for one size, loaded, and brought to the images'."""
    from keras_mlp.tasks import backbones

    builder, arguments = golden.arguments(case)
    tiny, state = "ti" in case.variant.split("_"), case.state_dict()
    if tiny:  # the first embedding of the last stage is of a class token, and not read
        state["pos_embed4"] = state["pos_embed4"][:, 1:]
    side = case.config.get("img_size", 512)
    name = "lit_ti" if tiny else "lit"
    backbone = builder(**arguments | {"input_shape": (side, side, 3)}, include_top=False, name=name)
    model = keras.Model(backbone.input, list(backbones.levels(backbone).values()))
    keras_mlp.load_checkpoint(model, state)
    height, width = case.input_shape[1:3]
    return keras_mlp.resize(model, (-(-height // 4) * 4, -(-width // 4) * 4))
