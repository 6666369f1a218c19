"""Which weights a token mixing shares, between positions and between channels, as its outputs tell."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from keras_mlp.layers import precision

_SIDE, _CHANNELS = 24, 24
"""Height and width, and channels, of the maps that are tried: multiples of the windows and groups of most mixings."""
_SQUARE, _FURTHEST, _BORDER = 4, 4, 6
"""Side of the square that moves, how far it moves at most, and how wide the border is that is not looked at."""


@dataclasses.dataclass(frozen=True)
class Sharing:
    """What a token mixing shares.

    Attributes:
        window: 1 where all positions share the weights; n > 1 where the weights depend on the position in a window of n
            positions a side, and all windows share them; `None` where they depend on the position in the map.
        groups: 1 where all channels share the weights; the number of channels where none do; else into how many groups
            the channels fall.
        channels: how many channels were tried.
    """

    window: int | None
    groups: int
    channels: int = _CHANNELS

    @property
    def spatial(self) -> str:
        """As the survey says it: "agnostic" where all positions share the weights, else "specific"."""
        return "agnostic" if self.window == 1 else "specific"

    @property
    def channel(self) -> str:
        """As the survey says it: "agnostic" where all channels share the weights, "group", or "specific"."""
        return {1: "agnostic", self.channels: "specific"}.get(self.groups, "group")


def sharing(mixing: Callable, seed: int = 0) -> Sharing:
    """Try what a token mixing shares, in float64 and with random weights.

    A square of random numbers is moved by one position, by two, and so on. Where the output moves with it, positions
    share the weights. For the channels, the same random map is put into one channel after another. Two channels share
    the weights if their outputs, over all channels, are the same maps up to one factor. So the factors of gates and
    scales do not count.

    Of each output, that of a map of zeros is subtracted. Weights that begin random are drawn anew, larger. Those that
    begin as one number, as biases and the weights of norms do, stay.

    Args:
        mixing: function from a map `(batch, height, width, channels)` to a map of the same shape, which makes
            Keras layers.
        seed: of weights and maps.

    Returns:
        A `Sharing`.

    Raises:
        ValueError: the output is not a map of the same shape, or is the same for all maps.
        RuntimeError: Keras' backend does not compute in float64, as JAX by default.
    """
    if keras.backend.standardize_dtype(keras.ops.zeros(1, "float64").dtype) != "float64":
        raise RuntimeError(
            f"Outputs are compared in float64, in which the backend {keras.backend.backend()!r} does not compute now. "
            "On JAX, set JAX_ENABLE_X64=1 before Python starts."
        )
    shape = (_SIDE, _SIDE, _CHANNELS)
    with precision.policy("float64"):
        x = keras.Input(shape, dtype="float64")
        model = keras.Model(x, mixing(x))
    if tuple(model.output_shape[1:]) != shape:
        raise ValueError(
            f"`mixing` must give a map of the same shape. Received: {model.output_shape[1:]} for a map of {shape}"
        )
    generator = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        if np.ptp(keras.ops.convert_to_numpy(variable)):
            inputs = np.prod(variable.shape[:-1])
            variable.assign(generator.normal(size=variable.shape) / np.sqrt(inputs))

    def outputs(maps):
        found = model(np.concatenate([np.zeros((1, *shape)), maps]), training=False)
        found = keras.ops.convert_to_numpy(found)
        if not np.any(found[1:] - found[:1]):
            raise ValueError(
                "`mixing` must depend on its input. It gives the same for a map of zeros and a random one. Kernels "
                "that begin as zeros need another initializer."
            )
        return found[1:] - found[:1]

    return Sharing(_window(outputs, generator), _groups(outputs, generator))


def _window(outputs, generator) -> int | None:
    still = np.zeros((_SIDE, _SIDE, _CHANNELS))
    start = (_SIDE - _SQUARE - _FURTHEST) // 2
    inside = slice(start, start + _SQUARE)
    still[inside, inside] = generator.normal(size=(_SQUARE, _SQUARE, _CHANNELS))
    steps = range(1, _FURTHEST + 1)
    before, *after = outputs(np.stack([still, *(np.roll(still, step, axis) for step in steps for axis in (0, 1))]))

    def follows(output, axis, step):
        """Whether an output is the first one, moved; away from the border, where zeros come in."""
        moved = np.roll(before, step, axis)
        seen = tuple(slice(_BORDER + (step if side == axis else 0), _SIDE - _BORDER) for side in (0, 1))
        return _alike(output[seen], moved[seen])

    for step, (down, right) in zip(steps, zip(after[::2], after[1::2], strict=True), strict=True):
        if follows(down, 0, step) and follows(right, 1, step):
            return step
    return None


def _groups(outputs, generator) -> int:
    pattern, kinds = generator.normal(size=(_SIDE, _SIDE)), []
    for output in outputs(np.eye(_CHANNELS)[:, None, None] * pattern[..., None]):
        strongest_first = output[..., np.argsort(-np.linalg.norm(output, axis=(0, 1)))]
        kind = strongest_first / strongest_first[..., 0].flat[np.abs(strongest_first[..., 0]).argmax()]
        if not any(_alike(kind, other) for other in kinds):
            kinds.append(kind)
    return len(kinds)


def _alike(one, other) -> bool:
    """Whether two maps are equal up to the rounding of float64."""
    return bool(np.abs(one - other).max() <= 1e-7 * np.abs(other).max())
