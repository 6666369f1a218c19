"""AdamW in one pass over a variable."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mlp")
class AdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, which on TensorFlow changes a variable and its two moments by one operator.

    Keras' own has an operator for each sum and product, so that it goes over the arrays several times. The numbers are
    the same up to rounding. Under a distribution strategy, on other backends, with `amsgrad` and for gradients of some
    rows only, this is Keras' own.

    Source: Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101, algorithm 2.

    Args:
        **options: of `keras.optimizers.AdamW`.
    """

    def update_step(self, gradient, variable, learning_rate):
        if not self._has_operator(gradient, variable):
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        number, dtype = self._get_variable_index(variable), variable.dtype
        step = ops.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = (ops.cast(beta, dtype) for beta in (self.beta_1, self.beta_2))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[number].value.handle,
            v=self._velocities[number].value.handle,
            beta1_power=ops.power(beta_1, step),
            beta2_power=ops.power(beta_2, step),
            lr=ops.cast(learning_rate, dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=ops.cast(self.epsilon, dtype),
            grad=ops.cast(gradient, dtype),
        )

    def _has_operator(self, gradient, variable):
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            return False
        import tensorflow as tf

        return (
            isinstance(gradient, tf.Tensor) and isinstance(variable, tf.Variable) and not tf.distribute.has_strategy()
        )
