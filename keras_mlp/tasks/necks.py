"""Necks: what stands between the maps of a backbone and the head of a detector or segmenter."""

from keras import layers

from keras_mlp.layers import PaddedMaxPooling, Resize, padded_conv

EXTRA = ("pool", "on_input", "on_output")
"""Where further levels of a feature pyramid come from."""


def feature_pyramid_network(maps, channels: int, levels: int | None = None, extra: str = "pool"):
    """FPN: every map in one width, with what the coarser ones know added to it.

    Args:
        maps: tensors `(batch, height, width, …)`, finest first.
        channels: width of the results.
        levels: number of results, at least that of `maps`; by default as many. Each further one is half as large as the
            one before.
        extra: where further ones come from: "pool" for every second position of the last result (Mask R-CNN),
            "on_input" for a convolution with stride 2 of the last of `maps` and then of its result (RetinaNet),
            "on_output" for one of the last result.

    Returns:
        `levels` maps, of which the first have the sizes of `maps`.

    Raises:
        ValueError: `levels` or `extra` is none of those.

    Source: Lin et al. 2017, https://arxiv.org/abs/1612.03144, in the form of mmdetection's and mmsegmentation's `FPN`.
    """
    levels = len(maps) if levels is None else levels
    if levels < len(maps) or extra not in EXTRA:
        raise ValueError(
            f"`levels` must be at least {len(maps)}, the number of maps, and `extra` one of {', '.join(EXTRA)}. "
            f"Received: levels={levels}, extra={extra!r}"
        )
    start = dict(kernel_initializer="glorot_uniform")
    conv = dict(data_format="channels_last", padding="same", **start)
    merged = []
    for i, x in reversed(list(enumerate(maps))):
        y = layers.Conv2D(channels, 1, **conv, name=f"neck_lateral_{i}")(x)
        if merged:
            down = Resize(interpolation="nearest", name=f"neck_top_down_{i}")([merged[0], y])
            y = layers.Add(name=f"neck_top_down_{i}_add")([y, down])
        merged.insert(0, y)
    results = [layers.Conv2D(channels, 3, **conv, name=f"neck_{i}")(x) for i, x in enumerate(merged)]
    x = maps[-1] if extra == "on_input" else results[-1]
    for i in range(len(maps), levels):
        if extra == "pool":
            x = PaddedMaxPooling(1, 2, name=f"neck_{i}_pool")(x)
        else:
            x = padded_conv(x, channels, 3, 2, 1, f"neck_{i}", **start)
        results.append(x)
    return results


CHECKPOINT = (
    ("neck.lateral_convs.{}.conv", "neck_lateral_{}"),
    ("neck.fpn_convs.{}.conv", "neck_{}"),
)
"""OpenMMLab's names of the tensors, as rows of a checkpoint's layout."""
