"""The tensor names of MViT's checkpoints: those of SlowFast and of mvit, which are the same, timm's and PyTorchVideo's."""

import re

from keras_mlp.checkpoints.layouts import Part


def _vectors(array):
    """A table `(1, count, channels)`."""
    return array[0]


def _window(array):
    """The kernel `(channels, 1, …)` of a depthwise convolution, channels last."""
    return array[:, 0].transpose(*range(1, array.ndim - 1), 0)


def _linear(array):
    """Kernel or bias of a linear layer."""
    return array.T


_BLOCK = (
    ("blocks.{}.norm{}", "blocks_{}_norm{}"),
    ("blocks.{}.attn.proj", "blocks_{}_attention/proj"),
    *(
        row
        for part in "qkv"
        for row in (
            (f"blocks.{{}}.attn.pool_{part}.weight", f"blocks_{{}}_attention/pool_{part}", _window),
            (f"blocks.{{}}.attn.norm_{part}", f"blocks_{{}}_attention/norm_{part}"),
        )
    ),
    ("blocks.{}.mlp.fc{}", "blocks_{}_channel_mixing_fc{}"),
    ("blocks.{}.proj", "blocks_{}_proj"),
)
SLOWFAST = (
    ("patch_embed.proj", "stem"),
    ("cls_token", "position/class_token"),
    ("pos_embed", "position/embedding", _vectors),
    ("pos_embed_spatial", "position/places", _vectors),
    ("pos_embed_temporal", "position/frames", _vectors),
    ("pos_embed_class", "position/class_token_embedding"),
    *_BLOCK,
    ("blocks.{}.attn.qkv", "blocks_{}_attention/qkv"),
    ("blocks.{}.attn.rel_pos_h", "blocks_{}_attention/height_offsets", lambda array: array),
    ("blocks.{}.attn.rel_pos_w", "blocks_{}_attention/width_offsets", lambda array: array),
    ("blocks.{}.attn.rel_pos_t", "blocks_{}_attention/frames_offsets", lambda array: array),
    ("norm", "norm"),
    ("head.projection", "head"),
)
PYTORCHVIDEO = (
    ("patch_embed.patch_model", "stem"),
    ("cls_positional_encoding.cls_token", "position/class_token"),
    ("cls_positional_encoding.pos_embed_spatial", "position/places", _vectors),
    ("cls_positional_encoding.pos_embed_temporal", "position/frames", _vectors),
    ("cls_positional_encoding.pos_embed_class", "position/class_token_embedding"),
    *_BLOCK,
    *((f"blocks.{{}}.attn.{part}", "blocks_{}_attention/qkv", Part(i, 3, _linear)) for i, part in enumerate("qkv")),
    ("norm_embed", "norm"),
    ("head.proj", "head"),
)
_STAGES = re.compile(r"stages\.(\d+)\.blocks\.(\d+)\.(.+)")


def as_slowfast(names):
    """timm's names in SlowFast's, which number the blocks on from stage to stage."""
    found = {name: match for name in names if (match := _STAGES.fullmatch(name))}
    depths = {}
    for match in found.values():
        depths[int(match[1])] = max(depths.get(int(match[1]), 0), int(match[2]) + 1)
    starts = {stage: sum(depths[other] for other in depths if other < stage) for stage in depths}
    renamed = {}
    for name, match in found.items():
        inside = re.sub(r"^shortcut_proj_(attn|mlp)\.", "proj.", match[3])
        renamed[name] = f"blocks.{starts[int(match[1])] + int(match[2])}.{inside}"
    return renamed | {name: name.replace("head.fc.", "head.projection.") for name in names if name not in found}
