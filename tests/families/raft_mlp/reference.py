"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "raft_mlp": {
        "patch_sizes": (2, 2),
        "dims": (32, 64),
        "depths": (2, 2),
        "kernel_sizes": ((2, 4), (2,)),
        "raft_sizes": (2, 2),
    },
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    levels = config["layers"]
    cross = config["embedding_type"] == "emb_cross_mlp"
    return keras_mlp.RaftMLP, dict(
        patch_sizes=[level["patch_size"] for level in levels],
        dims=[level["dim"] for level in levels],
        depths=[level["depth"] for level in levels],
        kernel_sizes=[level["embedding_kernels"] for level in levels] if cross else None,
        raft_sizes=[level.get("raft_size", 1) for level in levels],
        image_size=config["pretrained_image_size"],
        mixing="original" if config.get("token_mixing_type") == "original_tm" else "raft",
        token_expansion=config.get("token_expansion_factor", 2),
        mlp_ratio=config.get("channel_expansion_factor", 4),
        shortcut=config["shortcut"],
    )
