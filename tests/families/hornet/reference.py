"""How the reference's constructor calls ours."""

import keras_mlp

DIGITS = {
    "hornet": {"patch_size": 2, "dim": 32, "depths": (2, 2), "orders": (2, 3), "filter_sizes": (None, (4, 4))},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""

TOLERANCE_FLOAT32 = 1e-5
"""Tighter than in other families: another epsilon or form of GELU costs less than 1e-3 at full size."""


def filter_size(conv):
    """The grid that a filter of `h` rows and `w` frequencies of half a spectrum is for; `None` for 7 x 7."""
    if conv["gflayer"] is None:
        return None
    height, half = conv["h"], conv["w"]
    return height, height if height // 2 + 1 == half else 2 * half - 2


def translate(case):
    config = case.config
    (scale,) = {conv["s"] for conv in config["gnconv"]}
    return keras_mlp.HorNet, dict(
        dim=config["base_dim"],
        depths=config["depths"],
        orders=tuple(conv["order"] for conv in config["gnconv"]),
        filter_sizes=tuple(map(filter_size, config["gnconv"])),
        scale=scale,
        layer_scale=config["layer_scale_init_value"] or None,
    )
