"""What differs from layer to layer in fine-tuning: rates that fall with depth, and layers that begin to train later."""

import contextlib
import math
import re

import keras

from keras_mlp import names


def groups(model) -> list[list]:
    """Return the layers that have weights, block by block from the input to the classifier.

    A block is what shares a beginning with numbers in the layers' names, as "stages_1_0_norm" and
    "stages_1_0_token_mixing"; what comes before the first is one group (the stem), and what comes after the last one is
    another (the norm and the head). In a model without such names each layer is a group.
    """
    layers = [layer for layer in model.layers if layer.weights]
    matches = (re.match(r"\D*\d+(_\d+)*", names.local(layer.name)) for layer in layers)
    blocks = [match and match[0] for match in matches]
    if not any(blocks):
        return [[layer] for layer in layers]
    last = len(blocks) - next(i for i, block in enumerate(reversed(blocks)) if block)
    found = {}
    block = "stem"
    for i, layer in enumerate(layers):
        block = "top" if i >= last else blocks[i] or block
        found.setdefault(block, []).append(layer)
    return list(found.values())


def rate_factors(model, decay: float) -> dict[str, float]:
    """Return what each variable's rate is multiplied by, by its path.

    Args:
        model: a built model.
        decay: factor from a block to the one below it; the classifier and the norm before it have the full rate.
            Source: Bao et al., BEiT, 2021, "layer-wise learning rate decay".
    """
    found = groups(model)
    return {
        variable.path: decay ** (len(found) - 1 - i)
        for i, layers in enumerate(found)
        for layer in layers
        for variable in layer.trainable_variables
    }


def by_depth(optimizer: type) -> type:
    """Return a kind of optimiser with a further argument: `rate_factors`, as the function of that name gives them.

    A factor multiplies all that the rate does to a variable, weight decay included.
    """

    @keras.saving.register_keras_serializable(package="keras_mlp", name=f"{optimizer.__name__}ByDepth")
    class ByDepth(optimizer):
        def __init__(self, *arguments, rate_factors=None, **options):
            super().__init__(*arguments, **options)
            self.rate_factors = rate_factors or {}

        def build(self, variables):
            self._factors = [self.rate_factors.get(variable.path, 1.0) for variable in variables]
            super().build(variables)

        def update_step(self, gradient, variable, learning_rate):
            factor = self._factors[self._get_variable_index(variable)]
            super().update_step(gradient, variable, learning_rate * factor)

        def _apply_weight_decay(self, variables):
            decay = self.weight_decay
            for variable in variables if decay else ():
                self.weight_decay = decay * self._factors[self._get_variable_index(variable)]
                super()._apply_weight_decay([variable])
            self.weight_decay = decay

        def get_config(self):
            return {**super().get_config(), "rate_factors": self.rate_factors}

    ByDepth.__name__ = ByDepth.__qualname__ = f"{optimizer.__name__}ByDepth"
    return ByDepth


class Unfreeze(keras.callbacks.Callback):
    """Trains the classifier alone at first, and then more and more of what is below it.

    Layers that do not train are as if `trainable` were `False` from the beginning: their statistics stay, and no
    gradient is computed for them. Layers that the user froze stay so.

    Args:
        model: the model.
        epochs: those in which further layers begin to train; in the last one all do. In between it is an even share of
            the blocks, from the top.

    Raises:
        ValueError: with another backend than TensorFlow; in JAX the optimiser takes the gradients of all its variables.
    """

    def __init__(self, model, epochs):
        super().__init__()
        if keras.backend.backend() != "tensorflow":
            raise ValueError("unfreeze_epochs needs KERAS_BACKEND=tensorflow.")
        self.epochs = [epochs] if isinstance(epochs, int) else sorted(epochs)
        self.groups = [[layer for layer in layers if layer.trainable] for layers in groups(model)]
        self.frozen = 0

    def on_epoch_begin(self, epoch, logs=None):
        begun = sum(epoch >= first for first in self.epochs) / len(self.epochs)
        frozen = math.ceil((len(self.groups) - 1) * (1 - begun))
        if frozen != self.frozen:
            self._freeze(frozen)
            self.frozen = frozen
            self.model.make_train_function(force=True)

    def on_train_end(self, logs=None):
        self._freeze(0)

    @contextlib.contextmanager
    def thawed(self):
        """All layers as they were, to be saved."""
        self._freeze(0)
        yield
        self._freeze(self.frozen)

    def _freeze(self, frozen):
        for i, layers in enumerate(self.groups):
            for layer in layers:
                layer.trainable = i >= frozen
