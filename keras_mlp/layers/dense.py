"""Dense layers as one flat matrix product."""

import keras
from keras import ops

from keras_mlp.layers import algebra, initializers


@algebra.as_base
@keras.saving.register_keras_serializable(package="keras_mlp")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense` that multiplies matrices, whatever the rank of its input.

    The leading axes are flattened before the product and restored after bias and activation. The answer is the same;
    the reshapes are free, and TensorFlow fuses bias and activation into a product of matrices only if nothing stands
    between them, as the reshape inside Keras' own layer does for inputs of higher rank.

    Args:
        units: width of the output.
        kernel_initializer, bias_initializer: may be shared between layers; each draws its own.
        **kwargs: of `keras.layers.Dense`.
    """

    def __init__(self, units, kernel_initializer="glorot_uniform", bias_initializer="zeros", **kwargs):
        kernel_initializer, bias_initializer = initializers.own(kernel_initializer), initializers.own(bias_initializer)
        super().__init__(units, kernel_initializer=kernel_initializer, bias_initializer=bias_initializer, **kwargs)

    def call(self, inputs, training=None):
        if len(inputs.shape) == 2:
            return super().call(inputs, training=training)
        outputs = super().call(ops.reshape(inputs, (-1, inputs.shape[-1])), training=training)
        return ops.reshape(outputs, (*leading(inputs), self.units))


def leading(x):
    """The leading axes of `x` for a reshape: -1 in place of one that is unknown, the graph's own if there are more."""
    leading = tuple(x.shape[:-1])
    if leading.count(None) > 1:
        return tuple(ops.shape(x)[:-1])
    return tuple(-1 if size is None else size for size in leading)
