"""Anchors: boxes around every position of a map, from which a head tells the deltas to an object."""

import dataclasses

import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class Anchors:
    """The anchors of a pyramid's levels, as mmdetection's `AnchorGenerator` has them.

    The anchors of the first position lie around pixel 0, and nothing is rounded. The anchors of a position stand in
    the order (ratio, scale), the positions of a map row by row.

    Args:
        strides: of the levels in pixels, finest first.
        scales: sides of the square anchor in strides.
        ratios: heights divided by widths; the area does not depend on them.

    Source: Lin et al. 2017, https://arxiv.org/abs/1708.02002, section 4.
    """

    strides: tuple[int, ...]
    scales: tuple[float, ...]
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)

    @property
    def each(self) -> int:
        """Number of anchors at a position."""
        return len(self.scales) * len(self.ratios)

    def base(self, level: int) -> np.ndarray:
        """The anchors of the first position of a level, `(each, 4)`."""
        # In float32, step by step, because the authors' models were trained on these roundings.
        heights = np.sqrt(np.asarray(self.ratios, "float32"))
        scales, stride = np.asarray(self.scales, "float32"), np.float32(self.strides[level])
        widths = (stride * (1 / heights)[:, None] * scales).reshape(-1)
        heights = (stride * heights[:, None] * scales).reshape(-1)
        half = np.float32(0.5)
        return np.stack([-half * widths, -half * heights, half * widths, half * heights], axis=-1)

    def on(self, level: int, size, dtype: str = "float32"):
        """All anchors of a map, `(height * width * each, 4)`.

        Args:
            level: which level, from 0 for the finest.
            size: height and width of its map, integers or tensors.
            dtype: of the anchors.
        """
        height, width = size
        x = ops.cast(ops.arange(width), dtype) * self.strides[level]
        y = ops.cast(ops.arange(height), dtype) * self.strides[level]
        x, y = ops.meshgrid(x, y)
        shifts = ops.reshape(ops.stack([x, y, x, y], axis=-1), (-1, 1, 4))
        return ops.reshape(shifts + ops.cast(self.base(level), dtype), (-1, 4))


def octaves(base: float, count: int) -> tuple[float, ...]:
    """Scales of `count` anchors, from `base` strides to short of twice as many, in equal ratios (RetinaNet)."""
    return tuple(base * 2 ** (i / count) for i in range(count))
