"""Parts of a map: slices, pieces of its channels, and what comes of moving it around its end."""

from keras import ops


def part(x, ranges):
    """The positions `start, …, start + length - 1` along each of some axes.

    The same as a slice `x[start : start + length]`, whose gradient TensorFlow takes several times longer for: the
    gradient of this is a padding.

    Args:
        x: a map of any rank.
        ranges: `{axis: (start, length)}`, no axis negative; axes left out are whole. Numbers that only a graph knows
            may be tensors of it.

    Returns:
        A tensor of the same rank.
    """
    # Only in a graph of TensorFlow are lengths unknown, and only there does -1 mean "to the end".
    whole = ((0, -1 if length is None else length) for length in x.shape)
    starts, lengths = zip(*(ranges.get(axis, full) for axis, full in enumerate(whole)), strict=True)
    return ops.slice(x, starts, lengths)


def pieces(channels: int, count: int) -> list[tuple[int, int]]:
    """The channels in pieces of `ceil(channels / count)`, as PyTorch's `chunk` cuts them.

    Args:
        channels: how many there are.
        count: how many pieces there are at most: the last one is smaller, or some are missing, where it does not divide
            the channels.

    Returns:
        `(first channel, number of channels)` of each piece.
    """
    width = -(-channels // count)
    return [(start, min(width, channels - start)) for start in range(0, channels, width)]


def rolled(x, distance: int, axis: int, ranges=None):
    """A map moved around its end: `y[i] = x[(i - distance) mod length]` along an axis.

    Two slices are put together, because TFLite has no operator for `keras.ops.roll` at unknown sizes.

    Args:
        x: a map of any rank. The length of the axis may be unknown.
        distance: positions to move by, towards larger indices; may be negative, and exceed the length.
        axis: which axis, not negative.
        ranges: what is taken of other axes first, as in `part`.

    Returns:
        A tensor of the same rank.
    """
    length, ranges = ops.shape(x)[axis], ranges or {}
    start = -distance % length if distance else 0
    if isinstance(start, int) and not start:
        return part(x, ranges) if ranges else x
    cuts = ((start, length - start), (0, start))
    return ops.concatenate([part(x, {axis: cut} | ranges) for cut in cuts], axis)
