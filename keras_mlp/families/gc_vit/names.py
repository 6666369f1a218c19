"""Names of GC ViT's tensors in the authors' and in timm's checkpoints."""


def _unit(theirs, ours, conv, squeeze, proj):
    """Rows of a unit of convolutions, whose layers have such names."""
    return (
        (f"{theirs}.{conv}", f"{ours}_conv"),
        (f"{theirs}.{squeeze[0]}", f"{ours}_se/fc1"),
        (f"{theirs}.{squeeze[1]}", f"{ours}_se/fc2"),
        (f"{theirs}.{proj}", f"{ours}_proj"),
    )


def _down(theirs, ours, unit, **layers):
    """Rows of a downsampler."""
    return (
        (f"{theirs}.norm{{}}", f"{ours}_norm{{}}"),
        *_unit(f"{theirs}.{unit}", f"{ours}_unit", **layers),
        (f"{theirs}.reduction", ours),
    )


def _block(theirs, scale, table):
    """Rows of a block."""
    ours = "stages_{}_{}"
    return (
        (f"{theirs}.norm{{}}", f"{ours}_norm{{}}"),
        (f"{theirs}.{scale}", f"{ours}_scale{{}}/gamma"),
        (f"{theirs}.attn.qkv", f"{ours}_token_mixing/qkv"),
        (f"{theirs}.attn.proj", f"{ours}_token_mixing/proj"),
        (f"{theirs}.attn.{table}", f"{ours}_token_mixing/table"),
        (f"{theirs}.mlp.fc{{}}", f"{ours}_channel_mixing_fc{{}}"),
    )


_MOST = 10  # stages, or units on the way to a query
_AUTHORS = dict(conv="0", squeeze=("2.fc.0", "2.fc.2"), proj="3")
_TIMM = dict(conv="conv_dw", squeeze=("se.fc1", "se.fc2"), proj="conv_pw")

AUTHORS = (
    ("patch_embed.proj", "stem"),
    *_down("patch_embed.conv_down", "stem_down", "conv", **_AUTHORS),
    *_down("levels.{}.downsample", "down_{}", "conv", **_AUTHORS),
    *_unit("levels.{}.q_global_gen.to_q_global.{}.conv", "stages_{}_0_query_{}", **_AUTHORS),
    *_block("levels.{}.blocks.{}", "gamma{}", "relative_position_bias_table"),
    ("norm", "norm"),
    ("norm{}", "level_{}_norm"),  # backbones of detectors and segmentors
    ("head", "head"),
)

TIMM = (
    ("stem.conv1", "stem"),
    *_down("stem.down", "stem_down", "conv_block", **_TIMM),
    # The layer between two stages belongs to the second.
    *(
        row
        for stage in range(1, _MOST)
        for row in _down(f"stages.{stage}.downsample", f"down_{stage - 1}", "conv_block", **_TIMM)
    ),
    *(
        row
        for i in range(_MOST)
        for row in _unit(f"stages.{{}}.global_block.blocks.conv{i + 1}", f"stages_{{}}_0_query_{i}", **_TIMM)
    ),
    *_block("stages.{}.blocks.{}", "ls{}.gamma", "rel_pos.relative_position_bias_table"),
    ("stages.{}.norm", "norm"),
    ("head.fc", "head"),
)
