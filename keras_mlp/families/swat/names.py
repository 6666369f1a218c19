"""Names of SWAT's tensors, as the authors' code saves them."""


def _window(kernel):
    """A depthwise kernel (channels, 1, k, k) as (k, k, channels)."""
    return kernel.squeeze(1).transpose(1, 2, 0)


_BLOCK = (
    ("norm{}", "norm{}"),
    ("norm{}.alpha", "norm{}/alpha"),
    ("norm{}.beta", "norm{}/beta"),
    ("ls{}", "scale{}/gamma"),
    ("mlp_tokens.fc1", "token_mixing/fc1"),
    ("mlp_tokens.fc2", "token_mixing/fc2"),
    ("mlp_tokens.fc3.weight", "token_mixing/depthwise_kernel", _window),
    ("mlp_tokens.fc3.bias", "token_mixing/depthwise_bias"),
    ("linear_tokens", "token_mixing/fc"),
    ("linear_tokens1", "token_mixing/fc1"),
    ("linear_tokens2.weight", "token_mixing/depthwise_kernel", _window),
    ("linear_tokens2.bias", "token_mixing/depthwise_bias"),
    *((f"attn.{name}", f"token_mixing/{name}") for name in ("qkv", "qkv_linear", "proj", "proj_linear")),
    ("attn.relative_position_bias_table", "token_mixing/relative_bias"),
    *((f"{mlp}.{theirs}", f"channel_mixing_{ours}")
      for mlp in ("mlp", "mlp_channels") for theirs, ours in (("fc1", "fc1"), ("fc2", "fc2"), ("fc3", "conv"))),
)  # fmt: skip

SWAT = (
    *((f"{stem}.proj21", "stem_conv") for stem in ("stem", "patch_embed")),
    *((f"{stem}.proj22", "stem") for stem in ("stem", "patch_embed")),
    ("patch_embed.pos_embed2", "stem_position/embedding", lambda embedding: embedding[0].transpose(1, 2, 0)),
    ("pos_embed", "position/embedding", lambda embedding: embedding[0]),
    ("absolute_pos_embed", "position/embedding", lambda embedding: embedding[0]),
    *(
        (f"{stem}.{theirs}{part}", f"{ours}{part.replace('.', '/')}")
        for stem in ("stem", "patch_embed")
        for theirs, ours in (("norm2", "stem_conv_norm"), ("norm", "stem_norm"))
        for part in ("", ".alpha", ".beta")
    ),
    *(("blocks.{}." + theirs, "stages_0_{}_" + ours, *how) for theirs, ours, *how in _BLOCK),
    *(("layers.{}.blocks.{}." + theirs, "stages_{}_{}_" + ours, *how) for theirs, ours, *how in _BLOCK),
    ("layers.{}.downsample.norm", "down_{}_norm"),
    ("layers.{}.downsample.reduction", "down_{}"),
    ("norm", "norm"),
    ("norm.alpha", "norm/alpha"),
    ("norm.beta", "norm/beta"),
    ("pre_logits.fc", "head_pre_logits"),
    ("head", "head"),
)

GMLP = (
    ("stem.proj21", "stem_conv"),
    ("stem.proj22", "stem"),
    *(
        (f"{theirs}{part}", f"{ours}{part.replace('.', '/')}")
        for theirs, ours in (
            ("stem.norm2", "stem_conv_norm"),
            ("stem.norm", "stem_norm"),
            ("blocks.{}.norm", "stages_0_{}_norm"),
            ("norm", "norm"),
        )
        for part in ("", ".alpha", ".beta")
    ),
    ("blocks.{}.mlp_channels.fc{}", "stages_0_{}_fc{}"),
    ("blocks.{}.mlp_channels.gate.norm", "stages_0_{}_gate/norm"),
    ("blocks.{}.mlp_channels.gate.proj", "stages_0_{}_gate/proj/fc"),
    ("head", "head"),
)
