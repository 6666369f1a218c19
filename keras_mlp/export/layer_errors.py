"""What eight bits cost each layer, and int8 files in which chosen layers stay in float."""

import csv
import dataclasses
import io
import re

import keras
import numpy as np

from keras_mlp.export.errors import TFLITE, calls_of_a_library
from keras_mlp.export.operators import slow_in_integers, tensor_names

IMAGES = 16


@dataclasses.dataclass(frozen=True)
class LayerError:
    """How far a layer in int8 is from the same layer in float32, given the same input.

    Args:
        layer: its name.
        error: of its worst operator. Of each channel of the operator's output it is the root mean square of the
            difference, divided by the channel's standard deviation; of the channels the median. Where it nears 1, half
            of the channels tell nothing any more.
        operator: the name of that operator, e.g. "FULLY_CONNECTED".
    """

    layer: str
    error: float
    operator: str


class Quantised:
    """An int8 file in the making.

    Args:
        converter: a `tf.lite.TFLiteConverter` set up for int8.
        network: the model that it converts.
        images: its representative images, `(n, ...)`; a few of them are compared on.

    Attributes:
        errors: `LayerError` of each layer, the worst first.
    """

    def __init__(self, converter, network, images):
        import tensorflow as tf

        lite = tf.lite.experimental
        with calls_of_a_library(TFLITE):
            self._debugger = lite.QuantizationDebugger(converter=converter)
        if keep := slow_in_integers(self._debugger.quant_model):
            self._debugger.options = lite.QuantizationDebugOptions(denylisted_ops=keep)
        batch = network.inputs[0].shape[0] or 1
        # The one made from a converter does not keep the tensors that are to be compared.
        with calls_of_a_library(TFLITE):
            comparison = lite.QuantizationDebugger(
                quant_debug_model_content=self._debugger.quant_model,
                debug_dataset=lambda: ([images[i : i + batch]] for i in range(0, len(images) - batch + 1, batch)),
                debug_options=lite.QuantizationDebugOptions(layer_direct_compare_metrics={"noise": _noise}),
            )
        with calls_of_a_library(TFLITE, RuntimeError):  # the interpreter's; it calls `_noise`, which is ours
            comparison.run()
        table = io.StringIO()
        comparison.layer_statistics_dump(table)
        self._tensors, worst = {}, {}
        for row in csv.DictReader(io.StringIO(table.getvalue())):
            layer = _layer_of(row["tensor_name"], network)
            self._tensors.setdefault(layer, []).append(row["tensor_name"])
            found = LayerError(layer, float(np.nan_to_num(float(row["noise"]))), row["op_name"])
            worst[layer] = max(worst.get(layer, found), found, key=lambda error: error.error)
        self.errors = sorted(worst.values(), key=lambda error: -error.error)

    def content(self, float_layers=()) -> bytes:
        """The content of the file.

        Args:
            float_layers: names of layers, of those in `errors`, that are to compute in float32; not all of them.
        """
        tensors = [tensor for layer in float_layers for tensor in self._tensors[layer]]
        self._debugger.options.denylisted_nodes = tensors or None
        with calls_of_a_library(TFLITE):
            return self._debugger.get_nondebug_quantized_model()


def _noise(exact, quantised, scale, zero) -> float:
    """See `LayerError.error`; NaN where nothing varies."""
    exact = exact.reshape(-1, exact.shape[-1])
    difference = scale * (quantised.reshape(exact.shape).astype("float32") - zero) - exact
    axis = 0 if len(exact) > 1 else None  # one position has no standard deviation of its own
    spread = np.atleast_1d(exact.std(axis))
    error = np.atleast_1d(np.sqrt((difference**2).mean(axis)))
    varies = spread > 0
    return np.median(error[varies] / spread[varies]) if varies.any() else np.nan


def exact_layers(network) -> set[str]:
    """The names of layers that choose and place things, as their attribute `exact` tells: they stay in float."""
    return {layer.name for layer in _layers(network) if getattr(layer, "exact", False)}


def tensors_of(layers: set[str], content: bytes, network) -> list[str]:
    """The names of what the operators of some layers give.

    Args:
        layers: names of layers of the network.
        content: of a .tflite file of the network.
        network: the model.
    """
    return [tensor for tensor in tensor_names(content) if _layer_of(tensor, network) in layers] if layers else []


def _layer_of(tensor, network) -> str:
    """The layer that a tensor comes from: its name has the layer's in it, as "mixer_1/blocks_0_norm1_1/Mean".

    Args:
        tensor: the name; of merged operators, several with semicolons between them.
        network: the model.
    """
    names = {re.sub(r"[^A-Za-z0-9_\-/]", "_", layer.name): layer.name for layer in _layers(network)}
    for part in re.split("[;/]", tensor):
        for name in (re.sub(r"_\d+$", "", part), part):  # TensorFlow numbers what is called more than once
            if name in names:
                return names[name]
    return network.outputs[0]._keras_history.operation.name  # the output has a name of its own


def _layers(model):
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else [layer]
