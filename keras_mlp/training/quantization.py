"""Quantisation-aware training: a model learns with its weights and activations rounded to eight bits."""

import collections

import keras
import numpy as np
from keras import ops

from keras_mlp import adapters, copying

BATCH = 8
MOMENTUM = 0.99  # of the ranges, a step


class QuantizationAware(keras.Model):
    """A model that computes as its int8 file will, to be trained so that it gets used to it.

    Where a model loses too much by quantisation after training (`keras_mlp.export.to_tflite` tells), some epochs of
    this at a small rate can win it back. It is compiled and trained as `model` itself would be, and it is
    `model`'s weights that learn. Kernels are rounded per channel, to 255 steps of the channel's own range. The layers'
    outputs are rounded to 256 steps of the range that they have on `representative`; this range then follows the
    batches as a moving average. Gradients pass the rounding unchanged, and are zero beyond the range (Jacob et al.,
    Quantization and training of neural networks for efficient integer-arithmetic-only inference, 2018, section 3). The
    output of the last layer is left as it is.

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
        ends, names = iter(ranges), collections.Counter()

        def call(layer, *arguments, **options):
            names[layer.name] += 1
            name = f"{layer.name}_rounded" + (f"_{names[layer.name]}" if names[layer.name] > 1 else "")
            if isinstance(layer, keras.layers.Layer):
                return Rounded(layer, next(ends), name=name)(*arguments, **options)
            output, found = copying.anew(layer)(*arguments, **options), next(ends)
            return Rounded(keras.layers.Identity(dtype=output.dtype), found, name=name)(output) if found else output

        inputs = copying.inputs_like(model)
        outputs = copying.called_anew(model, inputs, call)
        super().__init__(inputs, outputs, name=model.name)
        self._plain = (model,)  # in a tuple: else Keras would take it for one of the layers

    @property
    def plain(self):
        """The model whose weights learn."""
        return self._plain[0]

    def save(self, *arguments, **options):
        """Save `model`; arguments are those of `keras.Model.save`."""
        self.plain.save(*arguments, **options)


class Rounded(keras.layers.Layer):
    """A layer with its kernels and its output rounded to eight bits.

    Args:
        layer: the layer, which keeps its variables.
        ends: the least and the most that its output is, at first; `None` if it is not to be rounded.
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
        learnt = _learnt(self.layer)
        state = [v for v in self.layer.variables if id(v) not in {id(variable) for _, variable in learnt}]
        values = [(variable, _rounded(layer, variable)) for layer, variable in learnt]
        values += [(variable, variable.value) for variable in state]
        with keras.StatelessScope(values, collect_losses=True) as scope:
            output = self.layer(*arguments, **options)
        for variable in state:
            variable.assign(scope.get_current_value(variable))
        for loss in scope.losses:  # such as a router's
            self.add_loss(ops.sum(loss))
        if self.ends is None:
            return output
        if training:
            seen = ops.stop_gradient(ops.cast(ops.stack([ops.min(output), ops.max(output)]), "float32"))
            self.ends.assign(MOMENTUM * self.ends + (1 - MOMENTUM) * seen)
        # Zero is always a step; ends that are alike would be none.
        low, high = ops.minimum(self.ends[0], 0.0), ops.maximum(self.ends[1], keras.config.epsilon())
        return keras.quantizers.fake_quant_with_min_max_vars(output, ops.stop_gradient(low), ops.stop_gradient(high))

    def compute_output_spec(self, *arguments, training=None, **options):
        return self.layer.compute_output_spec(*arguments, **options)


def _learnt(layer):
    """`[(layer that holds it, variable)]` of what is learnt in a layer, frozen or not, as against what it keeps."""
    return [(part, variable) for part in layer._flatten_layers() for variable in part._trainable_variables]


def _rounded(layer, variable):
    """The variable's value; of a kernel, which TFLite keeps in eight bits, the value rounded in each output channel."""
    if len(variable.shape) < 2 or adapters.is_factor(variable):
        return variable.value
    channels = variable.shape[-1]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        channels *= variable.shape[-2]
    added = adapters.adapter(layer, variable)  # which the layer adds itself; in the file it is part of the kernel
    kernel = ops.reshape(variable if added is None else variable + added, (-1, channels))
    most = ops.stop_gradient(ops.maximum(ops.max(ops.abs(kernel), 0), keras.config.epsilon()))
    kernel = keras.quantizers.fake_quant_with_min_max_vars(kernel, -most, most, narrow_range=True, axis=1)
    kernel = ops.reshape(kernel, variable.shape)
    return kernel if added is None else kernel - added


def _ranges(model, images):
    """For each call of a layer `(least, most)` of what it gives for the images; `None` if that is not to be rounded."""
    calls = copying.calls(model)
    rounded = {
        str(i): call.outputs[0]
        for i, call in enumerate(calls)
        if len(call.outputs) == 1
        and call.outputs[0] is not model.outputs[0]
        and keras.backend.is_float_dtype(call.outputs[0].dtype)
    }
    found = {}
    outputs = keras.Model(model.inputs, rounded)
    for start in range(0, len(images), BATCH):
        for name, output in outputs.predict_on_batch(images[start : start + BATCH]).items():
            low, high = found.get(name, (np.inf, -np.inf))
            found[name] = min(low, float(np.min(output))), max(high, float(np.max(output)))
    return [found.get(str(i)) for i in range(len(calls))]


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
