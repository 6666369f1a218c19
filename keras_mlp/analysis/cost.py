"""What a model costs: parameters, multiply-adds, activations."""

import dataclasses
import math

import keras

from keras_mlp.cards import operations
from keras_mlp.layers.products import BINARY_PRODUCT, SUM_BY_PRODUCT, TRANSFORM_BY_PRODUCT

_LEFT_OUT = (SUM_BY_PRODUCT, TRANSFORM_BY_PRODUCT)
"""Which products are not counted: those that stand for sums or fast transforms."""
_LOW_BIT = {BINARY_PRODUCT: "binary"}
"""Which products are of numbers of few bits: those with these words in the names of their operations."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one image costs.

    Attributes:
        parameters: trainable parameters.
        macs: multiply-adds in matrix products and convolutions; other operations are not counted, as in the papers.
        macs_by_operation: the same by kind of operation, in TensorFlow's names.
        activations: numbers in the outputs of those operations.
        low_bit_macs: those of `macs` whose factors take few bits, by the kind of number, as on a `ModelCard`.
    """

    parameters: int
    macs: int
    macs_by_operation: dict[str, int]
    activations: int
    low_bit_macs: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def operations(self) -> float:
        """OPs, as papers on binary networks count them: see `cards.operations`."""
        return operations(self.macs, self.low_bit_macs)


def cost(model: keras.Model, input_shape: tuple[int, ...] | None = None) -> Cost:
    """Count what `model` costs for one image, from the operations that TensorFlow really runs.

    Args:
        model: a Keras model with one input.
        input_shape: `(height, width, channels)`; needed if the model's own has unknown sizes.

    Returns:
        A `Cost`.

    Raises:
        ValueError: the input's size is unknown.
        RuntimeError: the Keras backend is not TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"Costs are counted in TensorFlow graphs. The Keras backend is {keras.backend.backend()!r}.")
    import tensorflow as tf

    shape = tuple(input_shape or model.inputs[0].shape[1:])
    if None in shape:
        raise ValueError(f"The cost depends on the input's size, which is unknown: {shape}. Pass `input_shape`.")
    graph = tf.__internal__.FuncGraph("cost")
    # Functions inside the model (Keras makes one of a grouped convolution) are opened, so that their operations show.
    inlined = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        with graph.as_default():
            outputs = model(tf.compat.v1.placeholder(model.inputs[0].dtype, (1, *shape)), training=False)
    finally:
        tf.config.run_functions_eagerly(inlined)
    macs, activations, low_bit = {}, 0, {}
    for operation, times in _runs(graph, tf.nest.flatten(outputs)):
        if operation.type in _INNER and not any(mark in operation.name for mark in _LEFT_OUT):
            output = math.prod(operation.outputs[0].shape)
            output *= times
            count = output * _INNER[operation.type](operation)
            macs[operation.type] = macs.get(operation.type, 0) + count
            activations += output
            for kind in (kind for mark, kind in _LOW_BIT.items() if mark in operation.name):
                low_bit[kind] = low_bit.get(kind, 0) + count
    parameters = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    return Cost(parameters, sum(macs.values()), macs, activations, low_bit)


def _runs(graph, outputs):
    """The operations that `outputs` need, and how often each runs: those in a loop as often as it goes round."""
    import tensorflow as tf

    needed, pending = set(), [tensor.op for tensor in outputs]
    while pending:
        operation = pending.pop()
        if operation not in needed:
            needed.add(operation)
            pending += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
    for operation in graph.get_operations():
        if operation not in needed:
            continue
        if operation.type not in ("While", "StatelessWhile"):
            yield operation, 1
            continue
        with tf.compat.v1.Session(graph=graph) as session:
            rounds = int(session.run(operation.inputs[1]))  # at most; Keras' recurrent layers know their length
        body = graph._get_function(operation.get_attr("body").name).graph
        for inner, times in _runs(body, body.outputs):
            yield inner, rounds * times


def _matmul(operation) -> int:
    transposed = any(operation.get_attr(name) for name in ("transpose_a", "adj_x") if name in operation.node_def.attr)
    return operation.inputs[0].shape[-2 if transposed else -1]


def _convolution(operation) -> int:
    *window, channels, _ = operation.inputs[1].shape  # (…, in channels of a group, out)
    return math.prod(window) * channels


def _depthwise(operation) -> int:
    height, width, *_ = operation.inputs[1].shape
    return height * width


def _einsum(operation) -> int:
    left, output = operation.get_attr("equation").decode().split("->")
    sizes = {}
    for labels, tensor in zip(left.split(","), operation.inputs, strict=True):
        named = labels.replace("...", "")
        sizes |= zip(named, tensor.shape[len(tensor.shape) - len(named) :], strict=True)
    return math.prod(size for label, size in sizes.items() if label not in output)


_INNER = {
    "MatMul": _matmul,
    "BatchMatMul": _matmul,
    "BatchMatMulV2": _matmul,
    "BatchMatMulV3": _matmul,
    "Conv2D": _convolution,
    "Conv3D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "Einsum": _einsum,
}
"""For each operation, the length of the sum behind one number of its output."""
