"""What is inside a .tflite file, read from the file itself."""

import collections
import os

from keras_mlp.extras import need

# They stand where numbers change their form, and compute nothing.
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "CAST")


def operators(path: str | os.PathLike) -> dict[str, int]:
    """Count the operators of a .tflite file.

    Args:
        path: the file.

    Returns:
        `{name: count}`, most frequent first, e.g. `{"FULLY_CONNECTED": 17, "GELU": 8}`. A custom operator has its own
        name; the names of TensorFlow's own operators begin with "Flex".
    """
    return dict(collections.Counter(name for name, *_ in _walk(_content(path))).most_common())


def float_operators(path: str | os.PathLike) -> dict[str, int]:
    """Count the operators of a .tflite file that give floating point: none in a fully quantised file.

    Args:
        path: the file.

    Returns:
        `{name: count}`, without QUANTIZE, DEQUANTIZE and CAST.
    """
    floating = (name for name, is_float, _ in _walk(_content(path)) if is_float and name not in CONVERSIONS)
    return dict(collections.Counter(floating).most_common())


def slow_in_integers(content: bytes) -> list[str]:
    """Name the operators of a .tflite file that are several times faster in float32 than in eight bits.

    For products of two activations and for the softmax between them, attention's, LiteRT has plain loops only where
    their numbers are integers; XNNPACK has fast kernels for products with weights, and for both in float32.

    Args:
        content: of the file.

    Returns:
        Names of operators, none where there are no such products.
    """
    products = [constant for name, _, constant in _walk(content) if name == "BATCH_MATMUL"]
    return ["BATCH_MATMUL", "SOFTMAX"] if products and not any(products) else []


def tensor_names(content: bytes) -> list[str]:
    """The names of what the operators of a .tflite file give, in their order.

    Args:
        content: of the file.
    """
    schema = need("ai_edge_litert.schema_py_generated", extra="export")
    model, found = schema.Model.GetRootAsModel(content, 0), []
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for operator in map(graph.Operators, range(graph.OperatorsLength())):
            outputs = map(operator.Outputs, range(operator.OutputsLength()))
            found += [graph.Tensors(tensor).Name().decode() for tensor in outputs]
    return found


def _content(path):
    schema = need("ai_edge_litert.schema_py_generated", extra="export")
    with open(path, "rb") as file:
        content = file.read()
    if not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise ValueError(f"This is not a TFLite file: {path}. Make one with `keras_mlp.export.to_tflite`.")
    return content


def _walk(content):
    """`(name, whether an output is float, whether an input is constant)` of every operator."""
    schema = need("ai_edge_litert.schema_py_generated", extra="export")
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    floats = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16, schema.TensorType.BFLOAT16)
    model = schema.Model.GetRootAsModel(content, 0)
    for i in range(model.SubgraphsLength()):
        graph = model.Subgraphs(i)
        for j in range(graph.OperatorsLength()):
            operator = graph.Operators(j)
            code = model.OperatorCodes(operator.OpcodeIndex())
            # Files from before the code outgrew a byte keep it in the old field.
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            name = code.CustomCode().decode() if names[number] == "CUSTOM" else names[number]
            outputs = (graph.Tensors(operator.Outputs(k)) for k in range(operator.OutputsLength()))
            inputs = (operator.Inputs(k) for k in range(operator.InputsLength()))
            buffers = (model.Buffers(graph.Tensors(tensor).Buffer()) for tensor in inputs if tensor >= 0)
            # Weights of large files lie behind the model, at an offset.
            constant = any(buffer.DataLength() or buffer.Size() for buffer in buffers)
            yield name, any(tensor.Type() in floats for tensor in outputs), constant
