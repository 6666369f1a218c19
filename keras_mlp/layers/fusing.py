"""The protocol that layers answer for `keras_mlp.fuse`: what in a layer is linear in the channels.

Fusion knows no layer. It asks a layer the questions below, and the layer's own file answers them. A layer that does not
answer is left as it is, which is never wrong.

    question    what the answer means
    affine      the output is scale * n(x) + shift, channel by channel; n is what remains, or nothing
    reads       everything that the layer takes from its input goes through these linear maps first
    writes      the output comes out of this linear map, and nothing follows it
    carries     channels that are scaled and shifted at the input are scaled and shifted so at the output
    idle        the layer does nothing in inference
    sizes       these inputs matter by their size alone
    beside      these inputs do not go through the maps of `reads`; all else does
    plus        the same layer, whose output has that of another layer on the same input added to it
    then        the same layer, joined with a dense layer after it
    simpler     one layer or several that compute the same at less cost

`scale` and `shift` are float64 arrays of one number a channel. Weights are `{path inside the layer: float64 array}`.

**A new layer** registers, below its class and in the same file, a function for each question that it has an answer to:

    @fusing.reads.answer(MyMixing)
    def _first(layer):
        return (fusing.Linear("fc1/kernel", "io", "i", "o", bias="fc1/bias"),)

- A layer that begins with linear maps answers `reads`: norms before it then go into those maps.
- A layer that ends with one answers `writes`: norms after it then go into that map.
- A layer that only moves or averages positions answers `carries`: norms then pass through it. Where it brings in zeros
  it carries no shift.
- A layer that scales and shifts channels answers `affine`. A layer with a cheaper form answers `simpler`.

An answer holds for exactly the class that it was registered for, because a subclass may compute something else. A
subclass that computes what its base does says so with the decorator `as_base`; an answer of its own comes first. The
test of a new answer is a line in `tests/fusion/test_fuse.py`, where the fused model is compared with the original.
"""

import dataclasses

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Linear:
    """A linear map inside a layer, and how its weights hold it.

    The kernel's axes have letters, as in `einsum`: a convolution's are "hwio", of which "i" runs over the channels of
    the input and "o" over those of the output.

    Attributes:
        kernel: path of its kernel.
        axes: a letter for each axis of the kernel.
        input: the letters that run over the channels of what it reads, slowest first.
        output: the same of what it gives.
        bias: path of its bias.
        bias_axes: letters of the bias's axes. By default the bias has one axis, over `output`.
        switch: the setting of the layer that gives it a bias; `None` if it always has one.
        groups: parts that the kernel's last axis is cut into first, which is a letter more.
        padded: whether zeros come in from a border, to which a shift of the input does not apply.
    """

    kernel: str
    axes: str
    input: str
    output: str
    bias: str = "bias"
    bias_axes: str | None = None
    switch: str | None = None
    groups: int | None = None
    padded: bool = False

    def after(self, weights, scale, shift) -> dict[str, np.ndarray]:
        """The weights with which the map gives `scale * y + shift` in place of `y`."""
        kernel, sizes = self._kernel(weights)
        scale, shift = (self._reshaped(values, self.output, sizes) for values in (scale, shift))
        over, bias = self.bias_axes or self.output, self._bias(weights, sizes)
        bias = np.einsum(f"{over},{self.output}->{over}", bias, scale)
        bias = bias + np.einsum(f"{over},{self.output}->{over}", np.ones(bias.shape), shift)
        kernel = np.einsum(f"{self.axes},{self.output}->{self.axes}", kernel, scale)
        return self._with(weights, kernel, bias)

    def before(self, weights, scale, shift) -> dict[str, np.ndarray] | None:
        """The weights with which the map gives for `x` what it gave for `scale * x + shift`; `None` if none can."""
        if self.padded and np.any(shift):
            return None
        kernel, sizes = self._kernel(weights)
        scale, shift = (self._reshaped(values, self.input, sizes) for values in (scale, shift))
        over = self.bias_axes or self.output
        bias = self._bias(weights, sizes) + np.einsum(f"{self.axes},{self.input}->{over}", kernel, shift)
        kernel = np.einsum(f"{self.axes},{self.input}->{self.axes}", kernel, scale)
        return self._with(weights, kernel, bias)

    def biased(self, weights) -> dict[str, np.ndarray]:
        """The same weights with a bias, of zeros if there was none."""
        _, sizes = self._kernel(weights)
        bias = self._bias(weights, sizes)
        return weights | {self.bias: bias if self.bias_axes else bias.reshape(-1)}

    def _kernel(self, weights):
        kernel = weights[self.kernel]
        if self.groups is not None:
            kernel = kernel.reshape(*kernel.shape[:-1], self.groups, -1)
        return kernel, dict(zip(self.axes, kernel.shape, strict=True))

    def _bias(self, weights, sizes):
        over = self.bias_axes or self.output
        return self._reshaped(weights.get(self.bias, np.zeros([sizes[axis] for axis in over])), over, sizes)

    @staticmethod
    def _reshaped(values, axes, sizes):
        return np.reshape(values, [sizes[axis] for axis in axes])

    def _with(self, weights, kernel, bias):
        changed = {self.kernel: kernel.reshape(weights[self.kernel].shape)}
        if self.bias in weights or np.any(bias):
            changed[self.bias] = bias if self.bias_axes else bias.reshape(-1)
        return weights | changed


class Question:
    """A question to layers, answered by a function for each class that has an answer; `None` from all others."""

    same_as: dict[type, type] = {}

    def __init__(self, text):
        self.__doc__, self.answers = text, {}

    def answer(self, *classes):
        """Decorator: the function answers for layers of exactly these classes."""

        def register(function):
            self.answers |= dict.fromkeys(classes, function)
            return function

        return register

    def knows(self, layer) -> bool:
        """Whether there is an answer for layers of this class."""
        return self._answer(layer) is not None

    def __call__(self, layer, *arguments):
        answer = self._answer(layer)
        return answer and answer(layer, *arguments)

    def _answer(self, layer):
        kind = type(layer)
        return self.answers.get(kind) or self.answers.get(self.same_as.get(kind))


def as_base(kind):
    """Class decorator: let a layer that computes the same as its base class answer as that does."""
    base = next(base for base in kind.__mro__[1:] if issubclass(base, keras.layers.Layer))  # which a mixin may precede
    Question.same_as[kind] = Question.same_as.get(base, base)
    return kind


affine = Question("(layer, weights, channels) -> (scale, shift, settings of what remains or `None`)")
reads = Question("(layer) -> tuple of `Linear`")
writes = Question("(layer) -> `Linear`")
carries = Question("(layer, scale, shift, shape of the input) -> (scale, shift)")
idle = Question("(layer) -> whether it is")
sizes = Question("(layer) -> positions of such inputs among the layer's tensors")
beside = Question("(layer) -> positions of such inputs among the layer's tensors")
plus = Question("(layer, weights, other or `None` for the input itself, its weights, shape of the input) -> weights")
then = Question("(layer, weights, what follows, its weights) -> (weights, settings)")
simpler = Question("(layer, weights, shape of the input) -> list of (layer, weights) that follow each other")

_KERAS = keras.layers
_CONVOLUTIONS = {_KERAS.Conv1D: "w", _KERAS.Conv2D: "hw", _KERAS.Conv3D: "dhw"}
_DEPTHWISE = {_KERAS.DepthwiseConv1D: "w", _KERAS.DepthwiseConv2D: "hw"}


def _base(layer) -> type:
    """The class as which a layer answers."""
    return Question.same_as.get(type(layer), type(layer))


def ends_linear(layer) -> bool:
    """Whether no activation follows the linear map of a layer."""
    return layer.activation in (None, keras.activations.linear)


def _channels_last(layer) -> bool:
    return layer.data_format == "channels_last"


@reads.answer(_KERAS.Dense)
def _dense_reads(layer):
    return (Linear("kernel", "io", "i", "o", switch="use_bias"),)


@reads.answer(*_CONVOLUTIONS, *_DEPTHWISE)
def _convolution_reads(layer):
    if not _channels_last(layer):
        return None
    settings = dict(switch="use_bias", padded=layer.padding != "valid" and max(layer.kernel_size) > 1)
    kind = _base(layer)
    if kind in _DEPTHWISE:
        return (Linear("kernel", f"{_DEPTHWISE[kind]}cm", "c", "cm", **settings),)
    return (Linear("kernel", f"{_CONVOLUTIONS[kind]}igo", "gi", "go", groups=layer.groups, **settings),)


@writes.answer(_KERAS.Dense, *_CONVOLUTIONS, *_DEPTHWISE)
def _only_linear(layer):
    return (reads(layer) or (None,))[0] if ends_linear(layer) else None


def _along_channels(layer) -> bool:
    """Whether a norm's axis is the last one: a number, or a list of one."""
    return layer.axis in (-1, [-1], (-1,))


@affine.answer(_KERAS.BatchNormalization)
def _batch_norm(layer, weights, channels):
    if not _along_channels(layer):
        return None
    scale = weights.get("gamma", 1.0) / np.sqrt(weights["moving_variance"] + layer.epsilon)
    return scale, weights.get("beta", 0.0) - weights["moving_mean"] * scale, None


@affine.answer(_KERAS.LayerNormalization, _KERAS.GroupNormalization)
def _norm(layer, weights, channels):
    if not weights or not _along_channels(layer) or getattr(layer, "rms_scaling", False):
        return None
    scale, shift = weights.get("gamma", np.ones(channels)), weights.get("beta", np.zeros(channels))
    return scale, shift, {"scale": False, "center": False}


@affine.answer(_KERAS.Rescaling)
def _rescaling(layer, weights, channels):
    scale, shift = (np.asarray(values, np.float64) for values in (layer.scale, layer.offset))
    return np.broadcast_to(scale, channels), np.broadcast_to(shift, channels), None


@carries.answer(_KERAS.GlobalAveragePooling1D, _KERAS.GlobalAveragePooling2D, _KERAS.GlobalAveragePooling3D)
def _average(layer, scale, shift, shape):
    return (scale, shift) if _channels_last(layer) else None


@carries.answer(_KERAS.ZeroPadding1D, _KERAS.ZeroPadding2D, _KERAS.ZeroPadding3D)
def _zeros(layer, scale, shift, shape):
    return (scale, shift) if _channels_last(layer) and not np.any(shift) else None


@idle.answer(
    _KERAS.Dropout,
    _KERAS.SpatialDropout1D,
    _KERAS.SpatialDropout2D,
    _KERAS.SpatialDropout3D,
    _KERAS.GaussianDropout,
    _KERAS.GaussianNoise,
)
def _only_in_training(layer):
    return True


@plus.answer(_KERAS.Dense)
def _dense_plus(layer, weights, other, other_weights, shape):
    if other is None:
        return weights | {"kernel": weights["kernel"] + np.eye(shape[-1])}
    return added(weights, other_weights) if writes(other) == writes(layer) else None


@plus.answer(*_CONVOLUTIONS, *_DEPTHWISE)
def _convolution_plus(layer, weights, other, other_weights, shape):
    """Windows are centred on each other, which needs odd ones that stand at every position."""
    size = np.array(layer.kernel_size)
    centred = layer.padding == "same" and set(layer.strides) == set(layer.dilation_rate) == {1} and all(size % 2)
    if other is None:
        if not centred:
            return None
        one = np.zeros(weights["kernel"].shape)
        middle = one[tuple(size // 2)]
        if _base(layer) in _DEPTHWISE:
            middle[:, 0] = 1
        else:  # channel i of each group gives channel i
            channels = np.arange(shape[-1])
            middle[channels % middle.shape[0], channels] = 1
        return weights | {"kernel": weights["kernel"] + one}
    if _base(other) is not _base(layer) or not writes(other):
        return None
    settings = ("strides", "padding", "dilation_rate", "groups", "depth_multiplier", "data_format")
    if any(getattr(layer, name, None) != getattr(other, name, None) for name in settings):
        return None
    border = (size - other.kernel_size) // 2
    if np.any(border):
        if not centred or np.any(border < 0) or not all(np.array(other.kernel_size) % 2):
            return None
        kernel = other_weights["kernel"]
        pads = [(n, n) for n in border] + [(0, 0)] * (kernel.ndim - len(border))
        other_weights = other_weights | {"kernel": np.pad(kernel, pads)}
    return added(weights, other_weights)


def added(weights, other) -> dict[str, np.ndarray]:
    """The sums of the weights of two layers; what one does not have counts as zero."""
    return {path: weights.get(path, 0.0) + other.get(path, 0.0) for path in weights | other}


@then.answer(_KERAS.Dense, *_CONVOLUTIONS)
def _then_dense(layer, weights, dense, dense_weights):
    if _base(dense) is not _KERAS.Dense or not writes(layer):
        return None
    if getattr(layer, "groups", 1) != 1:
        return None
    merged = {"kernel": np.matmul(weights["kernel"], dense_weights["kernel"])}
    biases = [dense_weights["bias"]] if "bias" in dense_weights else []
    if "bias" in weights:
        biases.append(np.matmul(weights["bias"], dense_weights["kernel"]))
    if biases:
        merged["bias"] = sum(biases)
    width = next(name for name in ("units", "filters", "dim") if name in layer.get_config())
    return merged, {width: dense.units, "use_bias": bool(biases), "activation": dense.activation}
