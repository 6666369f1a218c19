"""From a Keras model to the content of a .tflite file, by TensorFlow's converter."""

import contextlib
import os

import keras

from keras_mlp.export.detections import has_custom_operator
from keras_mlp.export.errors import TFLITE, calls_of_a_library
from keras_mlp.export.layer_errors import IMAGES, Quantised, exact_layers, tensors_of
from keras_mlp.export.operators import slow_in_integers
from keras_mlp.export.portable import fused, portable
from keras_mlp.export.quiet import quiet
from keras_mlp.files import temporary_folder
from keras_mlp.layers import products
from keras_mlp.precisions import PRECISIONS


def prepared(model: keras.Model, shape: tuple[int | None, ...], fuse: bool) -> keras.Model:
    """What is converted: `model` in float32, its height and width static, and fused if it is to be.

    Args:
        model: functional or sequential model with one input. It is not changed.
        shape: of the input, batch included.
        fuse: whether to fuse it.
    """
    network = portable(model, shape)
    return fused(network) if fuse else network  # before, a mixed policy would keep the preprocessing apart


def labelled(network: keras.Model) -> keras.Model:
    """A segmenter that gives the number of each pixel's class, uint8 `(batch, height, width)`, instead of logits."""
    return keras.Model(network.inputs, _LabelMap(name="labels", dtype="float32")(network.output))


class _LabelMap(keras.layers.Layer):
    """Keras' own `argmax` tells zeros of the two signs apart, with bit operations that LiteRT does not have."""

    def call(self, logits):
        import tensorflow as tf

        return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8)


def convert(
    network: keras.Model, precision: str, representative, input_dtype: str, older_runtimes: bool = False
) -> bytes:
    """The content of a file.

    Args:
        network: as `prepared` made it.
        precision: of `keras_mlp.precisions.PRECISIONS`.
        representative: images of a precision that is calibrated.
        input_dtype: what the file takes.
        older_runtimes: whether dense weights in eight bits have one scale each and not one for each channel.

    Raises:
        ExportError: the converter refused the model.
    """
    import tensorflow as tf

    with _converter(network, precision, representative, input_dtype) as converter:
        # TensorFlow has no public name for it; a test looks at the version that the file asks for.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = older_runtimes
        with calls_of_a_library(TFLITE):
            content = converter.convert()
        if precision != "int8" or input_dtype == "int8":
            return content
        slow, exact = slow_in_integers(content), exact_layers(network)
        if slow or exact:
            with calls_of_a_library(TFLITE):
                debugger = tf.lite.experimental.QuantizationDebugger(converter=converter)
            debugger.options.denylisted_ops = slow or None
            debugger.options.denylisted_nodes = tensors_of(exact, debugger.calibrated_model, network) or None
            with calls_of_a_library(TFLITE):
                content = debugger.get_nondebug_quantized_model()
        return content


def quantise(network: keras.Model, representative, input_dtype: str) -> Quantised:
    """An int8 file in the making, of which chosen layers may stay in float; arguments are those of `convert`."""
    dtype = "uint8" if input_dtype == "uint8" else "float32"
    images = representative[: max(IMAGES, network.inputs[0].shape[0] or 1)].astype(dtype)
    with _converter(network, "int8", representative, input_dtype) as converter:
        return Quantised(converter, network, images)


@contextlib.contextmanager
def _converter(network, precision, representative, input_dtype):
    """TFLite's converter of a portable model, for use within the block."""
    import tensorflow as tf

    precision = PRECISIONS[precision]
    shape = network.inputs[0].shape
    # A quantised input is the converter's business, which makes it from a float one; bytes are cast here.
    dtype = "uint8" if input_dtype == "uint8" else "float32"
    archive = keras.export.ExportArchive()
    archive.track(network)

    def serve(image):
        with products.for_litert(integers=precision.calibrated):
            return network(keras.ops.cast(image, "float32"), training=False)

    archive.add_endpoint("serve", serve, input_signature=[keras.InputSpec(shape=shape, dtype=dtype)])
    with temporary_folder() as folder:
        with quiet():
            archive.write_out(os.fspath(folder), verbose=False)
        with calls_of_a_library(TFLITE):
            converter = tf.lite.TFLiteConverter.from_saved_model(os.fspath(folder))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.allow_custom_ops = has_custom_operator(network)
        if precision.rounded or precision.weights == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision.weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision.calibrated:
            # What has no integer kernel stays in float32; `Exported.float_operators` tells.
            converter.target_spec.supported_ops.insert(0, getattr(tf.lite.OpsSet, precision.kernels))
            converter.representative_dataset = lambda: _batches(representative.astype(dtype), shape[0] or 1)
        if input_dtype == "int8":
            converter.inference_input_type = tf.int8
            if keras.backend.is_float_dtype(network.outputs[0].dtype):  # a label map stays one
                converter.inference_output_type = tf.int8
        yield converter


def _batches(images, size):
    for start in range(0, len(images) - size + 1, size):
        yield [images[start : start + size]]
