"""LARS, which Keras does not have."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mlp")
class Lars(keras.optimizers.Optimizer):
    """Momentum SGD whose step is scaled, tensor by tensor, to the size of what it changes.

        d = gradient + weight_decay * variable
        d = trust * |variable| / |d| * d                   where neither norm is 0
        velocity = momentum * velocity + d;    variable = variable - learning_rate * velocity

    Tensors of one axis, which are biases and scales, have `d = gradient`: neither decay nor scaling.

    Source: You et al., Large batch training of convolutional networks, 2017, algorithm 1; with the scaling before the
    momentum, as in MoCo v3.

    Args:
        learning_rate: a rate or a schedule.
        momentum: in [0, 1).
        trust: the share of a variable's norm that a gradient of whatever size is brought to.
        weight_decay: part of the gradient here, other than in AdamW.
        **options: of `keras.optimizers.Optimizer`.
    """

    def __init__(self, learning_rate=0.1, momentum=0.9, trust=0.001, weight_decay=0.0, name="lars", **options):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, name=name, **options)
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` should be in [0, 1). Received: {momentum}")
        if not trust > 0:
            raise ValueError(f"`trust` should be above 0. Received: {trust}")
        self.momentum = momentum
        self.trust = trust

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self._velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient, variable, learning_rate):
        number = self._get_variable_index(variable)
        gradient = ops.cast(gradient, variable.dtype)
        if len(variable.shape) > 1:
            if self.weight_decay and self._use_weight_decay(self._trainable_variables[number]):
                gradient = gradient + self.weight_decay * variable
            size, step = (ops.sqrt(ops.sum(ops.square(tensor))) for tensor in (variable, gradient))
            sound = ops.logical_and(size > 0, step > 0)
            gradient = ops.where(sound, self.trust * size / ops.where(sound, step, 1), 1) * gradient
        velocity = self._velocities[number]
        self.assign(velocity, self.momentum * velocity + gradient)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * velocity)

    def _apply_weight_decay(self, variables):
        """Nothing is left to do: Keras would decay apart from the gradient."""

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum, "trust": self.trust}
