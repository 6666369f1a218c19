"""Parts of a map."""

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
