"""What differs from layer to layer: rates, by depth or by name, clipping, and layers that begin to train later."""

import contextlib
import fnmatch
import math

import keras
from keras import ops

from keras_mlp import names
from keras_mlp.training.adaptive_clipping import clip, units


def groups(model) -> list[list]:
    """Return the layers that have weights, block by block from the input to the classifier.

    What comes before the first block is one group (the stem), each block and what is between two stages is another, and
    what comes after the last block is the last one (the norm and the head): see `keras_mlp.names`. Layers of another
    name go with the one before them. In a model without such names each layer is a group.
    """
    layers = [layer for layer in model.layers if layer.weights]
    places = [names.parse(layer.name) for layer in layers]
    in_blocks = [i for i, place in enumerate(places) if place and place.part in ("block", "down")]
    if not in_blocks:
        return [[layer] for layer in layers]
    stem, blocks, top = [], {}, []
    group = stem
    for i, (layer, place) in enumerate(zip(layers, places, strict=True)):
        if place and place.part == "stem":
            group = stem
        elif i in in_blocks:
            group = blocks.setdefault(place, [])
        elif place or i > in_blocks[-1]:
            group = top
        group.append(layer)
    return [group for group in (stem, *blocks.values(), top) if group]


def holds(path: str, word: str) -> bool:
    """Whether a word is in a variable's path; a "*" in it is anything."""
    return fnmatch.fnmatchcase(path, f"*{word}*")


def rate_factors(model, decay: float, words=()) -> dict[str, float]:
    """Return what each variable's rate is multiplied by, by its path.

    Args:
        model: a built model.
        decay: factor from a block to the one below it; the classifier and the norm before it have the full rate.
            Source: Bao et al., BEiT, 2021, "layer-wise learning rate decay".
        words: `(word, factor)` pairs; the first one whose word is in a variable's path is a factor, too.
    """
    found = groups(model)
    return {
        variable.path: decay ** (len(found) - 1 - i) * first(words, variable.path, 1.0)
        for i, layers in enumerate(found)
        for layer in layers
        for variable in layer.trainable_variables
    }


def first(words, path: str, otherwise):
    """The value of the first `(word, value)` pair whose word is in a variable's path, or that of none."""
    return next((value for word, value in words if holds(path, word)), otherwise)


def by_depth(optimizer: type) -> type:
    """Return a kind of optimiser with further arguments, for what differs from variable to variable.

    They are `rate_factors`, as the function of that name gives them; `rate_delays`, the number of steps in which a
    variable's rate is 0, by its path; and `clip_factor`, of `adaptive_clipping.clip`. A rate is all that moves a
    variable: its factor and its delay hold for weight decay, too.
    """

    @keras.saving.register_keras_serializable(package="keras_mlp", name=f"{optimizer.__name__}ByDepth")
    class ByDepth(optimizer):
        def __init__(self, *arguments, rate_factors=None, rate_delays=None, clip_factor=None, **options):
            super().__init__(*arguments, **options)
            self.rate_factors = rate_factors or {}
            self.rate_delays = rate_delays or {}
            self.clip_factor = clip_factor

        def build(self, variables):
            self._factors = [self.rate_factors.get(variable.path, 1.0) for variable in variables]
            self._delays = [self.rate_delays.get(variable.path, 0) for variable in variables]
            self._units = [units(variable) for variable in variables]
            super().build(variables)

        def _factor(self, variable):
            number = self._get_variable_index(variable)
            factor, delay = self._factors[number], self._delays[number]
            return factor * ops.cast(self.iterations >= delay, "float32") if delay else factor

        def update_step(self, gradient, variable, learning_rate):
            if self.clip_factor:
                axes = self._units[self._get_variable_index(variable)]
                gradient = clip(gradient, variable, self.clip_factor, axes)
            super().update_step(gradient, variable, learning_rate * self._factor(variable))

        def _apply_weight_decay(self, variables):
            decay = self.weight_decay
            for variable in filter(self._use_weight_decay, variables if decay else ()):
                self.weight_decay = decay * self._factor(variable)
                super()._apply_weight_decay([variable])
            self.weight_decay = decay

        def get_config(self):
            own = dict(rate_factors=self.rate_factors, rate_delays=self.rate_delays, clip_factor=self.clip_factor)
            return {**super().get_config(), **own}

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
