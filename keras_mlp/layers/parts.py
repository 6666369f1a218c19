"""Parts of a map."""

from keras import ops


def part(x, ranges):
    """The positions `start, …, start + length - 1` along each of some axes.

    The same as a slice `x[start : start + length]`, whose gradient TensorFlow takes several times longer for: the
    gradient of this is a padding.

    Args:
        x: a map of any rank.
        ranges: `{axis: (start, length)}`, no axis negative; a length of -1 goes to the end. Numbers that only a graph
            knows may be tensors of it.

    Returns:
        A tensor of the same rank.
    """
    starts, lengths = zip(*(ranges.get(axis, (0, -1)) for axis in range(len(x.shape))), strict=True)
    return ops.slice(x, starts, lengths)
