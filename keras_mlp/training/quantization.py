"""Quantisation-aware training: a model learns with its weights and activations rounded to eight bits."""

import keras
import numpy as np
from keras import ops

BATCH = 8
MOMENTUM = 0.99  # of the ranges, a step


class QuantizationAware(keras.Model):
    """A model that computes as its int8 file will, to be trained so that it gets used to it.

    Where a model loses too much by quantisation after training (`keras_mlp.export.to_tflite` tells), some epochs of
    this at a small rate can win it back. It is compiled and trained as `model` itself would be, and it is
    `model`'s weights that learn. Kernels are rounded per channel, to 255 steps of the channel's own range; what the
    layers answer to 256 steps of the range that it has on `representative`, and which then follows the batches as a
    moving average. Gradients pass the rounding unchanged, and are zero beyond the range (Jacob et al., Quantization and
    training of neural networks for efficient integer-arithmetic-only inference, 2018, section 3). What the last layer
    answers is left as it is.

    Afterwards export `model`. `save`, too, writes `model`: a file without a trace of the rounding.

    Args:
        model: functional or sequential model with one input and one output.
        representative: a hundred or more of its images `(n, ...)`, in the units it takes: those that the export is
            given.

    Attributes:
        plain: `model`.

    Raises:
        ValueError: `model` is none that this can be made of, or `representative` does not fit it.

    Example:

    ```python
    aware = QuantizationAware(model, images[:128])
    aware.compile(keras.optimizers.AdamW(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
    aware.fit(images, labels, epochs=5)
    keras_mlp.export.to_tflite(model, "model.tflite", "int8", images[:128], verify_with=(images, labels))
    ```
    """

    def __init__(self, model, representative):
        representative = _checked(model, representative)
        ranges = _ranges(model, representative)

        def call(layer, *arguments, **options):
            rounded = Rounded(layer, ranges.get(layer.name), name=f"{layer.name}_rounded")
            return rounded(*arguments, **options)

        graph = _functional(model)
        rounded = keras.models.clone_model(graph, clone_function=lambda layer: layer, call_function=call)
        super().__init__(rounded.inputs[0], rounded.outputs[0], name=model.name)
        self._plain = (model,)  # in a tuple: else Keras would take it for one of the layers

    @property
    def plain(self):
        """The model whose weights learn."""
        return self._plain[0]

    def save(self, *arguments, **options):
        """Save `model`; arguments are those of `keras.Model.save`."""
        self.plain.save(*arguments, **options)


class Rounded(keras.layers.Layer):
    """A layer with its kernels and its answer rounded to eight bits.

    Args:
        layer: the layer, which keeps its variables.
        ends: the least and the most that its answer is, at first; `None` if it is not to be rounded.
    """

    def __init__(self, layer, ends, **options):
        super().__init__(dtype=layer.dtype_policy, **options)
        self.layer = layer
        self.ends = ends and self.add_weight(
            shape=(2,),
            initializer=lambda *_, **__: ops.convert_to_tensor(ends, "float32"),
            trainable=False,
            autocast=False,
            dtype="float32",
            name="ends",
        )
        self.built = True  # the layer is

    def call(self, *arguments, training=None, **options):
        state = self.layer.non_trainable_variables
        values = [(variable, _rounded_kernel(self.layer, variable)) for variable in self.layer.trainable_variables]
        values += [(variable, variable.value) for variable in state]
        with keras.StatelessScope(values, collect_losses=True) as scope:
            answer = self.layer(*arguments, **options)
        for variable in state:
            variable.assign(scope.get_current_value(variable))
        for loss in scope.losses:  # such as a router's
            self.add_loss(ops.sum(loss))
        if self.ends is None:
            return answer
        if training:
            seen = ops.stop_gradient(ops.cast(ops.stack([ops.min(answer), ops.max(answer)]), "float32"))
            self.ends.assign(MOMENTUM * self.ends + (1 - MOMENTUM) * seen)
        # Zero is always a step; ends that are alike would be none.
        low, high = ops.minimum(self.ends[0], 0.0), ops.maximum(self.ends[1], keras.config.epsilon())
        return keras.quantizers.fake_quant_with_min_max_vars(answer, ops.stop_gradient(low), ops.stop_gradient(high))

    def compute_output_spec(self, *arguments, training=None, **options):
        return self.layer.compute_output_spec(*arguments, **options)


def _rounded_kernel(layer, variable):
    """The variable's value; of a kernel, which TFLite keeps in eight bits, the value rounded in each output channel."""
    if len(variable.shape) < 2:
        return variable.value
    channels = variable.shape[-1]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        channels *= variable.shape[-2]
    kernel = ops.reshape(variable, (-1, channels))
    most = ops.stop_gradient(ops.maximum(ops.max(ops.abs(kernel), 0), keras.config.epsilon()))
    kernel = keras.quantizers.fake_quant_with_min_max_vars(kernel, -most, most, narrow_range=True, axis=1)
    return ops.reshape(kernel, variable.shape)


def _ranges(model, images):
    """`{layer: (least, most)}` of what those answer for the images that are to be rounded."""
    graph = _functional(model)
    rounded = [
        layer
        for layer in graph.layers
        if not isinstance(layer, keras.layers.InputLayer)
        and isinstance(layer.output, keras.KerasTensor)
        and layer.output is not graph.outputs[0]
        and keras.backend.is_float_dtype(layer.output.dtype)
    ]
    found = {}
    answers = keras.Model(graph.inputs, {layer.name: layer.output for layer in rounded})
    for start in range(0, len(images), BATCH):
        for name, answer in answers.predict_on_batch(images[start : start + BATCH]).items():
            low, high = found.get(name, (np.inf, -np.inf))
            found[name] = min(low, float(np.min(answer))), max(high, float(np.max(answer)))
    return found


def _functional(model):
    return model._functional if isinstance(model, keras.Sequential) else model


def _checked(model, representative):
    if not isinstance(model, (keras.Sequential, keras.Model)) or not getattr(model, "inputs", None):
        raise ValueError(f"`model` should be a built functional or sequential model. Received: {model}")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(f"`model` should have one input and one output. Received: {model.input_shape}")
    if nested := [layer.name for layer in model.layers if isinstance(layer, keras.Model)]:
        raise ValueError(f"`model` should not have models for layers; {model.name} has {nested[0]}.")
    representative = np.asarray(representative)
    wanted = model.input_shape[1:]
    fits = representative.ndim == len(wanted) + 1 and len(representative)
    if not fits or any(side not in (None, found) for side, found in zip(wanted, representative.shape[1:], strict=True)):
        raise ValueError(
            f"`representative` should be images (n, {', '.join(map(str, wanted))}) with n > 0. "
            f"Received: shape={representative.shape}"
        )
    return representative
