"""How the references' constructors call ours: SlowFast's and mvit's configurations, and PyTorchVideo's arguments."""

import keras_mlp

_SMALL = {"dims": (32, 64), "depths": (1, 2), "heads": (1, 2), "strides": (1, 2), "key_stride": 2}
_SMALL |= {"patch_window": 3, "patch_stride": 2}
DIGITS = {
    "mvit": _SMALL,
    "mvit_video": _SMALL | {"patch_window": (3, 3, 3), "patch_stride": (2, 2, 2)},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = False
"""Whether images of all cases may have any size."""

UNREAD = {"blocks_3_attention/pool_q"}
"""Variables of the small cases that no output depends on: the last block pools queries of positions, and the head
reads nothing but the class token, which is not pooled."""

TOLERANCE_FLOAT32 = 1e-5
"""The form of GELU and the norms' epsilon make differences that the usual limit lets pass."""


def _stages(depth, growth, width, heads):
    """What grows at some blocks, by stages."""
    starts, factors = zip(*((0, 1), *growth), strict=True)
    widths = [width * 2**i for i in range(len(starts))]
    assert set(factors[1:]) <= {2}
    depths = [end - start for start, end in zip(starts, (*starts[1:], depth), strict=True)]
    return dict(dims=tuple(widths), depths=tuple(depths), heads=tuple(heads * 2**i for i in range(len(starts))))


def _pooling(arguments, queries, keys, kernel):
    """Strides and windows of pooling; those along the frames are 1."""
    block, strides = 0, []
    listed = {at: stride[-1] for at, *stride in queries}
    for depth in arguments["depths"]:
        strides.append(listed.get(block, 1))
        block += depth
    every = len(listed) == block
    kernel = None if kernel is None else kernel[-1]
    return dict(strides=tuple(strides), key_stride=keys[-1], kernel=kernel, all_queries=every)


def _pytorchvideo(config):
    stages = _stages(config.get("depth", 16), config["embed_dim_mul"], 96, 1)
    pooling = _pooling(
        stages, config["pool_q_stride_size"], config["pool_kv_stride_adaptive"], config["pool_kvq_kernel"]
    )
    flags = dict(positions="separable", class_token=True, residual_pooling=False, widen_in_attention=False)
    builder = keras_mlp.MViT if config["temporal_size"] == 1 else keras_mlp.MViTVideo
    return builder, stages | pooling | flags


def translate(case):
    if "MVIT" not in case.config:
        return _pytorchvideo(case.config)
    config = case.config["MVIT"]
    stages = _stages(config["DEPTH"], config["DIM_MUL"], config["EMBED_DIM"], config["NUM_HEADS"])
    absolute = "separable" if config.get("SEP_POS_EMBED") else "joint"
    builder = keras_mlp.MViT if len(case.input_shape) == 4 else keras_mlp.MViTVideo
    return builder, dict(
        **stages,
        **_pooling(stages, config["POOL_Q_STRIDE"], config["POOL_KV_STRIDE_ADAPTIVE"], config["POOL_KVQ_KERNEL"]),
        positions=absolute if config["USE_ABS_POS"] else "relative",
        class_token=config["CLS_EMBED_ON"],
        residual_pooling=config["RESIDUAL_POOLING"],
        widen_in_attention=config["DIM_MUL_IN_ATT"],
        mlp_ratio=config["MLP_RATIO"],
        qkv_bias=config["QKV_BIAS"],
        patch_window=tuple(config["PATCH_KERNEL"]),
        patch_stride=tuple(config["PATCH_STRIDE"]),
    )
