"""Residual connections: a branch added to its input, and left out for some samples in training."""

import keras


def drop_path_rates(rate: float, depths) -> list[list[float]]:
    """The rate of stochastic depth for each block: it rises linearly from 0 at the first to `rate` at the last.

    Source: Huang et al. 2016, https://arxiv.org/abs/1603.09382, section 3, where the first block drops too.

    Args:
        rate: that of the last block, in [0, 1). A network of one block drops nothing.
        depths: number of blocks of each stage.

    Returns:
        For each stage a list of one rate a block.
    """
    blocks, last = iter(range(sum(depths))), max(sum(depths) - 1, 1)
    return [[rate * next(blocks) / last for _ in range(depth)] for depth in depths]


def stochastic_depth(x, rate: float, name: str):
    """Drop the branch `x` for a random `rate` of the samples in training; what is kept is divided by `1 - rate`.

    This is Keras' `Dropout` with one draw a sample. Source: Huang et al. 2016, https://arxiv.org/abs/1603.09382.

    Args:
        x: the branch's output, `(batch, ...)`.
        rate: probability of dropping it, in [0, 1). At 0 no layer is added.
        name: name of the layer.

    Returns:
        A tensor of the same shape.
    """
    if not rate:
        return x
    return keras.layers.Dropout(rate, noise_shape=(None,) + (1,) * (len(x.shape) - 1), name=name)(x)


def residual(x, branch, drop_path_rate: float, name: str, number=""):
    """`x + branch` with stochastic depth on the branch, as the layers NAME_drop_pathNUMBER and NAME_addNUMBER.

    Args:
        x: the input of the branch, `(batch, ...)`.
        branch: the branch's output, of the same shape.
        drop_path_rate: probability of dropping the branch, in [0, 1).
        name: prefix of the layers' names.
        number: which of the block's connections this is, where it has several.

    Returns:
        A tensor of the same shape.
    """
    branch = stochastic_depth(branch, drop_path_rate, f"{name}_drop_path{number}")
    return keras.layers.Add(name=f"{name}_add{number}")([x, branch])
