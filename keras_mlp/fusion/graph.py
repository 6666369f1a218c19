"""A functional model taken apart into calls of layers, to be changed and put together again."""

import collections
import functools

import keras
import numpy as np

from keras_mlp import adapters, copying
from keras_mlp.checkpoints import naming


class Draft:
    """A layer to be.

    Attributes:
        layer: the layer, which has not been called; it is made anew where its settings change.
        weights: what its weights will be, `{path inside the layer: array}`, in float64 until then. `None` for a layer
            that has them already.
        plain: whether the layer's weights mean what its class says: it is not quantised.
        source: the layer that it is a copy of, if it is one.
        copier: what has copied it, until it is changed.
    """

    def __init__(self, layer, weights, plain=True, source=None, copier=None):
        self.layer, self.weights, self.plain, self.source, self.copier = layer, weights, plain, source, copier

    @classmethod
    def of(cls, layer, arguments=()):
        """A copy of a model's layer or operation, which `arguments` are given to; adapters become part of weights."""
        if not isinstance(layer, keras.layers.Layer):
            return cls(copying.anew(layer), {})
        plain = not adapters.quantised(layer)
        copier = copying.Copier(adapters=not plain)
        values = adapters.values(layer)
        variables = [variable for variable in layer.weights if id(variable) in values]
        weights = {naming.path_in_layer(layer, v): _exact(values[id(v)]) for v in variables}
        return cls(copier.copy(layer, arguments), weights, plain, layer, copier)

    @property
    def name(self) -> str:
        return self.layer.name

    def ask(self, question, *arguments):
        """What the layer answers to a question of `layers/fusing.py`; `None` if it does not."""
        return question(self.layer, *arguments) if self.plain else None

    def change(self, weights, **settings):
        """Give the layer other weights and settings."""
        self.weights, self.copier = weights, None
        if settings:
            self.layer = copying.anew(self.layer, **settings)

    def fill(self):
        """Give the layer, which has been called meanwhile, what it is to have."""
        if self.copier:
            self.copier.finish()
        elif self.weights is not None:
            for variable in getattr(self.layer, "weights", ()):
                value = self.weights[naming.path_in_layer(self.layer, variable)]
                variable.assign(keras.ops.cast(value, variable.dtype))
            for one, other in copying.parts(self.source, self.layer) if self.source else ():
                other.trainable = one.trainable


class Call:
    """One call of a layer.

    Attributes:
        draft: the layer.
        args, kwargs: what it is called with.
        outputs: what it gives, a list of tensors.
    """

    def __init__(self, draft, args, kwargs, outputs):
        self.draft, self.args, self.kwargs, self.outputs = draft, args, kwargs, outputs

    @property
    def inputs(self) -> list:
        """The tensors among what it is called with."""
        return _tensors((self.args, self.kwargs))

    def substitute(self, by):
        """Put other tensors in place of those it is called with: `{id of a tensor: tensor}`."""
        if any(id(tensor) in by for tensor in self.inputs):
            self.args, self.kwargs = _mapped(lambda tensor: by.get(id(tensor), tensor), (self.args, self.kwargs))


class Graph:
    """The calls of a functional model, in an order in which they can be made.

    Args:
        model: the model; it is only read.
        draft: `(layer, arguments) -> Draft`, of a layer and what it is first called with.
        chosen: names of the layers that may change; `None` for all.
    """

    def __init__(self, model, draft=Draft.of, chosen=None):
        self.model, self.output, self._chosen = model, model.output, chosen
        drafts, self.calls = {}, []
        for node in copying.calls(model):
            operation, arguments = node.operation, node.arguments
            if id(operation) not in drafts:
                drafts[id(operation)] = draft(operation, (arguments.args, arguments.kwargs))
            self.calls.append(Call(drafts[id(operation)], arguments.args, arguments.kwargs, node.outputs))

    @functools.cached_property
    def _index(self):
        """By the tensor's id, what gives it and what takes it; by the draft's, how often it is called."""
        producers = {id(output): call for call in self.calls for output in call.outputs}
        consumers, counts = collections.defaultdict(list), collections.Counter(id(call.draft) for call in self.calls)
        for call in self.calls:
            for tensor in call.inputs:
                consumers[id(tensor)].append(call)
        for tensor in _tensors(self.output):
            consumers[id(tensor)].append(None)
        return producers, consumers, counts

    def producer(self, tensor) -> Call | None:
        """The call that gives `tensor`; `None` for an input of the model."""
        return self._index[0].get(id(tensor))

    def consumers(self, tensor) -> list[Call | None]:
        """The calls that take `tensor`, each as often as it does; `None` where the model gives it as an output."""
        return self._index[1].get(id(tensor), [])

    def chosen(self, call) -> bool:
        """Whether the layer is among those that may change, or that calls may be left out of."""
        return self._chosen is None or call.draft.name in self._chosen

    def free(self, call) -> bool:
        """Whether the layer may change: it is called nowhere else, and not told to do here as in training."""
        alone = self._index[2][id(call.draft)] == 1
        return alone and self.chosen(call) and not call.kwargs.get("training")

    def changed(self):
        """To be called after `calls`, or what one takes, has changed."""
        vars(self).pop("_index", None)

    def remove(self, call):
        """Take a call out; of one input, which stands for what it gave from now on."""
        self.calls.remove(call)
        by = {id(call.outputs[0]): call.inputs[0]}
        for other in self.calls:
            other.substitute(by)
        self.output = _mapped(lambda tensor: by.get(id(tensor), tensor), self.output)
        self.changed()

    def insert_before(self, call, draft, output):
        """Let a layer have the input of `call`, and `call` what it gives, the tensor `output`."""
        source = call.inputs[0]
        call.substitute({id(source): output})
        self.calls.insert(self.calls.index(call), Call(draft, (source,), {}, [output]))
        self.changed()

    def build(self) -> keras.Model:
        """The model, made of fresh layers."""

        def ours(tensor):
            return built[id(tensor)]

        inputs = copying.inputs_like(self.model)
        built = {id(old): new for old, new in zip(self.model.inputs, keras.tree.flatten(inputs), strict=True)}
        for call in self.calls:
            args, kwargs = _mapped(ours, (call.args, call.kwargs))
            outputs = keras.tree.flatten(call.draft.layer(*args, **kwargs))
            built |= {id(old): new for old, new in zip(call.outputs, outputs, strict=True)}
        for draft in {id(call.draft): call.draft for call in self.calls}.values():
            draft.fill()
        return keras.Model(inputs, _mapped(ours, self.output), name=self.model.name, trainable=self.model.trainable)


def _exact(array):
    return array.astype(np.float64) if keras.backend.is_float_dtype(array.dtype.name) else array


def _tensors(structure) -> list:
    return [leaf for leaf in keras.tree.flatten(structure) if keras.backend.is_keras_tensor(leaf)]


def _mapped(function, structure):
    """A nest of arguments with the tensors in it replaced."""
    return keras.tree.map_structure(
        lambda leaf: function(leaf) if keras.backend.is_keras_tensor(leaf) else leaf, structure
    )
