"""How the references' constructors call ours: Facebook's and timm's."""

import keras_mlp

DIGITS = {
    "levit": {
        "patch_size": 4,
        "dims": (32, 48),
        "depths": (2, 2),
        "heads": (2, 3),
        "key_dims": (8, 8),
        "attention_ratios": (2, 2),
        "mlp_ratios": (2, 2),
    }
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""

TOLERANCE_FLOAT32 = 2e-4
"""Tighter than in other families: what attention does in the last blocks moves the logits by little more."""

LEARNING_RATE = 1e-4
"""At which a case's training is seen to learn: with two images, the batch norms before the classifiers are steep."""

_ACTIVATIONS = {"Hardswish": "hard_silu", "hard_swish": "hard_silu"}


def translate(case):
    config, stages = case.config, len(case.config["embed_dim"])
    arguments = dict(dims=config["embed_dim"], depths=config["depth"], heads=config["num_heads"])
    if "down_ops" in config:  # Facebook's, with a list for all that each stage may have
        stem, attention, mlp = "Hardswish", config["attention_activation"], config["mlp_activation"]
        arguments |= dict(
            key_dims=config["key_dim"],
            attention_ratios=config["attn_ratio"],
            mlp_ratios=config["mlp_ratio"],
            downs=[(heads, key_dim, *rest) for _, key_dim, heads, *rest in config["down_ops"]],
            patch_size=config["patch_size"],
            distilled=config["distillation"],
        )
    else:
        stem = attention = mlp = config["act_layer"]
        arguments |= dict(
            key_dims=[config["key_dim"]] * stages,
            attention_ratios=[config["attn_ratio"]] * stages,
            mlp_ratios=[config["mlp_ratio"]] * stages,
            patch_size=int(config["stem_type"].removeprefix("s")),
            distilled=case.source["class"] == "LevitDistilled",
        )
    named = (_ACTIVATIONS.get(name, name) for name in (stem, attention, mlp))
    names = ("stem_activation", "attention_activation", "mlp_activation")
    return keras_mlp.LeViT, arguments | dict(zip(names, named, strict=True))
