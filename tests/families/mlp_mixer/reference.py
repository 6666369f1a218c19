"""How the reference's constructor calls ours."""

import golden

import keras_mlp

DIGITS = {
    "mlp_mixer": {"patch_size": 2, "dim": 64, "depth": 3},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    if case.layout == "flax":
        return keras_mlp.MLPMixer, dict(
            patch_size=config["patches_size"],
            dim=config["hidden_dim"],
            depth=config["num_blocks"],
            token_dim=config["tokens_mlp_dim"],
            channel_dim=config["channels_mlp_dim"],
        )
    token_ratio, channel_ratio = config["mlp_ratio"]
    return keras_mlp.MLPMixer, dict(
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depth=config["num_blocks"],
        token_dim=int(token_ratio * config["embed_dim"]),
        channel_dim=int(channel_ratio * config["embed_dim"]),
        stem_norm=config.get("stem_norm", False),
        gated=config["mlp_layer"] == "GluMlp",
        norm=golden.norm(config["norm_layer"]),
        activation=golden.activation(config["act_layer"]),
    )
