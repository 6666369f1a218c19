"""Dense layers as one flat matrix product."""

import keras
from keras import ops

from keras_mlp.layers import activations, fusing, initializers
from keras_mlp.layers.configs import registered


class Adaptable:
    """In front of a layer of Keras' that takes low-rank adapters (`enable_lora`): faults of them mended.

    A kernel with adapters stays frozen when the layer is frozen and thawed, and adapters can be trained on after a file
    was loaded. (Files hold the kernel with the adapters' product in it, as Keras writes them; the adapters begin anew.)
    """

    @property
    def trainable(self):
        return super().trainable

    @trainable.setter
    def trainable(self, value):
        keras.layers.Layer.trainable.fset(self, value)
        if self.lora_enabled:
            self._kernel.trainable = False

    def load_own_variables(self, store):
        start = ops.convert_to_numpy(self.lora_kernel_a) if self.lora_enabled else None
        super().load_own_variables(store)
        if start is not None:  # Keras sets both to zero, where neither ever has a gradient
            self.lora_kernel_a.assign(start)


@fusing.as_base
@registered
class Dense(Adaptable, keras.layers.Dense):
    """`keras.layers.Dense` that multiplies matrices, whatever the rank of its input.

    The leading axes are flattened before the product and restored after bias and activation. The output is the same;
    the reshapes are free, and TensorFlow fuses bias and activation into a product of matrices only if nothing stands
    between them, as the reshape inside Keras' own layer does for inputs of higher rank.

    With `layer.rematerialize = True` a training step keeps of the layer nothing but its input, and computes product,
    bias and activation once more for the gradient.

    `quantize` and `enable_lora` are Keras' own, with faults of theirs mended: those that `Adaptable` tells, and
    `lora_alpha` survives the config.

    Args:
        units: width of the output.
        kernel_initializer, bias_initializer: may be shared between layers; each draws its own.
        **kwargs: of `keras.layers.Dense`.
    """

    def __init__(self, units, kernel_initializer="glorot_uniform", bias_initializer="zeros", **kwargs):
        kernel_initializer, bias_initializer = initializers.own(kernel_initializer), initializers.own(bias_initializer)
        super().__init__(units, kernel_initializer=kernel_initializer, bias_initializer=bias_initializer, **kwargs)
        self.rematerialize = False

    def build(self, input_shape):
        alpha = self.lora_alpha
        super().build(input_shape)
        self.lora_alpha = alpha

    def quantize(self, mode=None, type_check=True, config=None):
        # Keras refuses subclasses, which may compute something else.
        super().quantize(mode, type_check=type_check and type(self) is not Dense, config=config)

    def call(self, inputs, training=None):
        def compute(x, kernel, bias=None):
            x = ops.matmul(x, kernel)
            if bias is not None:
                x = ops.add(x, bias)
            return x if self.activation is None else activations.applied(self.activation, x, training)

        if training and self.rematerialize:
            compute = keras.remat(compute)
        flat = len(inputs.shape) == 2
        x = inputs if flat else ops.reshape(inputs, (-1, inputs.shape[-1]))
        # As tensors, in the precision of the moment: what is computed anew later would read variables in their own.
        x = compute(x, *(ops.convert_to_tensor(weight) for weight in (self.kernel, self.bias) if weight is not None))
        return x if flat else ops.reshape(x, (*leading(inputs), self.units))


def leading(x):
    """The leading axes of `x` for a reshape: -1 in place of one that is unknown, the graph's own if there are more."""
    leading = tuple(x.shape[:-1])
    if leading.count(None) > 1:
        return tuple(ops.shape(x)[:-1])
    return tuple(-1 if size is None else size for size in leading)
