"""Adaptive gradient clipping, which Keras does not have."""

from keras import ops


def units(variable) -> tuple[int, ...] | None:
    """Return the axes along which the weights of one unit are; `None` for all.

    A unit is what one output of a kernel is made of: the weights along all axes but the last. In a depthwise kernel,
    `(height, width, channels, 1)`, it is a channel's. A tensor of one axis, a bias or a scale, is one unit, and so is
    each row of any other table.

    Args:
        variable: a Keras variable.
    """
    rank = len(variable.shape)
    if rank < 2:
        return None
    if not variable.path.endswith("kernel"):
        return tuple(range(1, rank))
    return tuple(range(rank - 2 if rank == 4 and variable.shape[-1] == 1 else rank - 1))


def clip(gradient, weights, factor: float, axes):
    """Return a gradient in which no unit's is longer than a share of the unit's weights.

        gradient = gradient * min(1, factor * max(|weights|, 0.001) / |gradient|)

    Source: Brock et al., High-Performance Large-Scale Image Recognition Without Normalization, 2021, section 4. What
    the units of biases and tables are is timm's.

    Args:
        gradient: of the weights' shape.
        weights: a variable.
        factor: the share, above 0; the paper's is 0.01.
        axes: what `units` says of the variable.
    """

    def norm(tensor):
        return ops.sqrt(ops.sum(ops.square(tensor), axes, keepdims=True))

    weights = ops.convert_to_tensor(weights)
    gradient = ops.cast(gradient, weights.dtype)
    longest, length = factor * ops.maximum(norm(weights), 1e-3), norm(gradient)
    return ops.where(length < longest, gradient, gradient * (longest / ops.maximum(length, 1e-6)))
