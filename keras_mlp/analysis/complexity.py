"""How the cost of a token mixing grows with the height, the width and the channels of the map."""

import dataclasses
import itertools
import math
from collections.abc import Callable

import keras
import numpy as np

from keras_mlp import files
from keras_mlp.analysis.cost import cost
from keras_mlp.extras import need

_SIDE, _CHANNELS = 4, 24
"""Maps are measured whose sides are multiples of the first and whose channels are multiples of the second number."""
_MOST = 3
"""The highest exponent of a side or of the channels that is told apart."""
_SYMBOLS = "HWC"
_RAISED = str.maketrans("23456789", "²³⁴⁵⁶⁷⁸⁹")
_STYLES = ("-", "--", ":", "-.")

Terms = dict[tuple[int, int, int], float]
"""A polynomial: its factors by the exponents of the height, the width and the channels."""


@dataclasses.dataclass(frozen=True)
class Complexity:
    """What a token mixing costs at a map of any height H, width W and channels C.

    Attributes:
        parameters: trainable parameters, `{exponents of (H, W, C): factor}`.
        macs: multiply-adds of one image, in the same form; other operations and fast transforms are not counted.
    """

    parameters: Terms
    macs: Terms


def complexity(mixing: Callable) -> Complexity:
    """Measure a token mixing at maps of several sizes and widths, and find the polynomial that all of them lie on.

    The exponents along each axis are found first, from evenly spaced measurements: their differences of order d + 1 are
    0 where the polynomial's degree is d. One further map of other sides then has to cost what the polynomial says.

    Args:
        mixing: function from a map `(batch, height, width, channels)` to a map, which makes Keras layers, such as
            `lambda x: keras_mlp.layers.TokenDense()(x)`. It is called anew for every size.

    Returns:
        A `Complexity`.

    Raises:
        ValueError: costs do not grow as a polynomial with exponents up to 3.
        RuntimeError: the Keras backend is not TensorFlow.
    """
    known = {}

    def at(point):
        if point not in known:
            known[point] = _measured(mixing, point)
        return known[point]

    degrees = []
    for axis in range(3):
        line = [tuple(n if i == axis else 1 for i in range(3)) for n in range(1, _MOST + 2)]
        degrees.append(_degree(np.array([at(point) for point in line])))
    sides = [range(1, degree + 2) for degree in degrees]
    values = np.array([at(point) for point in itertools.product(*sides)]).reshape(*map(len, sides), 2)
    for axis, nodes in enumerate(sides):
        inverse = np.linalg.inv(np.vander(nodes, increasing=True))
        values = np.moveaxis(np.tensordot(inverse, values, (1, axis)), 0, axis)
    found = Complexity(*(_terms(values[..., i]) for i in range(2)))
    # Further out than any of those measured, and not on a line with them.
    other = tuple(degree + extra for degree, extra in zip(degrees, (2, 3, 2), strict=True))
    for terms, measured in zip((found.parameters, found.macs), at(other), strict=True):
        if not math.isclose(value(terms, *_shape(other)), measured, rel_tol=1e-6, abs_tol=0.5):
            raise ValueError(
                f"`mixing` must cost a polynomial of the map's sides and channels, of exponents up to {_MOST}. At "
                f"a map of {_shape(other)} it costs {measured}. The polynomial says {value(terms, *_shape(other)):.1f}."
            )
    return found


def value(terms: Terms, height: float, width: float, channels: float) -> float:
    """The value of a polynomial at a map."""
    return sum(factor * height**i * width**j * channels**k for (i, j, k), factor in terms.items())


def leading(terms: Terms) -> Terms:
    """The terms that no other outgrows in height, width and channels, highest exponents first.

    Terms of one side or of the channels alone, such as biases and norms have, are left out where there are others.
    """
    higher = [one for one in terms if sum(one) > 1] or terms
    kept = [
        one
        for one in higher
        if not any(other != one and all(a >= b for a, b in zip(other, one, strict=True)) for other in higher)
    ]
    return {exponents: terms[exponents] for exponents in sorted(kept, key=lambda one: (-sum(one), [-n for n in one]))}


def written(terms: Terms) -> str:
    """The leading terms as text, such as "2H²W²C + C²"; "0" for none."""
    return " + ".join(_factor(factor, exponents) for exponents, factor in leading(terms).items()) or "0"


def plot_complexity(found: dict[str, Complexity], path, channels: int = 384):
    """Draw parameters and multiply-adds over the side of a square map, a line for each token mixing.

    Args:
        found: by title, what `complexity` gives.
        path: PNG file to write.
        channels: of the maps.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figures = need("matplotlib.figure", extra="analysis")
    figure = figures.Figure(figsize=(12, 6), layout="constrained")
    sides, ticks = np.arange(7, 113), (7, 14, 28, 56, 112)
    titles = {"parameters": "parameters", "macs": "multiply-adds of one image"}
    for axes, (what, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for number, (name, costs) in enumerate(found.items()):
            heights = [value(getattr(costs, what), side, side, channels) for side in sides]
            style = _STYLES[number // 10 % len(_STYLES)]  # of ten colours
            axes.plot(
                sides, np.where(np.array(heights) > 0, heights, np.nan), style, color=f"C{number % 10}", label=name
            )
        none = not any(getattr(costs, what) for costs in found.values())  # a logarithm has no place for them
        axes.set(xscale="log", yscale="linear" if none else "log", xlabel="side of the map in positions", title=title)
        axes.set_xticks(ticks, ticks)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    figure.suptitle(f"token mixing of {channels} channels")
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, facecolor="white")


def _shape(point) -> tuple[int, int, int]:
    return _SIDE * point[0], _SIDE * point[1], _CHANNELS * point[2]


def _measured(mixing, point) -> tuple[int, int]:
    """Parameters and multiply-adds at a map."""
    x = keras.Input(_shape(point))
    found = cost(keras.Model(x, mixing(x)))
    return found.parameters, found.macs


def _degree(values) -> int:
    """The degree of the polynomial that evenly spaced values `(n, …)` lie on."""
    degree = len(values) - 1
    while degree and not np.any(np.diff(values, degree, axis=0)):
        degree -= 1
    return degree


def _terms(factors) -> Terms:
    """The factors `(degree of H + 1, of W + 1, of C + 1)`, of sides in multiples of what is measured, as terms."""
    return {
        exponents: float(factor) / math.prod(n**e for n, e in zip(_shape((1, 1, 1)), exponents, strict=True))
        for exponents, factor in np.ndenumerate(np.round(factors, 5))
        if factor
    }


def _factor(factor, exponents) -> str:
    powers = ("" if n == 1 else str(n).translate(_RAISED) for n in exponents)
    letters = "".join(symbol + power for symbol, n, power in zip(_SYMBOLS, exponents, powers, strict=True) if n)
    number = f"{factor:.3g}"
    return letters if letters and number == "1" else number + letters
