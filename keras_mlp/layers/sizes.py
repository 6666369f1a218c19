"""Sizes of images and maps: the one place that refuses those that cannot work, and names the nearest that do."""

import math

SIDES = ("height", "width")


def check_side(side):
    """Raise a `ValueError` if `side`, an argument of a layer, is neither "height" nor "width"."""
    if side not in SIDES:
        raise ValueError(f'`side` must be "height" or "width". Received: side={side!r}')


def check_known(shape, reason: str, video: bool = False):
    """Refuse a map of an unknown height, width or number of channels.

    Args:
        shape: `(batch, height, width, channels)`.
        reason: who needs them and what for, as a sentence without its full stop.
        video: whether the map may be that of a video, `(batch, frames, height, width, channels)`.

    Raises:
        ValueError: one of them is `None`, or the shape is no map's.
    """
    if len(shape) not in ((4, 5) if video else (4,)) or None in shape[1:]:
        frames = " (with the frames before the height in a video)" if video else ""
        raise ValueError(
            f"{reason}, so its input must be (batch, height, width, channels) of known height, width and channels"
            f"{frames}. Received: {tuple(shape)}. Give the model a static `input_shape`, such as (224, 224, 3)."
        )


def refuse(rule: str, received: str, nearest):
    """Raise the `ValueError` for a size that cannot work.

    Args:
        rule: what must hold, as a sentence without its full stop.
        received: the size that does not follow it.
        nearest: sizes that do, in ascending order; may be empty.
    """
    advice = f"The nearest that work: {' and '.join(map(str, nearest))}." if nearest else "No size near it works."
    raise ValueError(f"{rule}. Received: {received}. {advice}")


def check_length(side, length, works, rule: str, step: int = 1, period: int = 1):
    """Refuse a height or width that does not work; an unknown one passes.

    Args:
        side: "height" or "width".
        length: the height or width in pixels or positions, or `None`.
        works: whether a side of a length works, `length -> bool`.
        rule: what must hold, as a sentence without its full stop.
        step: only multiples of it are proposed.
        period: how far above the length others are tried; below it, all are.

    Raises:
        ValueError: names the nearest lengths that work.
    """
    if length is None or works(length):
        return
    whole = length // step * step
    tried = (range(whole, 0, -step), range(whole + step, whole + max(period, step) + 1, step))
    refuse(rule, f"{side}={length}", [near for lengths in tried for near in [*filter(works, lengths)][:1]])


def check_multiples(size, units, rule: str):
    """Refuse a height or width that is no positive multiple of its unit; an unknown one passes.

    Args:
        size: `(height, width)`.
        units: the unit of both, or `(of the height, of the width)`.
        rule: what must hold, as a sentence without its full stop.

    Raises:
        ValueError: names the nearest lengths that are.
    """
    units = (units, units) if isinstance(units, int) else units
    for side, length, unit in zip(SIDES, size, units, strict=True):
        check_length(side, length, lambda n, unit=unit: n > 0 and n % unit == 0, rule, unit)


def check_windows(size, windows, halvings):
    """Refuse a known height or width of which a stage's map is no whole number of windows.

    Args:
        size: `(height, width)` of the input in pixels.
        windows: side of the windows in each stage.
        halvings: how often each stage's sides were halved, odd ones rounded up.

    Raises:
        ValueError: names the nearest sides that work.
    """

    def works(side):
        return all(-(-side // 2**k) % window == 0 for window, k in zip(windows, halvings, strict=True))

    rule = f"The height and width of each stage's map must be multiples of its window, {tuple(windows)}"
    for side, length in zip(SIDES, size, strict=True):
        check_length(side, length, works, rule, period=2 ** halvings[-1] * math.lcm(*windows))
